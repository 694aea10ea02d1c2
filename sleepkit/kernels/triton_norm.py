"""Gated RMSNorm in Triton (device/norm.py). Axes: B batch, T token, H head, V value channel, E = H V channels."""

from typing import Any

import torch
from torch import Tensor

from sleepkit.kernels.build import direct
from sleepkit.kernels.strides import compact
from sleepkit.kernels.triton_support import on_its_device, operation, padded

_TILE = 2048
_WARPS = 4
# Programs of backward, each with a part of the weight's gradient to add: enough to fill a device, few enough to add.
_PROGRAMS = 1024


def gated_rms_norm(x_BTHV: Tensor, gate_BTE: Tensor, weight_V: Tensor, *, eps: float) -> Tensor:
    """Return RMSNorm(x) SiLU(gate) as [B, T, H V], the norm over each head's own channels."""
    out: Tensor = direct(_norm, _run)(x_BTHV, gate_BTE, weight_V, eps)
    return out


def norm_rows(channels: int) -> int:
    """Return the number of rows in a tile."""
    return max(1, _TILE // padded(channels))


@on_its_device
def _run(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    from sleepkit.kernels.device import norm

    x, gate, weight, out = _evenly(x), _evenly(gate), weight.contiguous(), _empty_out(x, gate)
    n_rows, sizes = x[..., 0].numel(), _sizes(x)
    grid = (-(-n_rows // sizes["ROWS"]),)
    norm.forward[grid](x, gate, weight, out, float(eps), n_rows, x.shape[2], *x.stride()[1:3], gate.stride(1), **sizes)
    return out


@on_its_device
def _run_backward(x: Tensor, gate: Tensor, weight: Tensor, d_out: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    from sleepkit.kernels.device import norm

    x, gate, weight, d_out = _evenly(x), _evenly(gate), weight.contiguous(), d_out.contiguous()
    n_rows, sizes = x[..., 0].numel(), _sizes(x)
    n_tiles = max(1, -(-n_rows // (sizes["ROWS"] * _PROGRAMS)))
    programs = -(-n_rows // (sizes["ROWS"] * n_tiles))
    d_x, d_gate, parts = x.new_empty(x.shape), gate.new_empty(gate.shape), x.new_empty(programs, x.shape[3], dtype=torch.float32)
    strides = (x.shape[2], *x.stride()[1:3], gate.stride(1))
    norm.backward[(programs,)](x, gate, weight, d_out, d_x, d_gate, parts, float(eps), n_rows, n_tiles, *strides, **sizes)
    return d_x, d_gate, parts.sum(dim=0).to(weight.dtype)


def _empty_out(x: Tensor, gate: Tensor) -> Tensor:
    return gate.new_empty(gate.shape, dtype=torch.promote_types(x.dtype, gate.dtype))


def _sizes(x: Tensor) -> dict[str, int]:
    return {"V": x.shape[3], "BV": padded(x.shape[3]), "ROWS": norm_rows(x.shape[3]), "num_warps": _WARPS}


def _evenly(x: Tensor) -> Tensor:
    """Make the channels of a token neighbours in memory and tokens evenly spaced."""
    even = x.stride(0) == x.shape[1] * x.stride(1) or x.shape[0] == 1
    return x if even and x.stride(-1) == 1 else compact(x)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(*ctx.saved_tensors, d_out, ctx.eps), None


_norm = operation("gated_rms_norm_triton", _run, lambda x, gate, *_: _empty_out(x, gate))
_backward = operation("gated_rms_norm_triton_backward", _run_backward, lambda *x: tuple(y.new_empty(y.shape) for y in x[:3]))
_norm.register_autograd(_differentiate, setup_context=_remember)
