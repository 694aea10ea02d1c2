"""The causal short convolution with SiLU in Triton (device/conv.py). Axes: B batch, T token, E channel, W taps."""

from typing import Any

import torch
from torch import Tensor

from sleepkit.kernels.build import direct
from sleepkit.kernels.triton_support import on_its_device, operation, side_by_side

BLOCK_E = 64
_LONGEST_RUN = 16
_WARPS = 4
# Axes of taps that each token brings, [B, T, E, W]; those that all tokens share are [W, E].
_OF_EVERY_TOKEN = 4


def short_conv(x_BTE: Tensor, tail_BWE: Tensor | None, weight_EW: Tensor, *, silu: bool) -> Tensor:
    """Return the causal convolution of every channel with its own taps, and SiLU of it if asked; no tail means zeros."""
    out: Tensor = direct(_conv, _run)(x_BTE, tail_BWE, weight_EW.t().contiguous(), silu)
    return out


def dynamic_conv(x_BTE: Tensor, tail_BWE: Tensor | None, taps_BTEW: Tensor, *, silu: bool) -> Tensor:
    """Return the causal convolution of every channel with the taps that each token brings, and SiLU of it if asked."""
    out: Tensor = direct(_conv, _run)(x_BTE, tail_BWE, taps_BTEW, silu)
    return out


def conv_tokens(seq_len: int, n_taps: int) -> int:
    """Return the number of tokens a program takes; the first run holds all that the tail reaches."""
    return max(min(_LONGEST_RUN, 1 << (seq_len - 1).bit_length()), 1 << (n_taps - 1).bit_length())


def _grid_and_sizes(x: Tensor, tail: Tensor | None, weight: Tensor, silu: bool) -> tuple[tuple[int], int, dict[str, Any]]:
    dynamic = weight.ndim == _OF_EVERY_TOKEN
    n_taps = weight.shape[3 if dynamic else 0]
    (batch, seq_len, channels), tokens = x.shape, conv_tokens(x.shape[1], n_taps)
    n_runs = -(-seq_len // tokens)
    sizes = {"TAPS": n_taps, "BT": tokens, "BE": BLOCK_E, "SILU": silu, "TAIL": tail is not None, "DYNAMIC": dynamic}
    return (batch * n_runs * -(-channels // BLOCK_E),), n_runs, sizes | {"num_warps": _WARPS}


@on_its_device
def _run(x: Tensor, tail: Tensor | None, weight: Tensor, silu: bool) -> Tensor:
    from sleepkit.kernels.device import conv

    x, tail, out = side_by_side(x), None if tail is None else tail.contiguous(), x.new_empty(x.shape)
    weight = weight.contiguous()
    grid, n_runs, sizes = _grid_and_sizes(x, tail, weight, silu)
    before = x if tail is None else tail
    conv.forward[grid](x, before, weight, out, *x.stride()[:2], x.shape[1], x.shape[2], n_runs, **sizes)
    return out


@on_its_device
def _run_backward(x: Tensor, tail: Tensor | None, weight: Tensor, d_out: Tensor, silu: bool) -> tuple[Tensor, Tensor, Tensor]:
    from sleepkit.kernels.device import conv

    x, tail, d_out = side_by_side(x), None if tail is None else tail.contiguous(), d_out.contiguous()
    weight = weight.contiguous()
    grid, n_runs, sizes = _grid_and_sizes(x, tail, weight, silu)
    d_x, d_tail, whole = x.new_empty(x.shape), _like(tail, x), sizes["DYNAMIC"]
    parts = weight.new_empty(
        weight.shape if whole else (x.shape[0] * n_runs, *weight.shape), dtype=weight.dtype if whole else torch.float32
    )
    before = x if tail is None else tail
    conv.backward[grid](x, before, weight, d_out, d_x, d_tail, parts, *x.stride()[:2], x.shape[1], x.shape[2], n_runs, **sizes)
    return d_x, d_tail, parts if whole else parts.sum(dim=0).to(weight.dtype)


def _like(tail: Tensor | None, x: Tensor) -> Tensor:
    return x.new_empty(0) if tail is None else tail.new_empty(tail.shape)


def _fake_gradients(x: Tensor, tail: Tensor | None, weight: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), _like(tail, x), weight.new_empty(weight.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    x, tail, weight = ctx.saved_tensors
    d_x, d_tail, d_weight = _backward(x, tail, weight, d_out, ctx.silu)
    return d_x, None if tail is None else d_tail, d_weight, None


_conv = operation("short_conv_triton", _run, lambda x, *_: x.new_empty(x.shape))
_backward = operation("short_conv_triton_backward", _run_backward, _fake_gradients)
_conv.register_autograd(_differentiate, setup_context=_remember)
