"""What a block does to one token at a time, in C (rows.c): normalisation, short convolution, squared ReLU, forward and backward.

fp32 and fp64 on a CPU. Axes: B batch, T token, G group (a head, or 1), D channel of a group, E channel, W taps.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from sleepkit.errors import refuse
from sleepkit.kernels.build import REALS, check, direct, library, why_unavailable
from sleepkit.kernels.door import addresses, lets_through
from sleepkit.kernels.strides import compact

_WORTH_A_THREAD = 32768
_NORM_AXES = 4


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


def serves(x: Tensor, *others: Tensor | None) -> bool:
    """Say whether these kernels are there for tensors: of one dtype that C knows, and let through by the door."""
    return x.dtype in REALS and lets_through(x, *others, dtypes=(x.dtype,)) and _ready()


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


def _threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() >= _WORTH_A_THREAD else 1


def _like(x: Tensor | None, beside: Tensor | None = None) -> Tensor:
    """Return room for a tensor of this shape; for None an empty one, beside another."""
    if x is None:
        assert beside is not None
        return beside.new_empty(0)
    return x.new_empty(x.shape)


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


def _check_norm(x: Tensor, weight: Tensor | None, gate: Tensor | None, cosine: Tensor | None, sine: Tensor | None) -> None:
    if x.ndim != _NORM_AXES or x.numel() == 0:
        refuse("x", "must be [B, T, G, D] and not empty", tuple(x.shape))
    batch, tokens, groups, channels = x.shape
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != channels or not _divides(weight.shape[0], groups)):
        refuse("weight", f"must be rows of {channels} channels that divide the {groups} groups", tuple(weight.shape))
    if gate is not None and gate.shape != (batch, tokens, groups * channels):
        refuse("gate", f"must have shape {[batch, tokens, groups * channels]}", tuple(gate.shape))
    if (cosine is None) != (sine is None):
        refuse("sine", "must come with a cosine, and a cosine with it", sine)
    for name, turns in (("cosine", cosine), ("sine", sine)):
        if turns is not None and (turns.shape != (tokens, channels // 2) or channels % 2):
            refuse(name, f"must have shape {[tokens, channels / 2]}", tuple(turns.shape))


def _divides(part: int, whole: int) -> bool:
    return part > 0 and whole % part == 0


def _run_norm(
    x: Tensor, weight: Tensor | None, gate: Tensor | None, cosine: Tensor | None, sine: Tensor | None, scale: float, eps: float
) -> Tensor:
    _check_norm(x, weight, gate, cosine, sine)
    x, weight, gate, cosine, sine = _by_token(x), _packed(weight), _gate_by_token(gate), _packed(cosine), _packed(sine)
    out = _like(x)
    pointers = addresses(x, weight, gate, cosine, sine, out, dtype=x.dtype)
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
    _check_norm(x, weight, gate, cosine, sine)
    if d_out.numel() != x.numel():
        refuse("d_out", f"must have shape {list(x.shape)}", tuple(d_out.shape))
    x, weight, gate, cosine, sine = _by_token(x), _packed(weight), _gate_by_token(gate), _packed(cosine), _packed(sine)
    d_out, gradients = d_out.contiguous(), (_like(x), _like(weight, x), _like(gate, x))
    pointers = addresses(x, weight, gate, cosine, sine, d_out, *gradients, dtype=x.dtype)
    check(library(REALS[x.dtype]).norm_backward(_describe_norm(x, weight, gate, scale, eps), *pointers))
    return gradients


def _packed(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _gate_by_token(gate: Tensor | None) -> Tensor | None:
    return None if gate is None else _by_token(gate)


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


def _check_conv(x: Tensor, tail: Tensor | None, weight: Tensor) -> None:
    if x.ndim != weight.ndim + 1 or weight.ndim != 2 or x.numel() == 0:
        refuse("x", "must be [B, T, E] and not empty, beside taps [W, E]", (tuple(x.shape), tuple(weight.shape)))
    batch, _, channels = x.shape
    if weight.shape[0] == 0 or weight.shape[1] != channels:
        refuse("weight", f"must have shape ['W', {channels}]", tuple(weight.shape))
    if tail is not None and tail.shape != (batch, weight.shape[0] - 1, channels):
        refuse("tail", f"must have shape {[batch, weight.shape[0] - 1, channels]}", tuple(tail.shape))


def _run_conv(x: Tensor, tail: Tensor | None, weight: Tensor, silu: bool) -> Tensor:
    _check_conv(x, tail, weight)
    x, tail, weight = _side_by_side(x), _packed(tail), weight.contiguous()
    out = _like(x)
    pointers = addresses(x, tail, weight, out, dtype=x.dtype)
    check(library(REALS[x.dtype]).conv_forward(_describe_conv(x, weight, silu), *pointers))
    return out


def _run_conv_backward(
    x: Tensor, tail: Tensor | None, weight: Tensor, d_out: Tensor, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    _check_conv(x, tail, weight)
    if d_out.shape != x.shape:
        refuse("d_out", f"must have shape {list(x.shape)}", tuple(d_out.shape))
    x, tail, weight, d_out = _side_by_side(x), _packed(tail), weight.contiguous(), d_out.contiguous()
    d_x, d_tail, d_weight = _like(x), _like(tail, x), _like(weight)
    pointers = addresses(x, tail, weight, d_out, d_x, d_tail, d_weight, dtype=x.dtype)
    check(library(REALS[x.dtype]).conv_backward(_describe_conv(x, weight, silu), *pointers))
    return d_x, d_tail, d_weight


def _side_by_side(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _remember_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_conv(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    x, tail, weight = ctx.saved_tensors
    d_x, d_tail, d_weight = _conv_backward(x, tail, weight, d_out, ctx.silu)
    return d_x, None if tail is None else d_tail, d_weight, None


def _run_square(x: Tensor) -> Tensor:
    x = x.contiguous()
    out = _like(x)
    library(REALS[x.dtype]).relu_square_forward(x.numel(), _threads(x), *addresses(x, out, dtype=x.dtype))
    return out


def _run_square_backward(x: Tensor, d_out: Tensor) -> Tensor:
    if d_out.shape != x.shape:
        refuse("d_out", f"must have shape {list(x.shape)}", tuple(d_out.shape))
    x, d_out = x.contiguous(), d_out.contiguous()
    d_x = _like(x)
    library(REALS[x.dtype]).relu_square_backward(x.numel(), _threads(x), *addresses(x, d_out, d_x, dtype=x.dtype))
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
_norm_backward = _operation("normalise_backward", _run_norm_backward, lambda *x: tuple(_like(y, x[0]) for y in x[:3]))
_norm.register_autograd(_differentiate_norm, setup_context=_remember_norm)
_conv = _operation("short_conv", _run_conv, lambda x, *_: _like(x))
_conv_backward = _operation("short_conv_backward", _run_conv_backward, lambda *x: tuple(_like(y, x[0]) for y in x[:3]))
_conv.register_autograd(_differentiate_conv, setup_context=_remember_conv)
_square = _operation("relu_square", _run_square, _like)
_square_backward = _operation("relu_square_backward", _run_square_backward, lambda x, _: _like(x))
_square.register_autograd(_differentiate_square, setup_context=_remember_square)
