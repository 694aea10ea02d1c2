"""What a block does to one token at a time, in C (rows.c): normalisation, short convolution, squared ReLU, forward and backward.

fp32 and fp64 on a CPU. Axes: B batch, T token, G group (a head, or 1), D channel of a group, E channel, W taps.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from sleepkit.kernels.build import REALS, check, direct, library, why_unavailable
from sleepkit.kernels.strides import compact

_WORTH_A_THREAD = 32768


class _Norm(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("rows", "tokens", "groups", "D", "weights", "threads", "x_stride", "gate_stride")),
        ("scale", ctypes.c_double),
        ("eps", ctypes.c_double),
    )


class _Conv(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("batch", "tokens", "channels", "taps", "threads", "x_stride", "x_batch_stride", "silu")
    )


def serves(x: Tensor) -> bool:
    """Say whether these kernels are there for a tensor."""
    return x.device.type == "cpu" and x.dtype in REALS and _ready()


def normalise(
    x_BTGD: Tensor,
    weight_WD: Tensor | None,
    *,
    scale: float,
    eps: float,
    gate_BTE: Tensor | None = None,
    angles: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return x r w silu(gate), turned by angles (cosine and sine [T, D / 2]); r = (scale |x|^2 + eps)^-1/2 in each group."""
    cosine, sine = angles if angles is not None else (None, None)
    out: Tensor = direct(_norm, _run_norm)(x_BTGD, weight_WD, gate_BTE, cosine, sine, scale, eps)
    return out


def short_conv(x_BTE: Tensor, tail_BWE: Tensor | None, weight_EW: Tensor, *, silu: bool) -> Tensor:
    """Return the causal convolution of every channel with its own taps, and SiLU of it if asked; no tail means zeros."""
    out: Tensor = direct(_conv, _run_conv)(x_BTE, tail_BWE, weight_EW.t().contiguous(), silu)
    return out


def relu_square(x: Tensor) -> Tensor:
    """Return relu(x)^2."""
    out: Tensor = direct(_square, _run_square)(x)
    return out


_ready = torch.compiler.assume_constant_result(lambda: why_unavailable() is None)  # type: ignore[no-untyped-call]


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() >= _WORTH_A_THREAD else 1


def _like(x: Tensor | None) -> Tensor:
    return torch.empty(0) if x is None else x.new_empty(x.shape)


def _by_token(x: Tensor) -> Tensor:
    """Make the channels of a token neighbours in memory and tokens evenly spaced."""
    batch, tokens = x.shape[:2]
    even = x.stride(0) == tokens * x.stride(1) or batch == 1
    packed = x.ndim == 3 or x.stride(2) == x.shape[3]
    return x if x.stride(-1) == 1 and even and packed else compact(x)


def _describe_norm(x: Tensor, weight: Tensor | None, gate: Tensor | None, scale: float, eps: float) -> object:
    batch, tokens, groups, channels = x.shape
    weights, gate_stride = 1 if weight is None else weight.shape[0], 0 if gate is None else gate.stride(1)
    sizes = (batch * tokens, tokens, groups, channels, weights, _threads(x), x.stride(1), gate_stride)
    return ctypes.byref(_Norm(*sizes, scale, eps))


def _run_norm(
    x: Tensor, weight: Tensor | None, gate: Tensor | None, cosine: Tensor | None, sine: Tensor | None, scale: float, eps: float
) -> Tensor:
    x, gate, out = _by_token(x), None if gate is None else _by_token(gate), _like(x)
    pointers = [_pointer(tensor) for tensor in (x, weight, gate, cosine, sine, out)]
    check(library(REALS[x.dtype]).norm_forward(_describe_norm(x, weight, gate, scale, eps), *pointers))
    return out


