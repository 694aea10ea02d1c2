"""Depthwise causal short convolution. Axes: B batch, T token, E channel."""

import torch
from torch import Tensor

from sleepkit.errors import require


def short_conv(x_BTE: Tensor, weight_EW: Tensor, tail_BWE: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Convolve every channel with its own few causal taps: y_t = sum_i weight_i x_(t - W + 1 + i).

    Args:
        x_BTE: inputs.
        weight_EW: W taps per channel, the last for the current token.
        tail_BWE: the W - 1 inputs before the first; None means zeros (a window starts from nothing, so that no evicted
            token leaks into the next).

    Returns:
        The outputs [B, T, E] and the tail [B, W - 1, E] to continue from.

    Raises:
        InvalidInputError: if shapes do not fit together.
    """
    batch, seq_len, channels = x_BTE.shape
    n_taps = weight_EW.shape[1]
    require(weight_EW.shape[0] == channels, "weight", f"must have {channels} channels", tuple(weight_EW.shape))
    if tail_BWE is None:
        tail_BWE = x_BTE.new_zeros(batch, n_taps - 1, channels)
    expected = (batch, n_taps - 1, channels)
    require(tuple(tail_BWE.shape) == expected, "tail", f"must have shape {list(expected)}", tuple(tail_BWE.shape))
    padded = torch.cat([tail_BWE, x_BTE], dim=1)
    # A few shifted products: a grouped conv1d is slower on a CPU, its backward above all.
    out = padded[:, :seq_len] * weight_EW[:, 0]
    for tap in range(1, n_taps):
        out = out + padded[:, tap : tap + seq_len] * weight_EW[:, tap]
    return out, padded[:, seq_len:]
