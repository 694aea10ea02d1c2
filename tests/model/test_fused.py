"""A block as one operation against the block as its modules: values, gradients, padding, threads, and when it is not taken."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.kernels import block, build
from sleepkit.model import HybridLM, fused
from sleepkit.model.block import Block
from sleepkit.model.passes import FASTEST, PLAIN, BlockFunctions
from tests.support.compare import assert_close, assert_same_bits, rms_error
from tests.support.models import fresh_model, random_state, small_model

pytestmark = pytest.mark.skipif(build.why_unavailable() is not None, reason=str(build.why_unavailable()))

VARIANTS: dict[str, dict[str, Any]] = {
    "both": {},
    "odd sizes": {
        "layers": "gdn attn",
        "width": 18,
        "n_heads": 3,
        "key_dim": 5,
        "value_dim": 11,
        "conv_len": 3,
        "mlp_ratio": 1.3,
    },
    "swiglu": {"layers": "attn gdn", "mlp": "swiglu", "mlp_ratio": 1.5},
    "negative eigenvalues": {"layers": "gdn", "allow_negative_eigenvalues": True},
    "wide": {"layers": "gdn attn", "width": 64, "n_heads": 4},
}


class Read(NamedTuple):
    """A window's input and what is pulled at."""

    hidden: Tensor
    valid: Tensor | None

    def pull(self, model: HybridLM, functions: BlockFunctions, *, passes: int = 2, write: bool = False) -> dict[str, Tensor]:
        """Return outputs and the gradients of everything, pulled at by random numbers; padded outputs mean nothing."""
        dtype = model.embedding.weight.dtype
        leaf = self.hidden.to(dtype).requires_grad_()
        start = random_state(model, leaf.shape[0]).map(lambda layer: layer.to(dtype).requires_grad_())
        model._functions = functions
        if write:
            hidden, state = None, model.consolidate(leaf, start, passes, valid_BT=self.valid)
        else:
            hidden, state = model.blocks(leaf, start, passes, valid_BT=self.valid)
        model._functions = FASTEST
        results = {f"state {number}": layer for number, layer in enumerate(state.fast_weights) if layer is not None}
        if hidden is not None:
            results["hidden"] = hidden if self.valid is None else hidden * self.valid[..., None]
        generator = torch.Generator().manual_seed(5)
        weights = {name: torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for name, x in results.items()}
        pulled = sum((x * weights[name]).sum() for name, x in results.items())
        wanted = {"d hidden": leaf, **{f"d state {n}": s for n, s in enumerate(start.fast_weights) if s is not None}}
        wanted |= {f"d {name}": parameter for name, parameter in model.layers.named_parameters()}
        gradients = torch.autograd.grad(pulled, list(wanted.values()), allow_unused=True)
        return results | {name: g for name, g in zip(wanted, gradients, strict=True) if g is not None}


def reading(model: HybridLM, tokens: int, *, batch: int = 3, padded: bool = False) -> Read:
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(batch, tokens, model.config.width, generator=generator, dtype=torch.float64)
    return Read(hidden, torch.rand(batch, tokens, generator=generator) > 0.4 if padded else None)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("tokens", [2, 7, 25, 70])
@pytest.mark.parametrize("name", VARIANTS)
def test_one_operation_gives_the_values_and_all_gradients_of_the_modules(
    name: str, tokens: int, padded: bool, write: bool
) -> None:
    model = fresh_model(**VARIANTS[name])
    window = reading(model, tokens, padded=padded)
    expected, actual = (window.pull(model, functions, write=write) for functions in (PLAIN, FASTEST))
    assert actual.keys() == expected.keys()
    for what, tensor in expected.items():
        assert_close(actual[what], tensor, tolerance=1e-11, what=what)


def test_a_window_of_one_token_gives_the_same_values() -> None:
    model = fresh_model()
    window = reading(model, 1)
    expected, actual = (window.pull(model, functions) for functions in (PLAIN, FASTEST))
    for what, tensor in expected.items():
        assert_close(actual[what], tensor, tolerance=1e-11, what=what)