def _run_norm_backward(
    x: Tensor,
    weight: Tensor | None,
    gate: Tensor | None,
    cosine: Tensor | None,
    sine: Tensor | None,
    d_out: Tensor,
    scale: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    x, gate, d_out = _by_token(x), None if gate is None else _by_token(gate), d_out.contiguous()
    gradients = _like(x), _like(weight), _like(gate)
    pointers = [_pointer(tensor) for tensor in (x, weight, gate, cosine, sine, d_out, *gradients)]
    check(library(REALS[x.dtype]).norm_backward(_describe_norm(x, weight, gate, scale, eps), *pointers))
    return gradients


def _remember_norm(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.scale, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_norm(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, gate, cosine, sine = ctx.saved_tensors
    d_x, d_weight, d_gate = _norm_backward(x, weight, gate, cosine, sine, d_out, ctx.scale, ctx.eps)
    return d_x, None if weight is None else d_weight, None if gate is None else d_gate, None, None, None, None


def _describe_conv(x: Tensor, weight: Tensor, silu: bool) -> object:
    (batch, tokens, channels), taps = x.shape, weight.shape[0]
    return ctypes.byref(_Conv(batch, tokens, channels, taps, _threads(x), x.stride(1), x.stride(0), silu))


def _run_conv(x: Tensor, tail: Tensor | None, weight: Tensor, silu: bool) -> Tensor:
    x, tail = x if x.stride(-1) == 1 else x.contiguous(), None if tail is None else tail.contiguous()
    out = _like(x)
    pointers = [_pointer(tensor) for tensor in (x, tail, weight, out)]
    check(library(REALS[x.dtype]).conv_forward(_describe_conv(x, weight, silu), *pointers))
    return out


def _run_conv_backward(
    x: Tensor, tail: Tensor | None, weight: Tensor, d_out: Tensor, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    x, tail = x if x.stride(-1) == 1 else x.contiguous(), None if tail is None else tail.contiguous()
    d_out, d_x, d_tail, d_weight = d_out.contiguous(), _like(x), _like(tail), _like(weight)
    pointers = [_pointer(tensor) for tensor in (x, tail, weight, d_out, d_x, d_tail, d_weight)]
    check(library(REALS[x.dtype]).conv_backward(_describe_conv(x, weight, silu), *pointers))
    return d_x, d_tail, d_weight


def _remember_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_conv(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    x, tail, weight = ctx.saved_tensors
    d_x, d_tail, d_weight = _conv_backward(x, tail, weight, d_out, ctx.silu)
    return d_x, None if tail is None else d_tail, d_weight, None


def _run_square(x: Tensor) -> Tensor:
    x, out = x.contiguous(), _like(x)
    library(REALS[x.dtype]).relu_square_forward(x.numel(), _threads(x), x.data_ptr(), out.data_ptr())
    return out


def _run_square_backward(x: Tensor, d_out: Tensor) -> Tensor:
    x, d_out, d_x = x.contiguous(), d_out.contiguous(), _like(x)
    library(REALS[x.dtype]).relu_square_backward(x.numel(), _threads(x), x.data_ptr(), d_out.data_ptr(), d_x.data_ptr())
    return d_x


def _remember_square(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _differentiate_square(ctx: Any, d_out: Tensor) -> Tensor:
    d_x: Tensor = _square_backward(*ctx.saved_tensors, d_out)
    return d_x


def _operation(name: str, run: Any, fake: Any) -> Any:
    """Make an operation of torch, so that torch.compile meets it as such and breaks no graph."""
    operation = torch.library.custom_op(f"sleepkit::{name}", run, mutates_args=(), device_types="cpu")
    operation.register_fake(fake)
    return operation


_norm = _operation("normalise", _run_norm, lambda x, *_: _like(x))
_norm_backward = _operation("normalise_backward", _run_norm_backward, lambda *x: tuple(map(_like, x[:3])))
_norm.register_autograd(_differentiate_norm, setup_context=_remember_norm)
_conv = _operation("short_conv", _run_conv, lambda x, *_: _like(x))
_conv_backward = _operation("short_conv_backward", _run_conv_backward, lambda *x: tuple(map(_like, x[:3])))
_conv.register_autograd(_differentiate_conv, setup_context=_remember_conv)
_square = _operation("relu_square", _run_square, _like)
_square_backward = _operation("relu_square_backward", _run_square_backward, lambda x, _: _like(x))
_square.register_autograd(_differentiate_square, setup_context=_remember_square)
