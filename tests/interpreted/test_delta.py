"""The gated delta rule in Triton, interpreted: outputs, state and all gradients against fp64, in the error budget of fp32."""

from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import ImplUnavailableError
from sleepkit.kernels import triton_delta
from sleepkit.kernels.device import chunk
from sleepkit.kernels.triton_delta import Launch, Launches
from tests.support.budget import assert_within_budget
from tests.support.compare import assert_close, assert_same_bits
from tests.support.compiling import assert_compiles_whole
from tests.support.gated_delta import NAMES, Inputs, make_inputs

SMALL = {"batch": 1, "heads": 1, "key_heads": 1, "key_dim": 16, "value_dim": 16}
WIDE_CHUNKS = Launches(Launch(32, 4), Launch(32, 4))


def run(inputs: Inputs, impl: str, dtype: torch.dtype, valid_BT: Tensor | None = None) -> dict[str, Tensor]:
    """Return outputs and gradients of a random projection of them, outputs at padded positions left out: they mean nothing."""
    rounded = inputs.to(torch.float32)
    state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    leaves = rounded.to(dtype)._replace(state=rounded.state.to(state_dtype)).requiring_grad()
    out, state = ops.gated_delta_rule(*leaves, valid_BT=valid_BT, impl=impl)  # type: ignore[arg-type]
    if valid_BT is not None:
        out = out.masked_fill(~valid_BT[..., None, None], 0.0)
    generator = torch.Generator().manual_seed(1)
    pull = sum((part * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)).sum() for part in (out, state))
    gradients = torch.autograd.grad(pull, leaves)
    return {"out": out.detach(), "state": state.detach(), **{f"d_{n}": g for n, g in zip(NAMES, gradients, strict=True)}}


def assert_right(inputs: Inputs, valid_BT: Tensor | None = None) -> None:
    actual, independent, exact = (
        run(inputs, impl, dtype, valid_BT)
        for impl, dtype in (("triton", torch.float32), ("chunked", torch.float32), ("reference", torch.float64))
    )
    assert_within_budget(actual, independent, exact)