@pytest.mark.parametrize("kind", ["attn", "gdn"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    model = fresh_model(layers=kind, width=4, n_heads=2, mlp_ratio=1.0)
    layer = model.layers[0]
    state = None if kind == "attn" else random_state(model, 1).fast_weights[0]
    names = [name for name, _ in layer.named_parameters()]

    def run(hidden: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        before, weights = (rest[0], rest[1:]) if kind == "gdn" else (None, rest)
        twin = Block(model.config, kind).double()
        for name, weight in zip(names, weights, strict=True):
            owner, _, last = name.rpartition(".")
            twin.get_submodule(owner)._parameters[last] = weight
        angles = model._angles(hidden, None, (0, 1))
        return tuple(x for x in ops.run_block(fused.prepared(twin, hidden, before, angles, None)) if x is not None)

    hidden = torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    given = [parameter.detach().clone() for parameter in layer.parameters()]
    inputs = [hidden, *(x.requires_grad_() for x in [*([] if state is None else [state]), *given])]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("name", ["both", "wide"])
def test_rounding_in_fp32_costs_no_more_than_twice_what_it_costs_the_modules(name: str) -> None:
    exact, rounded = fresh_model(**VARIANTS[name]), fresh_model(dtype=torch.float32, **VARIANTS[name])
    rounded.load_state_dict({key: value.float() for key, value in exact.state_dict().items()})
    exact.load_state_dict({key: value.double() for key, value in rounded.state_dict().items()})
    window = reading(exact, 25, batch=8)
    window = window._replace(hidden=window.hidden.float().double())
    expected = window.pull(exact, PLAIN)
    modules, operation = (window.pull(rounded, functions) for functions in (PLAIN, FASTEST))
    for what, tensor in expected.items():
        floor = 1e-7 * tensor.square().mean().sqrt().item()
        assert rms_error(operation[what], tensor) <= 2 * rms_error(modules[what], tensor) + floor, what


def test_threads_and_repetition_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_WORTH_A_THREAD", 0)
    model = fresh_model(dtype=torch.float32, **VARIANTS["wide"])
    window = reading(model, 17, batch=37)
    first = window.pull(model, FASTEST)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for what, tensor in window.pull(model, FASTEST).items():
                assert_same_bits(tensor, first[what], what=f"{what}, {threads} threads")
    finally:
        torch.set_num_threads(1)


def test_a_sign_turned_in_the_write_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh_model(layers="gdn")
    window = reading(model, 7)
    expected = window.pull(model, PLAIN)
    monkeypatch.setattr(model.layers[0].mixer, "beta_scale", -1.0)
    actual = window.pull(model, FASTEST)
    with pytest.raises(AssertionError, match="state 0"):
        assert_close(actual["state 0"], expected["state 0"], what="state 0")


def test_padding_reaches_no_other_token_and_no_fast_weight() -> None:
    model = fresh_model()
    window = reading(model, 9, padded=True)
    assert window.valid is not None
    other = window._replace(hidden=torch.where(window.valid[..., None], window.hidden, 3 - window.hidden))
    one, two = window.pull(model, FASTEST), other.pull(model, FASTEST)
    for what in ("hidden", "state 1", "state 3"):
        assert_same_bits(one[what], two[what], what=what)


class Doubled(nn.Linear):
    """What someone may put in place of a linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_an_exchanged_hooked_or_parametrised_module_is_called() -> None:
    def changed(change: Any) -> Tensor:
        model = fresh_model(layers="gdn")
        change(model.layers[0])
        hidden = reading(model, 5).hidden
        return model.blocks(hidden, random_state(model, 3)).hidden

    def exchange(layer: Block) -> None:
        twin = Doubled(*reversed(layer.mlp.up.weight.shape), bias=False).double()
        twin.load_state_dict(layer.mlp.up.state_dict())
        layer.mlp.up = twin

    class Twice(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    def parametrise(layer: Block) -> None:
        nn.utils.parametrize.register_parametrization(layer.mlp.up, "weight", Twice())

    def scale(layer: Block) -> None:
        with torch.no_grad():
            layer.mlp.up.weight.mul_(2)

    doubled = changed(scale)
    assert not torch.allclose(doubled, changed(lambda _: None))
    for change in (exchange, parametrise, lambda layer: layer.mlp.up.register_forward_hook(lambda _m, _i, out: 2 * out)):
        assert_close(changed(change), doubled, what="hidden")


def why_modules(model: HybridLM, number: int, hidden: Tensor, state: Tensor | None) -> str | None:
    angles = model._angles(hidden, None, (number, number + 1))
    call = fused.prepared(model.layers[number], hidden, state, angles, None)
    return call if isinstance(call, str) else None


def test_it_is_not_taken_where_it_would_be_something_else() -> None:
    model = small_model(dtype=torch.float32)
    hidden, state = torch.zeros(1, 4, 8), model.initial_state(1).fast_weights[1]
    assert state is not None
    assert why_modules(model, 1, hidden, state) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert why_modules(model, 1, hidden, state) == "autocast chooses the dtype of each operation"
    assert why_modules(model, 1, hidden, state.double()) == "a tensor is torch.float64 beside torch.float32"
    assert "torch.float32 beside torch.float64" in str(why_modules(model, 1, hidden.double(), state.double()))
    assert "1 to 256 tokens" in str(why_modules(model, 1, torch.zeros(1, block.LONGEST_WINDOW + 1, 8), state))
