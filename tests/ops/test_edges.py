"""The edges of the writes of fast weights: sequences that begin inside others, padding that holds NaN, decays that grow."""

from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.kernels import build
from tests.support.compare import assert_close, assert_same_bits
from tests.support.gated_delta import NAMES, Inputs, make_inputs, run_with_gradients

Operation = Callable[..., ops.GatedDeltaOutput]
needs_compiler = pytest.mark.skipif(build.why_unavailable() is not None, reason=str(build.why_unavailable()))
FAST: list[Any] = [
    pytest.param(ops.gated_delta_rule, "chunked", id="delta-chunked"),
    pytest.param(ops.gated_delta_rule, "native", id="delta-native", marks=needs_compiler),
    pytest.param(ops.gated_hebbian, "chunked", id="hebbian-chunked"),
]
ALL: list[Any] = [
    pytest.param(ops.gated_delta_rule, "reference", id="delta-reference"),
    pytest.param(ops.gated_hebbian, "reference", id="hebbian-reference"),
    *FAST,
]
# First and last token, both sides of the borders of chunks of 24, 33, 64 and 65 tokens, whole chunks.
BEGINNINGS = ((0,), (69,), (23, 24, 25), (34, 35, 36), (63, 64, 65), tuple(range(64)), tuple(range(70)))


def compare(operation: Operation, impl: str, inputs: Inputs, **options: Any) -> dict[str, Tensor]:
    """Hold an implementation to the reference in outputs and all gradients; return its gradients."""
    expected, expected_gradients = run_with_gradients(inputs, operation=operation, impl="reference", **options)
    actual, gradients = run_with_gradients(inputs, operation=operation, impl=impl, **options)
    for name, one, other in zip(("out", "state"), actual, expected, strict=True):
        assert_close(one, other, what=name)
    for name in NAMES:
        assert_close(gradients[name], expected_gradients[name], what=f"gradient of {name}")
    return gradients


def beginning_at(inputs: Inputs, tokens: tuple[int, ...], log_decay: float = -float("inf")) -> Inputs:
    """Return inputs in which a sequence begins at each of the tokens."""
    changed = inputs.log_decay.clone()
    changed[:, list(tokens)] = log_decay
    return inputs._replace(log_decay=changed)


@pytest.mark.parametrize("tokens", BEGINNINGS)
@pytest.mark.parametrize(("operation", "impl"), FAST)
def test_a_sequence_may_begin_anywhere_inside_another(operation: Operation, impl: str, tokens: tuple[int, ...]) -> None:
    gradients = compare(operation, impl, beginning_at(make_inputs(70), tokens))
    assert not gradients["log_decay"][:, list(tokens)].any()


@pytest.mark.parametrize(("operation", "impl"), ALL)
def test_what_was_before_a_beginning_is_forgotten(operation: Operation, impl: str) -> None:
    inputs = make_inputs(50)
    whole, gradients = run_with_gradients(beginning_at(inputs, (20,)), operation=operation, impl=impl)
    later = inputs.tokens(20, 50)._replace(state=torch.zeros_like(inputs.state))
    alone = operation(*later, impl=impl)
    assert_close(whole.out[:, 20:], alone.out, what="out")
    assert_close(whole.state, alone.state, what="state")
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())


@pytest.mark.parametrize("log_decay", [-800.0, -1e30, -1.7e308])
@pytest.mark.parametrize(("operation", "impl"), FAST)
def test_decays_beyond_every_number_leave_the_weaker_ones_their_digits(operation: Operation, impl: str, log_decay: float) -> None:
    compare(operation, impl, beginning_at(make_inputs(70), (5, 30, 66), log_decay))


