"""Softmax attention over one window. Axes: B batch, T token, E channel, H head, D head channel, S key position."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.config import ModelConfig
from sleepkit.model.door import remember
from sleepkit.model.norms import rotary_normed
from sleepkit.model.state import AttentionCache


class Attention(nn.Module):
    """Causal attention with rotary positions that restart at each window, and normed queries and keys.

    Fewer heads of keys and values than of queries (grouped-query attention, arXiv 2305.13245) shrink the KV cache.

    Rotary attention depends on differences of positions alone, so tokens carried over from earlier windows (sliding eviction)
    are at positions below 0: their keys are turned once, when their window ends.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.head_dim = config.n_heads, config.head_dim
        self.n_kv_heads = config.kv_heads
        self.group = config.n_heads // config.kv_heads
        self.qkv = nn.Linear(config.width, config.width + 2 * self.n_kv_heads * config.head_dim, bias=False)
        self.query_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps)
        self.key_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self,
        x_BTE: Tensor,
        state: None,
        *,
        angles: ops.Rotation,
        valid_BT: Tensor | None = None,
        cache: AttentionCache | None = None,
        carried: AttentionCache | None = None,
        sliding_len: int | None = None,
        looking: Callable[[Tensor], None] | None = None,
    ) -> tuple[Tensor, None, AttentionCache]:
        """Attend within the window; with a cache, the tokens go on where it ended.

        Returns the mixed tokens, None, and keys and values of the window so far (carried ones left out).

        Args:
            x_BTE: normed residual stream.
            state: None, attention carries nothing out of a window.
            angles: of the tokens' positions in the window.
            valid_BT: False marks padding (never together with a cache); if tokens are carried, it begins with theirs.
            cache: keys and values of the earlier tokens of this window.
            carried: keys and values of the tokens before this window that are still seen; None under hard eviction.
            sliding_len: L, where a query at p sees the keys in (p - L, p] alone; None if it sees all.
            looking: is given what ``weights`` would return.
        """
        batch, seq_len, width = x_BTE.shape
        query, key, value = self._heads(ops.blanked(x_BTE, None if valid_BT is None else valid_BT[:, -seq_len:]), angles)
        if cache is not None:
            key, value = torch.cat([cache.keys, key], dim=2), torch.cat([cache.values, value], dim=2)
        own = AttentionCache(key, value)
        if carried is not None:
            key, value = torch.cat([carried.keys, key], dim=2), torch.cat([carried.values, value], dim=2)
        if looking is not None:
            with torch.no_grad():
                looking(ops.attention_weights(query, key, valid_BS=valid_BT, sliding_len=sliding_len))
        mixed = ops.attention(query, key, value, valid_BS=valid_BT, sliding_len=sliding_len)
        return self.out(mixed.transpose(1, 2).reshape(batch, seq_len, width)), None, own

    def weights(
        self,
        x_BTE: Tensor,
        *,
        angles: ops.Rotation,
        valid_BT: Tensor | None = None,
        carried: AttentionCache | None = None,
        sliding_len: int | None = None,
    ) -> Tensor:
        """Return the softmax weights [B, H, T, S] that ``forward`` applies to a whole window, for looking at.

        S is T, or the carried tokens and then the T of the window.
        """
        query, key, _ = self._heads(x_BTE, angles)
        if carried is not None:
            key = torch.cat([carried.keys, key], dim=2)
        return ops.attention_weights(query, key, valid_BS=valid_BT, sliding_len=sliding_len)

    def read(self, x_BTE: Tensor, *, angles: ops.Rotation) -> AttentionCache:
        """Return the keys and values that ``forward`` leaves of a whole window, and compute no output."""
        return AttentionCache(*self._heads(x_BTE, angles)[1:])

    def _heads(self, x_BTE: Tensor, angles: ops.Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys (normed and turned) and values, [B, H, T, D] each; keys and values may have fewer heads."""
        batch, seq_len, width = x_BTE.shape
        values = self.n_kv_heads * self.head_dim
        both, value = self.qkv(x_BTE).split([width + values, values], dim=-1)
        both = both.view(batch, seq_len, self.n_heads + self.n_kv_heads, self.head_dim)
        query, key = rotary_normed(both, self.n_heads, self.query_norm, self.key_norm, angles)
        return (
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.view(batch, seq_len, self.n_kv_heads, self.head_dim).transpose(1, 2),
        )

    def empty_cache(self, x_BTE: Tensor) -> AttentionCache:
        """Return the cache of a window in which nothing was read."""
        nothing = x_BTE.new_empty(x_BTE.shape[0], self.n_kv_heads, 0, self.head_dim)
        return AttentionCache(nothing, nothing)


remember(Attention, "__call__", "forward", "read", "_heads")