@pytest.fixture
def wide_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fp32 run with the chunks of 32 tokens that 16-bit inputs get."""
    monkeypatch.setitem(triton_delta.LAUNCHES, (16, 4), WIDE_CHUNKS)
    monkeypatch.setitem(triton_delta.LAUNCHES, (32, 4), WIDE_CHUNKS)


@pytest.mark.parametrize("seq_len", [1, 2, 15, 16])
def test_a_single_chunk(seq_len: int) -> None:
    assert_right(make_inputs(seq_len, **SMALL))


@pytest.mark.usefixtures("wide_chunks")
@pytest.mark.parametrize("seq_len", [17, 31, 32])
def test_a_single_chunk_of_two_blocks(seq_len: int) -> None:
    assert_right(make_inputs(seq_len, **SMALL))


@pytest.mark.parametrize("seq_len", [17, 40])
def test_a_sweep_over_chunks(seq_len: int) -> None:
    assert_right(make_inputs(seq_len, **SMALL))


@pytest.mark.usefixtures("wide_chunks")
@pytest.mark.parametrize("seq_len", [33, 65])
def test_a_sweep_over_chunks_of_two_blocks(seq_len: int) -> None:
    assert_right(make_inputs(seq_len, **SMALL))


@pytest.mark.parametrize(("key_dim", "value_dim"), [(16, 32), (24, 16), (5, 7), (96, 16), (16, 48), (20, 96)])
def test_channels_that_are_no_power_of_two_and_several_blocks_of_values(key_dim: int, value_dim: int) -> None:
    assert_right(make_inputs(20, **{**SMALL, "key_dim": key_dim, "value_dim": value_dim}))


@pytest.mark.parametrize("value_dim", [32, 80])
def test_blocks_of_values_one_after_the_other_in_one_program(monkeypatch: pytest.MonkeyPatch, value_dim: int) -> None:
    monkeypatch.setattr(triton_delta, "MANY_PROGRAMS", 1)
    assert_right(make_inputs(20, **{**SMALL, "value_dim": value_dim}))


@pytest.mark.parametrize(("key_heads", "heads"), [(1, 3), (2, 4)])
def test_grouped_heads(key_heads: int, heads: int) -> None:
    assert_right(make_inputs(20, **{**SMALL, "key_heads": key_heads, "heads": heads}))


@pytest.mark.usefixtures("wide_chunks")
@pytest.mark.parametrize("decay", [0.1, 2.0, 20.0])
def test_repeated_keys_and_beta_up_to_2(decay: float) -> None:
    assert_right(make_inputs(40, **SMALL, repeated_keys=True, largest_beta=2.0, decay=decay))


@pytest.mark.usefixtures("wide_chunks")
def test_keys_that_are_all_the_same() -> None:
    inputs = make_inputs(40, **SMALL, largest_beta=1.0, decay=0.01)
    assert_right(inputs._replace(k=inputs.k[:, :1].expand_as(inputs.k)))


@pytest.mark.parametrize("seq_len", [12, 20])
def test_padding(seq_len: int) -> None:
    valid = torch.rand(2, seq_len, generator=torch.Generator().manual_seed(3)) < 0.6
    assert_right(make_inputs(seq_len, **{**SMALL, "batch": 2}), valid)


def test_one_token_with_padding() -> None:
    assert_right(make_inputs(1, **{**SMALL, "batch": 2}), torch.tensor([[True], [False]]))


def test_padding_leaves_the_state_untouched_whatever_stands_there() -> None:
    inputs = make_inputs(20, **SMALL).to(torch.float32)
    nothing = torch.zeros(1, 20, dtype=torch.bool)
    poisoned = Inputs(*(torch.full_like(x, float("nan")) for x in inputs[:5]), inputs.state)
    assert_same_bits(ops.gated_delta_rule(*poisoned, valid_BT=nothing, impl="triton").state, inputs.state)


@pytest.mark.parametrize("strong", [-80.0, -1e4, -1e30])
def test_forgetting_everything_at_once(strong: float) -> None:
    inputs = make_inputs(24, **SMALL)
    log_decay = inputs.log_decay.clone()
    log_decay[:, 3::7] = strong
    assert_right(inputs._replace(log_decay=log_decay))


def test_no_decay_and_no_write_is_the_identity_on_the_state() -> None:
    inputs = make_inputs(40, **SMALL).to(torch.float32)
    still = inputs._replace(log_decay=torch.zeros_like(inputs.log_decay), beta=torch.zeros_like(inputs.beta))
    assert_same_bits(ops.gated_delta_rule(*still, impl="triton").state, inputs.state)


def test_running_twice_equals_running_once_over_both() -> None:
    inputs = make_inputs(32, **SMALL).to(torch.float32)
    whole = ops.gated_delta_rule(*inputs, impl="triton")
    first = ops.gated_delta_rule(*inputs.tokens(0, 16), impl="triton")
    second = ops.gated_delta_rule(*inputs.tokens(16, 32)._replace(state=first.state), impl="triton")
    assert_same_bits(torch.cat([first.out, second.out], dim=1), whole.out, what="out")
    assert_same_bits(second.state, whole.state, what="state")


def test_token_by_token_equals_all_at_once() -> None:
    inputs = make_inputs(4, **{**SMALL, "batch": 2, "heads": 2, "value_dim": 40})
    exact = ops.gated_delta_rule(*inputs, impl="reference")
    state, outputs = inputs.state.float(), []
    for token in range(4):
        step = inputs.to(torch.float32).tokens(token, token + 1)._replace(state=state)
        out, state = ops.gated_delta_rule(*step, impl="triton")
        outputs.append(out)
    assert_close(torch.cat(outputs, dim=1), exact.out, tolerance=1e-6, what="out")
    assert_close(state, exact.state, tolerance=1e-6, what="state")


@pytest.mark.usefixtures("wide_chunks")
def test_slices_of_one_projection_are_read_where_they_lie() -> None:
    inputs = make_inputs(20, **SMALL).to(torch.float32)
    side_by_side = torch.cat([inputs.q, inputs.k, inputs.v], dim=-1)
    q, k, v = side_by_side.split(16, dim=-1)
    gates = torch.stack([inputs.log_decay, inputs.beta], dim=-1)
    expected = ops.gated_delta_rule(*inputs, impl="triton")
    actual = ops.gated_delta_rule(q, k, v, gates[..., 0], gates[..., 1], inputs.state.mT.contiguous().mT, impl="triton")
    assert_same_bits(actual.out, expected.out)
    assert_same_bits(actual.state, expected.state)


def test_everything_that_is_returned_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(x: Tensor, *shape: Any, **options: Any) -> Tensor:
        return x.new_full(shape if isinstance(shape[0], int) else shape[0], float("nan"), **options)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    for seq_len, value_dim in ((5, 16), (20, 48)):
        for name, tensor in run(make_inputs(seq_len, **{**SMALL, "value_dim": value_dim}), "triton", torch.float32).items():
            assert tensor.isfinite().all(), name


def test_two_runs_give_the_same_bits() -> None:
    inputs = make_inputs(20, **{**SMALL, "value_dim": 48})
    one, other = (run(inputs, "triton", torch.float32) for _ in range(2))
    for name, tensor in one.items():
        assert_same_bits(tensor, other[name], what=name)


@pytest.mark.parametrize("seq_len", [20, 40])
def test_half_precision_is_wrong_by_a_few_roundings_to_11_bits(seq_len: int) -> None:
    inputs = make_inputs(seq_len, **SMALL)
    exact = run(inputs.to(torch.float16), "reference", torch.float64)
    actual = run(inputs, "triton", torch.float16)
    for name, truth in exact.items():
        assert actual[name].dtype == (torch.float32 if name in ("state", "d_state") else torch.float16), name
        size = truth.abs().max().item()
        assert_close(actual[name] / size, truth / size, tolerance=8 * 2.0**-11, what=name)


right_inverse = chunk.unit_lower_inverse


@triton.jit
def wrong_inverse(A, C: tl.constexpr):
    return right_inverse(-A, C)


def test_a_kernel_with_a_flipped_sign_in_the_solve_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "unit_lower_inverse", wrong_inverse)
    with pytest.raises(AssertionError, match="rms error"):
        assert_right(make_inputs(5, **SMALL))


def test_it_keeps_the_rules_of_a_torch_operation() -> None:
    leaves = make_inputs(17, **SMALL).to(torch.float32).requiring_grad()
    torch.library.opcheck(torch.ops.sleepkit.gated_delta_rule_triton.default, (*leaves, None, None, None, 0.5, 1.0, 0.0, True))


def test_it_compiles_without_a_graph_break() -> None:
    leaves = make_inputs(3, **SMALL).to(torch.float32).requiring_grad()

    def call(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(torch.ops.sleepkit.gated_delta_rule_triton(*inputs, None, None, None, 0.5, 1.0, 0.0, True))

    assert_compiles_whole(call, leaves)


def test_auto_leaves_the_interpreter_alone_and_fp64_is_refused() -> None:
    assert not ops.explain().startswith("triton")
    assert ops.explain("triton").startswith("triton: asked for by name")
    with pytest.raises(ImplUnavailableError, match="none of them fp64"):
        ops.gated_delta_rule(*make_inputs(3, **SMALL), impl="triton")
