"""Depthwise causal short convolution, with taps that are fixed or made for each token.

Axes: B batch, T token, E channel, W tap.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sleepkit.errors import require
from sleepkit.kernels import rows, triton_conv, triton_support
from sleepkit.kernels.door import transformed


def short_conv(x_BTE: Tensor, weight_EW: Tensor, tail_BWE: Tensor | None = None, *, silu: bool = False) -> tuple[Tensor, Tensor]:
    """Convolve every channel with its own few causal taps: y_t = sum_i weight_i x_(t - W + 1 + i).

    Args:
        x_BTE: inputs.
        weight_EW: W taps per channel, the last for the current token.
        tail_BWE: the W - 1 inputs before the first; None means zeros (a window starts from nothing, so that no evicted
            token leaks into the next).
        silu: apply SiLU to the result.

    Returns:
        The outputs [B, T, E], on a GPU in the dtype of x, and the tail [B, W - 1, E] to continue from.

    Raises:
        InvalidInputError: if shapes do not fit together.
    """
    batch, seq_len, channels = x_BTE.shape
    n_taps = weight_EW.shape[1]
    require(weight_EW.shape[0] == channels, "weight", f"must have {channels} channels", tuple(weight_EW.shape))
    expected = (batch, n_taps - 1, channels)
    if tail_BWE is not None:
        require(tuple(tail_BWE.shape) == expected, "tail", f"must have shape {list(expected)}", tuple(tail_BWE.shape))
    if triton_support.serves(x_BTE, weight_EW, tail_BWE):
        return triton_conv.short_conv(x_BTE, tail_BWE, weight_EW, silu=silu), _last(x_BTE, tail_BWE, n_taps - 1)
    if rows.serves(x_BTE, weight_EW, tail_BWE):
        return rows.short_conv(x_BTE, tail_BWE, weight_EW, silu=silu), _last(x_BTE, tail_BWE, n_taps - 1)
    before = x_BTE.new_zeros(expected) if tail_BWE is None else tail_BWE
    padded = torch.cat([before, x_BTE], dim=1)
    # A function of one's own has no rules for torch's transforms; its plain form has.
    out = _slide(padded, weight_EW) if transformed() else _Taps.apply(padded, weight_EW)  # type: ignore[no-untyped-call]
    return (F.silu(out) if silu else out), padded[:, seq_len:]


def dynamic_conv(
    x_BTE: Tensor, taps_BTEW: Tensor, tail_BWE: Tensor | None = None, *, silu: bool = False
) -> tuple[Tensor, Tensor]:
    """Convolve every channel with taps that each token brings: y_t = sum_i taps_(t, i) x_(t - W + 1 + i) (arXiv 2508.15884).

    Args:
        x_BTE: inputs.
        taps_BTEW: W taps for each token and channel, the last for the token itself.
        tail_BWE: the W - 1 inputs before the first; None means zeros.
        silu: apply SiLU to the result.

    Returns:
        The outputs [B, T, E], on a GPU in the dtype of x, and the tail [B, W - 1, E] to continue from.

    Raises:
        InvalidInputError: if shapes do not fit together.
    """
    batch, seq_len, channels = x_BTE.shape
    fits = taps_BTEW.ndim == 4 and taps_BTEW.shape[:3] == x_BTE.shape and taps_BTEW.shape[3] >= 1
    require(fits, "taps", f"must have shape {[batch, seq_len, channels, 'W']}", tuple(taps_BTEW.shape))
    n_taps = taps_BTEW.shape[3]
    expected = (batch, n_taps - 1, channels)
    if tail_BWE is not None:
        require(tuple(tail_BWE.shape) == expected, "tail", f"must have shape {list(expected)}", tuple(tail_BWE.shape))
    if triton_support.serves(x_BTE, taps_BTEW, tail_BWE):
        return triton_conv.dynamic_conv(x_BTE, tail_BWE, taps_BTEW, silu=silu), _last(x_BTE, tail_BWE, n_taps - 1)
    before = x_BTE.new_zeros(expected) if tail_BWE is None else tail_BWE
    padded = torch.cat([before, x_BTE], dim=1)
    out = padded[:, :seq_len] * taps_BTEW[..., 0]
    for tap in range(1, n_taps):
        out = torch.addcmul(out, padded[:, tap : tap + seq_len], taps_BTEW[..., tap])
    return (F.silu(out) if silu else out), padded[:, seq_len:]


def _last(x_BTE: Tensor, tail_BWE: Tensor | None, count: int) -> Tensor:
    """Return the last inputs, those of the tail among them if x is short."""
    seq_len = x_BTE.shape[1]
    if seq_len >= count:
        return x_BTE[:, seq_len - count :]
    before = x_BTE.new_zeros(x_BTE.shape[0], count, x_BTE.shape[2]) if tail_BWE is None else tail_BWE
    return torch.cat([before, x_BTE], dim=1)[:, seq_len:]


class _Taps(torch.autograd.Function):
    """Shifted products, each way: a grouped conv1d is slower on a CPU, its backward above all, and so is autograd of slices."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(padded, weight)
        return _slide(padded, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor]:
        padded, weight = ctx.saved_tensors
        seq_len, n_taps = d_out.shape[1], weight.shape[1]
        d_weight = torch.stack([(padded[:, tap : tap + seq_len] * d_out).sum((0, 1)) for tap in range(n_taps)], dim=1)
        return _slide(F.pad(d_out, (0, 0, n_taps - 1, n_taps - 1)), weight.flip(1)), d_weight


def _slide(padded: Tensor, weight: Tensor) -> Tensor:
    """y_t = sum_i weight_i padded_(t + i)."""
    n_taps = weight.shape[1]
    seq_len = padded.shape[1] - n_taps + 1
    out = padded[:, :seq_len] * weight[:, 0]
    for tap in range(1, n_taps):
        out = torch.addcmul(out, padded[:, tap : tap + seq_len], weight[:, tap])
    return out
