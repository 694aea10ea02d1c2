"""The Jet layer: fast weights behind a dynamic short convolution (Jet-Nemotron, arXiv 2508.15884).

Axes: B batch, T token, E channel, W tap.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.config import ModelConfig
from sleepkit.model.door import remember
from sleepkit.model.gated_delta_net import GatedDeltaNet

# Channels of the values for each channel inside the generator of their taps.
_REDUCTION = 8


def tap_channels(channels: int) -> int:
    """Channels inside the generator of taps for so many channels of values: an eighth, rounded up."""
    return -(-channels // _REDUCTION)


class TapGenerator(nn.Module):
    """Taps of a convolution for each token and channel: W_up SiLU(W_down x) + b."""

    def __init__(self, width: int, channels: int, n_taps: int) -> None:
        super().__init__()
        self.n_taps = n_taps
        hidden = tap_channels(channels)
        self.down = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(hidden, channels * n_taps)

    def reset_parameters(self) -> None:
        """Begin as a fixed convolution: the token's part is zero, the bias holds taps drawn as Gated DeltaNet draws its own."""
        bound = self.n_taps**-0.5
        nn.init.zeros_(self.up.weight)
        nn.init.uniform_(self.up.bias, -bound, bound)

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Return the taps [B, T, E, W]."""
        taps: Tensor = self.up(F.silu(self.down(x_BTE))).unflatten(-1, (-1, self.n_taps))
        return taps


class Jet(GatedDeltaNet):
    """Gated DeltaNet whose convolution is made for each token, and on the values alone (Jet-Nemotron's JetBlock).

    v = SiLU(dynamic_conv(W_v x, taps(x))), with taps from a small network that reads the layer's input; q, k = SiLU(W x) of unit
    length without any convolution. The rest is Gated DeltaNet.
    """

    kind: ClassVar[str] = "jet"

    def _make_taps(self, config: ModelConfig) -> None:
        self.taps = TapGenerator(config.width, self.conv_channels, config.conv_len)

    def _reset_taps(self) -> None:
        self.taps.reset_parameters()

    def _convolved(self, x_BTE: Tensor, projected_BTE: Tensor, tail_BWE: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        values = self.conv_channels
        both, value = torch.split(projected_BTE, [projected_BTE.shape[-1] - values, values], dim=-1)
        value, tail = ops.dynamic_conv(value, self.taps(x_BTE), tail_BWE, silu=True)
        return F.silu(both), value, tail


remember(TapGenerator, "__call__", "forward")
remember(Jet, "__call__", "forward", "write", "rule", "_recur", "_convolved")
