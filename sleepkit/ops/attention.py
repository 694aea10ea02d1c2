"""Causal softmax attention inside one window or across the newest tokens, with rotary positions.

Axes: B batch, T token, H head, Q query position, S key position, D head channel.
"""

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.errors import require
from sleepkit.kernels.door import traced, transformed
from sleepkit.ops.masks import as_mask


class Rotation(NamedTuple):
    """Angles of T positions for ``rotary``: cosine [T, 1, 1, D / 2], sine [T, 1, 2, D / 2], negated for the first of a pair."""

    cos: Tensor
    sin: Tensor


def rotation(start: int, length: int, *, head_dim: int, base: float, dtype: torch.dtype, device: torch.device) -> Rotation:
    """Return the angles of rotary positions (arXiv 2104.09864): position times base^(-2 i / D) for pair i.

    Computed once for each set of arguments, in fp32 at least: a pass needs the same angles in every layer. Only what is traced
    or transformed is computed anew: its tensors mean something there alone.

    Args:
        start: position of the first token in its window; negative for tokens of earlier windows.
        length: T, tokens.
        head_dim: D, channels of a head, even.
        base: base of the geometric series of wavelengths.
        dtype: of the result.
        device: of the result.

    Raises:
        InvalidInputError: if D is odd.
    """
    require(head_dim % 2 == 0, "head channels", "must be even for rotary positions", head_dim)
    make = _rotation if traced() or transformed() else _kept_rotation
    return make(start, length, head_dim=head_dim, base=base, dtype=dtype, device=device)


def _rotation(start: int, length: int, *, head_dim: int, base: float, dtype: torch.dtype, device: torch.device) -> Rotation:
    half, wide = head_dim // 2, torch.promote_types(dtype, torch.float32)
    with torch.inference_mode(False), torch.no_grad():
        frequency = base ** (-torch.arange(half, device=device, dtype=wide) / half)
        position = torch.arange(start, start + length, device=device, dtype=wide)
        angle = (position[:, None] * frequency)[:, None, None]
        # Each half of the sine lies together in memory, as kernels take it.
        sine = torch.stack([-angle.sin(), angle.sin()]).to(dtype)[:, :, 0].permute(1, 2, 0, 3)
        return Rotation(angle.cos().to(dtype), sine)


_kept_rotation = functools.lru_cache(maxsize=1024)(_rotation)


def rotary(x_BTHD: Tensor, angles: Rotation) -> Tensor:
    """Turn channel pairs (i, i + D / 2) by the angles of their token."""
    pairs = x_BTHD.view(*x_BTHD.shape[:-1], 2, x_BTHD.shape[-1] // 2)
    return torch.addcmul(pairs * angles.cos, pairs.flip(-2), angles.sin).flatten(-2)


def attention(
    q_BHQD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, *, valid_BS: Tensor | None = None, sliding_len: int | None = None
) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v, each query seeing the keys up to its own (Lee et al. 2026, Eq. 1-2).

    The Q queries are the last of the S positions. Padded keys (``valid_BS`` False) are seen by nobody but themselves. Fewer heads
    of keys and values than of queries serve a group of them each. With ``sliding_len`` L, a query at position p sees the keys in
    (p - L, p] alone.
    """
    valid_BS = as_mask(valid_BS, _tokens_of(k_BHSD), device=k_BHSD.device)
    k_BHSD, v_BHSD = _for_each_query_head(k_BHSD, q_BHQD), _for_each_query_head(v_BHSD, q_BHQD)
    n_queries, n_keys = q_BHQD.shape[-2], k_BHSD.shape[-2]
    if sliding_len is not None and n_keys > sliding_len:
        visible = _visible(n_queries, n_keys, valid_BS, q_BHQD.device, sliding_len)
        return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD, attn_mask=visible)
    if valid_BS is None and n_queries == n_keys:
        return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD, is_causal=n_queries > 1)
    if valid_BS is None and n_queries == 1:
        return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD)
    visible = _visible(n_queries, n_keys, valid_BS, q_BHQD.device)
    return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD, attn_mask=visible)


def attention_weights(
    q_BHQD: Tensor, k_BHSD: Tensor, *, valid_BS: Tensor | None = None, sliding_len: int | None = None
) -> Tensor:
    """Return the softmax weights [B, H, Q, S] that ``attention`` applies, for looking at."""
    valid_BS = as_mask(valid_BS, _tokens_of(k_BHSD), device=k_BHSD.device)
    k_BHSD = _for_each_query_head(k_BHSD, q_BHQD)
    visible = _visible(q_BHQD.shape[-2], k_BHSD.shape[-2], valid_BS, q_BHQD.device, sliding_len)
    scores = (q_BHQD @ k_BHSD.mT) * q_BHQD.shape[-1] ** -0.5
    weights: Tensor = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)
    return weights


def _tokens_of(k_BHSD: Tensor) -> torch.Size:
    return k_BHSD[:, 0, :, 0].shape


def _for_each_query_head(x_BHSD: Tensor, q_BHQD: Tensor) -> Tensor:
    n_heads, n_queried = x_BHSD.shape[1], q_BHQD.shape[1]
    if n_heads == n_queried:
        return x_BHSD
    require(n_queried % n_heads == 0, "k", f"heads must divide the {n_queried} heads of q", n_heads)
    return x_BHSD.repeat_interleave(n_queried // n_heads, dim=1)


def _visible(
    n_queries: int, n_keys: int, valid_BS: Tensor | None, device: torch.device, sliding_len: int | None = None
) -> Tensor:
    """Boolean mask that broadcasts to [B, H, Q, S]."""
    offset = n_keys - n_queries
    causal_QS = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(offset)
    if sliding_len is not None:
        causal_QS = causal_QS.triu(offset - sliding_len + 1)
    if valid_BS is None:
        return causal_QS
    own_QS = torch.eye(n_keys, dtype=torch.bool, device=device)[offset:]
    return (causal_QS & valid_BS[:, None, None, :]) | own_QS
