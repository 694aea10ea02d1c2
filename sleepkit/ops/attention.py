"""Causal softmax attention inside one window, with rotary positions.

Axes: B batch, H head, Q query position, S key position, D head channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.errors import require


def rotary(x_BHQD: Tensor, *, start: int, base: float) -> Tensor:
    """Rotate channel pairs by angles that grow with the position inside the window (arXiv 2104.09864).

    Args:
        x_BHQD: queries or keys; D even.
        start: position of the first one in its window.
        base: base of the geometric series of wavelengths.

    Raises:
        InvalidInputError: if D is odd.
    """
    head_dim = x_BHQD.shape[-1]
    require(head_dim % 2 == 0, "head channels", "must be even for rotary positions", head_dim)
    half = head_dim // 2
    kind = torch.float64 if x_BHQD.dtype == torch.float64 else torch.float32
    frequency = base ** (-torch.arange(half, device=x_BHQD.device, dtype=kind) / half)
    position = torch.arange(start, start + x_BHQD.shape[-2], device=x_BHQD.device, dtype=kind)
    angle_QD = position[:, None] * frequency
    cos, sin = angle_QD.cos().to(x_BHQD.dtype), angle_QD.sin().to(x_BHQD.dtype)
    first, second = x_BHQD[..., :half], x_BHQD[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attention(q_BHQD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, *, valid_BS: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v, each query seeing the keys up to its own (Lee et al. 2026, Eq. 1-2).

    The Q queries are the last of the S positions. Padded keys (``valid_BS`` False) are seen by nobody but themselves.
    """
    n_queries, n_keys = q_BHQD.shape[-2], k_BHSD.shape[-2]
    if valid_BS is None and n_queries == n_keys:
        return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD, is_causal=n_queries > 1)
    if valid_BS is None and n_queries == 1:
        return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD)
    visible = _visible(n_queries, n_keys, valid_BS, q_BHQD.device)
    return F.scaled_dot_product_attention(q_BHQD, k_BHSD, v_BHSD, attn_mask=visible)


def attention_weights(q_BHQD: Tensor, k_BHSD: Tensor, *, valid_BS: Tensor | None = None) -> Tensor:
    """Return the softmax weights [B, H, Q, S] that ``attention`` applies, for looking at."""
    visible = _visible(q_BHQD.shape[-2], k_BHSD.shape[-2], valid_BS, q_BHQD.device)
    scores = (q_BHQD @ k_BHSD.mT) * q_BHQD.shape[-1] ** -0.5
    weights: Tensor = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)
    return weights


def _visible(n_queries: int, n_keys: int, valid_BS: Tensor | None, device: torch.device) -> Tensor:
    """Boolean mask that broadcasts to [B, H, Q, S]."""
    offset = n_keys - n_queries
    causal_QS = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(offset)
    if valid_BS is None:
        return causal_QS
    own_QS = torch.eye(n_keys, dtype=torch.bool, device=device)[offset:]
    return (causal_QS & valid_BS[:, None, None, :]) | own_QS
