"""The gated delta rule from a layer's projections in Triton, interpreted: activations inside, gradients through them."""

import functools
from typing import Any, NamedTuple

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import InvalidInputError
from sleepkit.kernels import triton_delta
from sleepkit.kernels.device import chunk, delta
from sleepkit.kernels.triton_delta import Launch, Launches
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.gated_delta_net import GatedDeltaNet
from sleepkit.model.mamba2 import Mamba2
from sleepkit.sleep import SleepConfig, rollout
from tests.support.batches import ask_at_the_end
from tests.support.budget import assert_within_budget
from tests.support.compare import assert_close, assert_same_bits
from tests.support.compiling import assert_compiles_whole


class Projections(NamedTuple):
    """What the operation takes, and what the results are named after."""

    qk: Tensor
    v: Tensor
    gates: Tensor
    state: Tensor
    A_log: Tensor
    dt_bias: Tensor


def draw(seq_len: int, *, batch: int = 1, key_heads: int = 1, heads: int = 1, keys: int = 16, values: int = 16) -> Projections:
    """Draw fp64 projections; the rates are those of a model, the smallest steps e^-7 among them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Projections(
        qk=3.0 * normal(batch, seq_len, 2 * key_heads, keys),
        v=normal(batch, seq_len, heads, values),
        gates=normal(batch, seq_len, 2 * heads),
        state=normal(batch, heads, keys, values),
        A_log=torch.linspace(-1.0, 2.0, heads, dtype=torch.float64),
        dt_bias=torch.linspace(-7.0, -2.0, heads, dtype=torch.float64),
    )


def run(given: Projections, impl: str, dtype: torch.dtype, valid_BT: Tensor | None = None, **options: float) -> dict[str, Tensor]:
    """Return outputs and gradients of a random projection of them, outputs at padded positions left out: they mean nothing."""
    narrow = {"state": torch.float32, "A_log": torch.float32, "dt_bias": torch.float32}
    leaves = Projections(
        **{
            name: x.float().to(dtype if dtype == torch.float64 else narrow.get(name, dtype)).requires_grad_()
            for name, x in given._asdict().items()
        }
    )
    out, state = ops.gated_delta_from_projections(
        *leaves[:4], A_log_H=leaves.A_log, dt_bias_H=leaves.dt_bias, valid_BT=valid_BT, impl=impl, **options
    )  # type: ignore[call-overload]
    if valid_BT is not None:
        out = out.masked_fill(~valid_BT[..., None, None], 0.0)
    generator = torch.Generator().manual_seed(1)
    pull = sum((part * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)).sum() for part in (out, state))
    gradients = torch.autograd.grad(pull, leaves)
    names = (f"d_{name}" for name in Projections._fields)
    return {"out": out.detach(), "state": state.detach(), **dict(zip(names, gradients, strict=True))}


def assert_right(given: Projections, valid_BT: Tensor | None = None, **options: float) -> None:
    actual, independent, exact = (
        run(given, impl, dtype, valid_BT, **options)
        for impl, dtype in (("triton", torch.float32), ("chunked", torch.float32), ("reference", torch.float64))
    )
    # The torch path gathers gradients of decays in fp64; those of the rates are sums over all tokens, and lose more here.
    rates = {"d_A_log", "d_dt_bias"}
    for names, factor in ((exact.keys() - rates, 3.0), (rates, 6.0)):
        assert_within_budget(*({name: found[name] for name in names} for found in (actual, independent, exact)), factor=factor)


@pytest.mark.parametrize("seq_len", [1, 7, 16, 40])
def test_one_token_a_chunk_and_a_sweep(seq_len: int) -> None:
    assert_right(draw(seq_len, batch=2, heads=2, key_heads=2))


def test_chunks_of_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(triton_delta.LAUNCHES, (16, 4), Launches(Launch(32, 4), Launch(32, 4)))
    assert_right(draw(50))


@pytest.mark.parametrize(("key_heads", "heads", "values"), [(1, 3, 16), (1, 2, 40), (2, 2, 70)])
def test_grouped_heads_and_several_programs_of_a_head(key_heads: int, heads: int, values: int) -> None:
    assert_right(draw(20, batch=2, key_heads=key_heads, heads=heads, keys=20, values=values))


def test_blocks_of_values_one_after_the_other_in_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_delta, "MANY_PROGRAMS", 1)
    assert_right(draw(20, batch=3, heads=2, key_heads=2, values=40))


def test_beta_up_to_2_and_another_epsilon() -> None:
    assert_right(draw(20), beta_scale=2.0, unit_eps=0.5)


@pytest.mark.parametrize("seq_len", [1, 20])
def test_padding(seq_len: int) -> None:
    valid = torch.rand(3, seq_len, generator=torch.Generator().manual_seed(3)) < 0.6
    assert_right(draw(seq_len, batch=3), valid)


def test_padding_leaves_the_state_untouched_whatever_stands_there() -> None:
    given = Projections(*(x.float() for x in draw(20)))
    poisoned = [torch.full_like(x, float("nan")) for x in given[:3]]
    nothing = torch.zeros(1, 20, dtype=torch.bool)
    rates = {"A_log_H": given.A_log, "dt_bias_H": given.dt_bias}
    for tokens in (1, 20):
        cut = [x[:, :tokens] for x in poisoned]
        _, state = ops.gated_delta_from_projections(*cut, given.state, **rates, valid_BT=nothing[:, :tokens], impl="triton")
        assert_same_bits(state, given.state)


@pytest.mark.parametrize("far", [-60.0, -20.0, 20.0, 60.0])
def test_gates_far_from_zero(far: float) -> None:
    given = draw(20, heads=4, key_heads=4)
    gates = given.gates.clone()
    gates[:, ::3] += far
    assert_right(given._replace(gates=gates))


def test_vectors_of_no_length_have_gradients() -> None:
    given = draw(20)
    qk = given.qk.clone()
    qk[:, 5:9] = 0.0
    assert_right(given._replace(qk=qk))


def test_half_precision_is_wrong_by_a_few_roundings_to_11_bits() -> None:
    given = draw(20)
    rounded = Projections(*(x.half() if name in ("qk", "v", "gates") else x for name, x in given._asdict().items()))
    exact, actual = run(rounded, "reference", torch.float64), run(given, "triton", torch.float16)
    for name, truth in exact.items():
        size = truth.abs().max().item()
        assert_close(actual[name] / size, truth / size, tolerance=8 * 2.0**-11, what=name)


def test_everything_that_is_returned_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(x: Tensor, *shape: Any, **options: Any) -> Tensor:
        return x.new_full(shape if isinstance(shape[0], int) else shape[0], float("nan"), **options)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    for seq_len, values in ((5, 16), (20, 48)):
        for name, tensor in run(draw(seq_len, batch=2, values=values), "triton", torch.float32).items():
            assert tensor.isfinite().all(), name


def test_two_runs_give_the_same_bits() -> None:
    one, other = (run(draw(20, heads=2, values=48), "triton", torch.float32) for _ in range(2))
    for name, tensor in one.items():
        assert_same_bits(tensor, other[name], what=name)


right_gradient = chunk.gradient_of_unit_rows


@triton.jit
def wrong_gradient(x, d_unit, eps: tl.constexpr):
    return right_gradient(x, -d_unit, eps)


def test_a_kernel_with_a_flipped_sign_behind_the_length_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "gradient_of_unit_rows", wrong_gradient)
    with pytest.raises(AssertionError, match="d_qk"):
        assert_right(draw(5))


@pytest.mark.parametrize("values", [16, 48])
def test_backward_makes_two_launches_and_no_more(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    made: list[str] = []

    class Counted:
        def __init__(self, kernel: Any, name: str) -> None:
            self.kernel, self.name = kernel, name

        def __getitem__(self, grid: Any) -> Any:
            made.append(self.name)
            return self.kernel[grid]

    for name in ("forward", "backward", "add_parts"):
        monkeypatch.setattr(delta, name, Counted(getattr(delta, name), name))
    run(draw(20, heads=2, values=values), "triton", torch.float32)
    assert made == ["forward", "backward", "add_parts"]


def test_it_keeps_the_rules_of_a_torch_operation() -> None:
    qk, v, gates, state, *rates = (x.float() for x in draw(5, heads=2, key_heads=1))
    inputs = (*qk.chunk(2, dim=2), v, *gates.chunk(2, dim=-1), state, *rates)
    leaves = [x.clone().requires_grad_() for x in inputs]
    torch.library.opcheck(torch.ops.sleepkit.gated_delta_rule_triton.default, (*leaves, None, 0.25, 1.0, 1e-6, True))


@pytest.mark.parametrize("operation", [ops.gated_delta_from_projections, ops.gated_hebbian_from_projections])
def test_it_compiles_without_a_graph_break(operation: Any) -> None:
    leaves = [x.float().requires_grad_() for x in draw(3, heads=2, key_heads=1)]

    def call(qk: Tensor, v: Tensor, gates: Tensor, state: Tensor, A_log: Tensor, dt_bias: Tensor) -> tuple[Tensor, Tensor]:
        out, after = operation(qk, v, gates, state, A_log_H=A_log, dt_bias_H=dt_bias, impl="triton")
        return out, after

    assert_compiles_whole(call, leaves)


def test_a_model_learns_the_same_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=7, width=32, layers="gdn jet mamba2", n_heads=2, n_key_heads=1)
    model, tokens = HybridLM(config), torch.arange(24).view(2, 12) % 7
    model.layers[1].mixer.taps.up.weight.data.normal_(std=0.1)
    gradients = []
    for impl in ("chunked", "triton"):
        for kind in (GatedDeltaNet, Mamba2):
            monkeypatch.setattr(kind, "rule", staticmethod(functools.partial(kind.rule, impl=impl)))
        model.zero_grad()
        rollout(
            model, ask_at_the_end(tokens, 4), SleepConfig(n_passes=2, window_len=6)
        ).logits.nan_to_num().square().mean().backward()
        monkeypatch.undo()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, expected in gradients[0].items():
        size = max(expected.abs().max().item(), 1e-9)
        assert_close(gradients[1][name] / size, expected / size, tolerance=2e-5, what=name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("qk", lambda x: x._replace(qk=x.qk[:, :, :1])),
        ("gates", lambda x: x._replace(gates=x.gates[:, :, :1])),
        ("log_decay", lambda x: x._replace(gates=x.gates.repeat(1, 1, 2))),
        ("A_log", lambda x: x._replace(A_log=x.A_log.repeat(2))),
        ("dt_bias", lambda x: x._replace(dt_bias=x.dt_bias.repeat(2))),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name: str, change: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must"):
        run(change(draw(3)), "chunked", torch.float32)
