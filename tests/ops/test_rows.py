"""Norms, gate, rotary norm, short convolution with SiLU, squared ReLU: the C sweep against the torch formula, both in fp64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit import ops
from sleepkit.kernels import build, rows
from tests.support.compare import assert_close, assert_same_bits, rms_error

pytestmark = pytest.mark.skipif(build.why_unavailable() is not None, reason=str(build.why_unavailable()))
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def angles(dtype: torch.dtype = torch.float64) -> ops.Rotation:
    return ops.rotation(3, 5, head_dim=6, base=50.0, dtype=dtype, device=CPU)


def wide_slice() -> Tensor:
    """Part of a wider row, as queries and keys are of a fused projection."""
    return draw(2, 5, 36)[..., :24].unflatten(-1, (4, 6))


Case = tuple[Callable[..., Tensor], tuple[Tensor, ...]]
CASES: dict[str, Case] = {
    "rms_norm": (lambda x, w: ops.rms_norm(x, w, eps=1e-6), (draw(2, 5, 19), draw(19))),
    "gated": (lambda x, g, w: ops.gated_rms_norm(x, g, w, eps=1e-6), (draw(2, 5, 3, 7), draw(2, 5, 21), draw(7))),
    "rotary": (lambda x, w: ops.rotary_rms_norm(x, w, angles(x.dtype), eps=1e-6), (wide_slice(), draw(2, 6))),
    "unit_length": (lambda x: ops.unit_length(x, eps=1e-6), (draw(2, 5, 4, 6),)),
    "relu_square": (ops.relu_square, (draw(3, 33),)),
    "conv": (lambda x, w: ops.short_conv(x, w, silu=True)[0], (draw(40, 5, 7), draw(7, 4))),
    "conv, tail": (lambda x, w, tail: ops.short_conv(x, w, tail, silu=True)[0], (draw(2, 5, 7), draw(7, 4), draw(2, 3, 7))),
    "conv, plain": (lambda x, w, tail: ops.short_conv(x, w, tail)[0], (draw(2, 2, 17), draw(17, 4), draw(2, 3, 17))),
    "conv, one token": (lambda x, w, tail: ops.short_conv(x, w, tail)[1], (draw(2, 1, 5), draw(5, 4), draw(2, 3, 5))),
}


def run(case: Case, monkeypatch: pytest.MonkeyPatch, *, in_c: bool, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return the output and the gradient of every input."""
    monkeypatch.setattr(rows, "serves", lambda *_: in_c)
    function, inputs = case
    leaves = [x.to(dtype).detach().requires_grad_() for x in inputs]
    out = function(*leaves)
    pull = (out * draw(*out.shape, seed=1).to(dtype)).sum()
    return [out, *torch.autograd.grad(pull, leaves, materialize_grads=True, allow_unused=True)]


@pytest.mark.parametrize("name", CASES)
def test_the_sweep_equals_the_formula_in_output_and_all_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    formula, sweep = (run(CASES[name], monkeypatch, in_c=in_c) for in_c in (False, True))
    for number, (actual, expected) in enumerate(zip(sweep, formula, strict=True)):
        assert_close(actual, expected, tolerance=1e-13, what=f"{name}, result {number}")


@pytest.mark.parametrize("name", CASES)
def test_fp32_stays_within_twice_the_error_of_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, budget = (run(CASES[name], monkeypatch, in_c=False, dtype=kind) for kind in (torch.float64, torch.float32))
    actual = run(CASES[name], monkeypatch, in_c=True, dtype=torch.float32)
    for number, (measured, allowed, truth) in enumerate(zip(actual, budget, exact, strict=True)):
        size = truth.abs().max().item()
        assert rms_error(measured, truth) <= 2 * rms_error(allowed, truth) + 2**-24 * size, f"{name}, result {number}"


def test_the_comparison_catches_a_wrong_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    function, (x, weight) = CASES["rms_norm"]
    formula, sweep = run((function, (x, weight)), monkeypatch, in_c=False), run((function, (x, -weight)), monkeypatch, in_c=True)
    with pytest.raises(AssertionError, match="max abs error"):
        assert_close(sweep[0], formula[0])


@pytest.mark.parametrize("name", ["rms_norm", "gated", "rotary", "conv, tail", "relu_square"])
def test_the_number_of_threads_does_not_change_a_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_WORTH_A_THREAD", 0)
    before, results = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            results.append(run(CASES[name], monkeypatch, in_c=True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            assert_same_bits(another, one)


@pytest.mark.parametrize("name", CASES)
def test_without_gradients_the_same_bits_come_out_as_with_them(name: str) -> None:
    function, inputs = CASES[name]
    watched = function(*(x.detach().requires_grad_() for x in inputs))
    with torch.no_grad():
        assert_same_bits(function(*inputs), watched.detach())


@pytest.mark.parametrize("size", [-1e4, -90.0, -20.0, 0.0, 20.0, 90.0, 1e4])
def test_silu_is_right_at_the_ends_of_its_range(size: float) -> None:
    x = torch.linspace(0.9, 1.1, 40)[None, None] * size
    out, _ = ops.short_conv(x, torch.ones(40, 1), silu=True)
    assert_close(out, F.silu(x.double()), tolerance=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_each_keeps_the_rules_of_a_torch_operation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, tuple[Any, ...]]] = []
    for operation in ("_norm", "_conv", "_square"):
        original = getattr(rows, operation)
        monkeypatch.setattr(rows, operation, lambda *x, original=original: (calls.append((original, x)), original(*x))[1])
    function, inputs = CASES[name]
    function(*(x.detach().requires_grad_() for x in inputs))
    for original, arguments in calls:
        leaves = (x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in arguments)
        torch.library.opcheck(original._opoverload, tuple(leaves))


def test_gradients_that_are_not_contiguous_are_read_right() -> None:
    for function, inputs in CASES.values():
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = function(*leaves)
        pull = draw(*out.shape, 2, seed=1)[..., 0]
        assert not pull.is_contiguous()
        strided, packed = (
            torch.autograd.grad(out, leaves, p, retain_graph=True, allow_unused=True) for p in (pull, pull.clone())
        )
        for one, other in zip(strided, packed, strict=True):
            if one is not None and other is not None:
                assert_same_bits(one, other)


@pytest.mark.parametrize("name", ["gated", "unit_length"])
def test_one_token_of_several_sequences_is_read_right_whatever_the_stride_of_its_axis(name: str) -> None:
    """Heads before tokens, as a recurrence by chunks leaves them: an axis of length 1 counts as contiguous with any stride."""
    function, (x, *rest) = CASES[name]
    token, rest = x[:, :1], [r[:, :1] if r.ndim == 3 else r for r in rest]
    turned = token.transpose(1, 2).contiguous().transpose(1, 2)
    assert turned.is_contiguous()
    assert turned.stride(1) != token.contiguous().stride(1)
    assert_same_bits(function(turned, *rest), function(token.contiguous(), *rest))
