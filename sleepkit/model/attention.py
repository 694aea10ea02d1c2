"""Softmax attention over one window. Axes: B batch, T token, E channel, H head, D head channel."""

import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.config import ModelConfig
from sleepkit.model.state import AttentionCache


class Attention(nn.Module):
    """Causal attention with rotary positions that restart at each window, and normed queries and keys.

    Fewer heads of keys and values than of queries (grouped-query attention, arXiv 2305.13245) shrink the KV cache.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.norm_eps = config.n_heads, config.head_dim, config.norm_eps
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
    ) -> tuple[Tensor, None, AttentionCache]:
        """Attend within the window; with a cache, the tokens go on where it ended.

        Args:
            x_BTE: normed residual stream.
            state: None, attention carries nothing out of a window.
            angles: of the tokens' positions in the window.
            valid_BT: False marks padding (never together with a cache).
            cache: keys and values of the earlier tokens of this window.
        """
        batch, seq_len, width = x_BTE.shape
        query, key, value = self._heads(x_BTE, angles)
        if cache is not None:
            key, value = torch.cat([cache.keys, key], dim=2), torch.cat([cache.values, value], dim=2)
        mixed = ops.attention(query, key, value, valid_BS=valid_BT)
        return self.out(mixed.transpose(1, 2).reshape(batch, seq_len, width)), None, AttentionCache(key, value)

    def weights(self, x_BTE: Tensor, *, angles: ops.Rotation, valid_BT: Tensor | None = None) -> Tensor:
        """Return the softmax weights [B, H, T, T] that ``forward`` applies to a whole window, for looking at."""
        query, key, _ = self._heads(x_BTE, angles)
        return ops.attention_weights(query, key, valid_BS=valid_BT)

    def _heads(self, x_BTE: Tensor, angles: ops.Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys (normed and turned) and values, [B, H, T, D] each; keys and values may have fewer heads."""
        batch, seq_len, width = x_BTE.shape
        values = self.n_kv_heads * self.head_dim
        both, value = self.qkv(x_BTE).split([width + values, values], dim=-1)
        weights = torch.stack((*[self.query_norm.weight] * self.group, self.key_norm.weight))
        both = both.view(batch, seq_len, self.n_heads + self.n_kv_heads, self.head_dim)
        turned = ops.rotary_rms_norm(both, weights, angles, eps=self.norm_eps)
        query, key = torch.split(turned.transpose(1, 2), [self.n_heads, self.n_kv_heads], dim=1)
        return query, key, value.view(batch, seq_len, self.n_kv_heads, self.head_dim).transpose(1, 2)

    def empty_cache(self, x_BTE: Tensor) -> AttentionCache:
        """Return the cache of a window in which nothing was read."""
        nothing = x_BTE.new_empty(x_BTE.shape[0], self.n_kv_heads, 0, self.head_dim)
        return AttentionCache(nothing, nothing)