@pytest.mark.parametrize(("operation", "impl"), FAST)
@hypothesis.given(seed=st.integers(0, 1000), seq_len=st.integers(1, 70), share=st.sampled_from([0.05, 0.5, 0.95]))
def test_sequences_may_be_packed_in_any_way(operation: Operation, impl: str, seed: int, seq_len: int, share: float) -> None:
    inputs = make_inputs(seq_len, seed=seed, key_dim=3, value_dim=4)
    begins = torch.rand(2, seq_len, 2, generator=torch.Generator().manual_seed(seed)) < share
    compare(operation, impl, inputs._replace(log_decay=inputs.log_decay.masked_fill(begins, -float("inf"))))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("operation", "impl"), ALL)
def test_padding_may_hold_anything(operation: Operation, impl: str, bad: float) -> None:
    inputs, valid = make_inputs(40), torch.rand(2, 40, generator=torch.Generator().manual_seed(2)) < 0.5
    spoilt = Inputs(*(x.masked_fill(~valid.view(2, 40, *[1] * (x.ndim - 2)), bad) for x in inputs[:5]), inputs.state)
    expected, expected_gradients = run_with_gradients(inputs, operation=operation, impl=impl, valid_BT=valid)
    actual, gradients = run_with_gradients(spoilt, operation=operation, impl=impl, valid_BT=valid)
    assert_same_bits(actual.out, expected.out, what="out")
    assert not actual.out[~valid].any()
    assert_same_bits(actual.state, expected.state, what="state")
    for name in NAMES:
        assert_same_bits(gradients[name], expected_gradients[name], what=f"gradient of {name}")
        assert name == "state" or not gradients[name][~valid].any(), name


@pytest.mark.parametrize(("operation", "impl"), ALL)
def test_gradients_that_reach_padding_are_dropped(operation: Operation, impl: str) -> None:
    leaves, valid = make_inputs(40).requiring_grad(), torch.rand(2, 40, generator=torch.Generator().manual_seed(2)) < 0.5
    result = operation(*leaves, impl=impl, valid_BT=valid)
    pull = torch.ones_like(result.out).masked_fill(~valid[..., None, None], float("nan"))
    for name, gradient in zip(NAMES, torch.autograd.grad(result.out, leaves, pull), strict=True):
        assert bool(gradient.isfinite().all()), name


@pytest.mark.parametrize("operation", [ops.gated_delta_from_projections, ops.gated_hebbian_from_projections])
def test_padding_of_projections_may_hold_anything(operation: Operation) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 9, 4, 3), (2, 9, 2, 5), (2, 9, 4), (2, 2, 3, 5), (2,), (2,))
    drawn = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    valid = torch.rand(2, 9, generator=generator) < 0.6

    def run(bad: float) -> tuple[Tensor, ...]:
        blank = [~valid.view(2, 9, *[1] * (x.ndim - 2)) for x in drawn[:3]]
        given = [x.masked_fill(mask, bad) for x, mask in zip(drawn[:3], blank, strict=True)] + [x.clone() for x in drawn[3:]]
        *tensors, A_log, dt_bias = (x.requires_grad_() for x in given)
        result = operation(*tensors, A_log_H=A_log, dt_bias_H=dt_bias, valid_BT=valid)
        return *result, *torch.autograd.grad(result.out.sum() + result.state.square().sum(), [*tensors, A_log, dt_bias])

    for expected, actual in zip(run(0.0), run(float("nan")), strict=True):
        assert_same_bits(actual, expected)


@pytest.mark.parametrize(("operation", "impl"), FAST)
def test_decays_above_1_and_strengths_above_2_are_computed_as_the_equation_says(operation: Operation, impl: str) -> None:
    inputs = make_inputs(40, largest_beta=3.0)
    growing = inputs._replace(log_decay=-0.3 * inputs.log_decay)
    result = operation(*growing, impl="reference")
    assert result.state.abs().max() > inputs.state.abs().max()
    scale = result.state.abs().max().item()
    assert_close(operation(*growing, impl=impl).state / scale, result.state / scale, what="state")
    _, expected = run_with_gradients(growing, operation=operation, impl="reference")
    _, gradients = run_with_gradients(growing, operation=operation, impl=impl)
    for name in NAMES:
        assert_close(gradients[name], expected[name], what=f"gradient of {name}")
