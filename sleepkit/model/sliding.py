"""Sliding-window eviction (Lee et al. 2026, sec. 6.4): after sleep the newest L - 1 tokens stay in the KV cache.

What the paper leaves open, and what is decided here:

* A query at position p sees the keys in (p - L, p], asleep, awake and in the window of the question alike: the first token that
  asks still sees the newest L - 1 tokens of the context.
* The keys of a token are those of its layer's last run over the token's window: pass 1 in a prelude, pass N in the looped span,
  the one run of the coda on the final features. All passes over the next window see these same keys. So with N >= 2 attention
  itself is recurrent over windows: a key of pass N holds what earlier layers and passes saw, and no number of layers bounds how
  far back that goes. With N = 1 it is (L - 1) times the number of attention layers, as in any sliding-window attention.
* They are differentiable, like the fast weights: Algorithm 1 back-propagates through everything.
* Positions restart at each window; carried keys are turned back once, when their window ends, so that they are at -S..-1.
* Padding inside a window takes up positions and is seen by nobody; windows of padding alone are left out and take up none.
* The short convolution of the fast weights restarts at each window and pass, as under hard eviction.

Axes: B batch, T token, H head, S key position, D head channel.
"""

from typing import Any

import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.model.config import ModelConfig
from sleepkit.model.state import AttentionCache, Sight


def reading(sight: Sight | None, number: int, valid_BT: Tensor | None, h_BTE: Tensor) -> dict[str, Any]:
    """Return what attention layer ``number`` takes to read a window of T tokens: valid_BT, and under a sight what it sees."""
    if sight is None:
        return {"valid_BT": valid_BT}
    both = _joined(sight, valid_BT, h_BTE.shape[1])
    return {"valid_BT": both, "carried": sight.carried[number], "sliding_len": sight.sliding_len}


def evicted(sight: Sight, config: ModelConfig, n_tokens: int, valid_BT: Tensor | None) -> Sight:
    """End a window of T tokens: carry the newest L - 1 tokens on, forget the older ones.

    Args:
        sight: with what every attention layer has read of the window.
        config: of the model.
        n_tokens: T.
        valid_BT: False marks padding in the window.
    """
    carried = tuple(
        None if before is None or own is None else _newest(before, own, sight.sliding_len - 1, config, n_tokens)
        for before, own in zip(sight.carried, sight.own, strict=True)
    )
    nobody_looks = all(layer is None for layer in carried)  # a model without attention carries no tokens, and no marks of them
    both = None if nobody_looks else _joined(sight, valid_BT, n_tokens)
    if both is not None:
        both = both[:, max(0, both.shape[1] - sight.sliding_len + 1) :]
    return Sight(sight.sliding_len, carried, (None,) * len(carried), both)


def _newest(before: AttentionCache, own: AttentionCache, n_kept: int, config: ModelConfig, n_tokens: int) -> AttentionCache:
    keys, values = (torch.cat(pair, dim=2) for pair in zip(before, own, strict=True))
    first = max(0, keys.shape[2] - n_kept)
    back = ops.rotation(-n_tokens, 1, head_dim=config.head_dim, base=config.rope_base, dtype=keys.dtype, device=keys.device)
    turned = ops.rotary(keys[:, :, first:].transpose(1, 2), back).transpose(1, 2)
    return AttentionCache(turned, values[:, :, first:].contiguous())  # a view would keep the evicted ones alive


def _joined(sight: Sight, valid_BT: Tensor | None, n_tokens: int) -> Tensor | None:
    """Marks [B, S + T] of carried tokens and those of the window; None if no token is padding."""
    if sight.valid is None and valid_BT is None:
        return None
    known = sight.valid if valid_BT is None else valid_BT
    assert known is not None
    before = known.new_ones(known.shape[0], sight.n_carried) if sight.valid is None else sight.valid
    now = known.new_ones(known.shape[0], n_tokens) if valid_BT is None else valid_BT
    return torch.cat([before, now], dim=1)
