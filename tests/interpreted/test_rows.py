"""The short convolution and the gated norm in Triton, interpreted: results and gradients against fp64 in the budget of fp32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit import ops
from sleepkit.kernels import triton_conv, triton_norm
from tests.support.budget import assert_within_budget
from tests.support.compare import assert_same_bits

Function = Callable[..., Tensor]


def draw(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).float() for shape in shapes]


def run(function: Function, inputs: list[Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    leaves = [x.to(dtype).requires_grad_() for x in inputs]
    out = function(*leaves)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out)
    gradients = torch.autograd.grad((out * pull).sum(), leaves)
    return {"out": out.detach(), **{f"d_{index}": gradient for index, gradient in enumerate(gradients)}}


def assert_right(ours: Function, formula: Function, inputs: list[Tensor]) -> None:
    exact, independent = (run(formula, inputs, dtype) for dtype in (torch.float64, torch.float32))
    assert_within_budget(run(ours, inputs, torch.float32), independent, exact)


def conv_formula(x: Tensor, weight: Tensor, tail: Tensor | None = None, *, silu: bool = True) -> Tensor:
    n_taps = weight.shape[1]
    padded = F.pad(x, (0, 0, n_taps - 1, 0)) if tail is None else torch.cat([tail, x], dim=1)
    out = F.conv1d(padded.mT, weight[:, None], groups=weight.shape[0]).mT
    return F.silu(out) if silu else out


def conv(x: Tensor, weight: Tensor, tail: Tensor | None = None, *, silu: bool = True) -> Tensor:
    return triton_conv.short_conv(x, tail, weight, silu=silu)


def dynamic_formula(x: Tensor, taps: Tensor, tail: Tensor | None = None, *, silu: bool = True) -> Tensor:
    return ops.dynamic_conv(x, taps, tail, silu=silu)[0]


def dynamic(x: Tensor, taps: Tensor, tail: Tensor | None = None, *, silu: bool = True) -> Tensor:
    return triton_conv.dynamic_conv(x, tail, taps, silu=silu)


def norm_formula(x: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-5).flatten(2) * F.silu(gate)


def norm(x: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    return triton_norm.gated_rms_norm(x, gate, weight, eps=1e-5)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("seq_len", [1, 5, 33])
def test_the_convolution(seq_len: int, silu: bool) -> None:
    inputs = draw((2, seq_len, 9 if seq_len > 1 else 70), (9 if seq_len > 1 else 70, 4))
    assert_right(lambda *x: conv(*x, silu=silu), lambda *x: conv_formula(*x, silu=silu), inputs)


@pytest.mark.parametrize(("seq_len", "n_taps"), [(1, 4), (2, 4), (20, 4), (3, 2), (6, 7)])
def test_the_convolution_after_a_tail(seq_len: int, n_taps: int) -> None:
    assert_right(conv, conv_formula, draw((2, seq_len, 20), (20, n_taps), (2, n_taps - 1, 20)))


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("seq_len", [1, 5, 33])
def test_the_dynamic_convolution(seq_len: int, silu: bool) -> None:
    channels = 9 if seq_len > 1 else 70
    inputs = draw((2, seq_len, channels), (2, seq_len, channels, 4))
    assert_right(lambda *x: dynamic(*x, silu=silu), lambda *x: dynamic_formula(*x, silu=silu), inputs)


@pytest.mark.parametrize(("seq_len", "n_taps"), [(1, 4), (2, 4), (20, 4), (3, 2), (6, 7)])
def test_the_dynamic_convolution_after_a_tail(seq_len: int, n_taps: int) -> None:
    assert_right(dynamic, dynamic_formula, draw((2, seq_len, 20), (2, seq_len, 20, n_taps), (2, n_taps - 1, 20)))


@pytest.mark.parametrize("channels", [16, 24, 300])
@pytest.mark.parametrize("seq_len", [1, 7])
def test_the_gated_norm(seq_len: int, channels: int) -> None:
    assert_right(norm, norm_formula, draw((2, seq_len, 3, channels), (2, seq_len, 3 * channels), (channels,)))


def test_the_gated_norm_over_several_tiles_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_norm, "_TILE", 64)
    monkeypatch.setattr(triton_norm, "_PROGRAMS", 3)
    assert_right(norm, norm_formula, draw((2, 7, 3, 16), (2, 7, 48), (16,)))


def test_slices_are_read_where_they_lie() -> None:
    wide, weight, scale = draw((2, 5, 96), (32, 4), (16,))
    x, gate = wide[..., 32:64], wide[..., 64:]
    assert_same_bits(conv(x, weight), conv(x.contiguous(), weight))
    heads = x.unflatten(2, (2, 16))
    assert_same_bits(norm(heads, gate, scale), norm(heads.contiguous(), gate.contiguous(), scale))


def test_everything_that_is_returned_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(x: Tensor, *shape: Any, **options: Any) -> Tensor:
        return x.new_full(shape if isinstance(shape[0], int) else shape[0], float("nan"), **options)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    results = run(conv, draw((2, 5, 9), (9, 4), (2, 3, 9)), torch.float32)
    results |= {f"dynamic {k}": x for k, x in run(dynamic, draw((2, 5, 9), (2, 5, 9, 4), (2, 3, 9)), torch.float32).items()}
    results |= {f"norm {k}": x for k, x in run(norm, draw((2, 5, 3, 16), (2, 5, 48), (16,)), torch.float32).items()}
    for name, tensor in results.items():
        assert tensor.isfinite().all(), name


def test_they_keep_the_rules_of_a_torch_operation() -> None:
    x, weight, tail = (tensor.requires_grad_() for tensor in draw((2, 5, 9), (4, 9), (2, 3, 9)))
    torch.library.opcheck(torch.ops.sleepkit.short_conv_triton.default, (x, tail, weight, True))
    torch.library.opcheck(torch.ops.sleepkit.short_conv_triton.default, (x, None, weight, False))
    (taps,) = (tensor.requires_grad_() for tensor in draw((2, 5, 9, 4)))
    torch.library.opcheck(torch.ops.sleepkit.short_conv_triton.default, (x, tail, taps, True))
    heads, gate, scale = (tensor.requires_grad_() for tensor in draw((2, 5, 3, 16), (2, 5, 48), (16,)))
    torch.library.opcheck(torch.ops.sleepkit.gated_rms_norm_triton.default, (heads, gate, scale, 1e-5))


def test_on_a_cpu_the_operations_do_not_come_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_conv, "short_conv", None)
    monkeypatch.setattr(triton_norm, "gated_rms_norm", None)
    x, weight = draw((2, 5, 16), (16, 4))
    assert ops.short_conv(x, weight)[0].shape == x.shape
    assert ops.gated_rms_norm(x[:, :, None], x, weight[:, 0], eps=1e-5).shape == x.shape
