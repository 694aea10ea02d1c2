"""Gated DeltaNet: fast weights as a sequence mixer (arXiv 2412.06464; Lee et al. 2026, Eq. 3 with the delta correction).

Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.config import ModelConfig
from sleepkit.model.door import remember
from sleepkit.model.norms import gated_normed
from sleepkit.model.state import ConvCache

_SMALLEST_RATE, _LARGEST_RATE = 0.01, 16.0
_SMALLEST_STEP, _LARGEST_STEP = 1e-3, 0.1
UNIT_EPS = 1e-6


class GatedDeltaNet(nn.Module):
    """Fast weights S [B, H, K, V] written by a gated delta rule.

    q, k, v = SiLU(short_conv(W x)), q and k of unit length; log decay = -exp(A_log) softplus(a + dt_bias);
    beta = sigmoid(b); output = W_out (RMSNorm(S^T q) SiLU(gate)).

    Fewer key heads than heads (grouped values) share a query and a key among the heads of a group; every head keeps its own S.

    Attributes:
        kind: its name in ``ModelConfig.layers``.
        rule: the write, and the read after it, from the projections.
    """

    kind: ClassVar[str] = "gdn"
    rule: Callable[..., ops.GatedDeltaOutput] = staticmethod(ops.gated_delta_from_projections)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.key_dim, self.value_dim = config.n_heads, config.key_channels, config.value_channels
        self.group = config.n_heads // config.key_heads
        self.beta_scale = 2.0 if config.allow_negative_eigenvalues else 1.0
        keys, values = config.key_heads * self.key_dim, self.n_heads * self.value_dim
        self.qkv = nn.Linear(config.width, 2 * keys + values, bias=False)
        self.conv_len, self.conv_channels = config.conv_len, config.conv_channels(self.kind)
        self._make_taps(config)
        self.decay_and_beta = nn.Linear(config.width, 2 * self.n_heads, bias=False)
        self.gate = nn.Linear(config.width, values, bias=False)
        self.norm = nn.RMSNorm(self.value_dim, eps=config.norm_eps)
        self.out = nn.Linear(values, config.width, bias=False)
        self.A_log = nn.Parameter(torch.empty(self.n_heads))
        self.dt_bias = nn.Parameter(torch.empty(self.n_heads))
        self.reset_parameters()

    def _make_taps(self, config: ModelConfig) -> None:
        self.conv = nn.Parameter(torch.empty(self.conv_channels, config.conv_len))

    def _reset_taps(self) -> None:
        bound = self.conv_len**-0.5
        nn.init.uniform_(self.conv, -bound, bound)

    def reset_parameters(self) -> None:
        """Draw the taps and the decay rates: A uniform in [0.01, 16], step log-uniform in [1e-3, 0.1]."""
        self._reset_taps()
        with torch.no_grad():
            self.A_log.copy_(torch.empty_like(self.A_log).uniform_(_SMALLEST_RATE, _LARGEST_RATE).log())
            low, high = math.log(_SMALLEST_STEP), math.log(_LARGEST_STEP)
            step = torch.empty_like(self.dt_bias).uniform_(low, high).exp()
            self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(
        self,
        x_BTE: Tensor,
        state: Tensor,
        *,
        angles: ops.Rotation | None = None,
        valid_BT: Tensor | None = None,
        cache: ConvCache | None = None,
    ) -> tuple[Tensor, Tensor, ConvCache]:
        """Read the tokens into the fast weights and out of them.

        Args:
            x_BTE: normed residual stream.
            state: fast weights before the first token, [B, H, K, V] fp32.
            angles: unused.
            valid_BT: False marks padding: the state passes through untouched.
            cache: the convolution's last inputs, of this window or carried into it; None starts from zeros.
        """
        x_BTE = ops.blanked(x_BTE, valid_BT)
        out, state, tail = self._recur(x_BTE, state, valid_BT, cache)
        return self.out(gated_normed(out, self.gate(x_BTE), self.norm)), state, ConvCache(tail)

    def write(
        self, x_BTE: Tensor, state: Tensor, *, valid_BT: Tensor | None = None, cache: ConvCache | None = None
    ) -> tuple[Tensor, ConvCache]:
        """Return the state and the cache that ``forward`` returns, and compute no output."""
        _, state, tail = self._recur(ops.blanked(x_BTE, valid_BT), state, valid_BT, cache)
        return state, ConvCache(tail)

    def _recur(
        self, x_BTE: Tensor, state: Tensor, valid_BT: Tensor | None, cache: ConvCache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is read, [B, T, H, V], the state, and the convolution's tail."""
        projected, tail = ops.blanked(self.qkv(x_BTE), valid_BT), None
        if cache is not None:
            tail = cache.tail.to(projected.dtype)
        if tail is not None and valid_BT is not None:
            alone, convolved = torch.split(projected, [projected.shape[-1] - self.conv_channels, self.conv_channels], dim=-1)
            convolved, tail = _behind_padding(convolved, tail, valid_BT)
            projected = torch.cat([alone, convolved], dim=-1)
        both, value, tail = self._convolved(x_BTE, projected, tail)
        both = both.view(*both.shape[:2], -1, self.key_dim)
        value = value.view(*value.shape[:2], self.n_heads, self.value_dim)
        rates = {"A_log_H": self.A_log, "dt_bias_H": self.dt_bias, "beta_scale": self.beta_scale, "unit_eps": UNIT_EPS}
        out, state = self.rule(both, value, self.decay_and_beta(x_BTE), state, valid_BT=valid_BT, **rates)
        return out, state, tail

    def _convolved(self, _x_BTE: Tensor, projected_BTE: Tensor, tail_BWE: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys side by side and values, [B, T, E] each, and the convolution's tail."""
        convolved, tail = ops.short_conv(projected_BTE, self.conv, tail_BWE, silu=True)
        values = self.n_heads * self.value_dim
        both, value = torch.split(convolved, [convolved.shape[-1] - values, values], dim=-1)
        return both, value, tail

    def empty_cache(self, x_BTE: Tensor) -> ConvCache:
        """Return the cache of a window in which nothing was read."""
        return ConvCache(x_BTE.new_zeros(x_BTE.shape[0], self.conv_len - 1, self.conv_channels))


def _behind_padding(x_BTE: Tensor, tail_BWE: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Move a tail over the padding that begins a window, next to the first token: as if the padding were not there."""
    joined, n_tail = torch.cat([tail_BWE, x_BTE], dim=1), tail_BWE.shape[1]
    n_pad_B1 = (valid_BT.cumsum(1) == 0).sum(1, keepdim=True)
    place_P = torch.arange(joined.shape[1], device=joined.device)
    source_BP = torch.where(place_P < n_pad_B1 + n_tail, place_P - n_pad_B1, place_P)
    moved = joined.gather(1, source_BP.clamp(min=0)[..., None].expand_as(joined)).masked_fill((source_BP < 0)[..., None], 0.0)
    return moved[:, n_tail:], moved[:, :n_tail]


remember(GatedDeltaNet, "__call__", "forward", "write", "rule", "_recur", "_convolved")
