"""Algorithm 1 of Lee et al. 2026 with sliding eviction (sec. 6.4), written from the paper: nothing is ever evicted here.

Every attention layer keeps all keys it ever read, at their absolute positions, and a mask over the whole sequence does the
rest: a query at p sees the keys in (p - L, p]. Only the fast weights and the MLPs are the model's own.
"""

import torch
from torch import Tensor

from sleepkit.model import HybridLM


class MaskedModel:
    """A model that reads windows with masks in place of eviction."""

    def __init__(self, model: HybridLM, valid_BT: Tensor, window_len: int) -> None:
        """Start at position 0."""
        self.model, self.valid_BT, self.window_len = model, valid_BT, window_len
        n_layers = model.config.n_layers
        self.fast_weights = list(model.initial_state(len(valid_BT)).fast_weights)
        self.past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(n_layers)]
        self.newest: list[tuple[Tensor, Tensor] | None] = [None] * n_layers
        self.n_read = 0

    def window(self, tokens_BT: Tensor, n_passes: int) -> Tensor:
        """Make N passes over the next tokens and return their residual stream."""
        (start, stop), n_layers = self.model.config.loop_span, self.model.config.n_layers
        order = [*range(start), *(list(range(start, stop)) * n_passes), *range(stop, n_layers)]
        hidden = self.model.embedding(tokens_BT)
        for number in order:
            hidden = self._layer(number, hidden)
        for past, newest in zip(self.past, self.newest, strict=True):
            if newest is not None:
                past.append(newest)
        self.n_read += tokens_BT.shape[1]
        return hidden

    def _layer(self, number: int, hidden: Tensor) -> Tensor:
        block, seq_len = self.model.layers[number], hidden.shape[1]
        valid = self.valid_BT[:, self.n_read : self.n_read + seq_len]
        if self.model.config.layer_kinds[number] == "gdn":
            hidden, self.fast_weights[number], _ = block(hidden, self.fast_weights[number], valid_BT=valid)
            return hidden
        hidden = hidden + self._attend(number, block.mixer_norm(hidden))
        return hidden + block.mlp(block.mlp_norm(hidden))

    def _attend(self, number: int, x_BTE: Tensor) -> Tensor:
        mixer, (batch, seq_len, width) = self.model.layers[number].mixer, x_BTE.shape
        query, key, value = mixer.qkv(x_BTE).view(batch, seq_len, 3, mixer.n_heads, mixer.head_dim).unbind(2)
        self.newest[number] = (mixer.key_norm(key), value)
        keys, values = (torch.cat(parts, dim=1) for parts in zip(*self.past[number], self.newest[number], strict=True))
        position = torch.arange(keys.shape[1])
        turned = self._turned(mixer.query_norm(query), position[self.n_read :])
        scores = torch.einsum("bqhd,bshd->bhqs", turned, self._turned(keys, position)) / mixer.head_dim**0.5
        age = position[self.n_read :, None] - position
        seen = (age >= 0) & (age < self.window_len) & (self.valid_BT[:, None, None, : keys.shape[1]] | (age == 0))
        weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1)
        return mixer.out(torch.einsum("bhqs,bshd->bqhd", weights, values).reshape(batch, seq_len, width))

    def _turned(self, x_BTHD: Tensor, position: Tensor) -> Tensor:
        half = x_BTHD.shape[-1] // 2
        angle = position[:, None].double() * self.model.config.rope_base ** (-torch.arange(half).double() / half)
        pair = torch.complex(x_BTHD[..., :half], x_BTHD[..., half:]) * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat([pair.real, pair.imag], dim=-1)


def sliding_algorithm_1(
    model: HybridLM, tokens_BT: Tensor, *, window_len: int, n_asked: int, n_passes: int, valid_BT: Tensor | None = None
) -> tuple[Tensor, list[Tensor | None]]:
    """Sleep on every window of the context, answer the last positions in one pass: their logits, and the fast weights."""
    reader = MaskedModel(model, torch.ones_like(tokens_BT, dtype=torch.bool) if valid_BT is None else valid_BT, window_len)
    context_len = tokens_BT.shape[1] - n_asked
    for window in tokens_BT[:, :context_len].split(window_len, dim=1) if context_len else ():
        reader.window(window, n_passes)
    return model.head(reader.window(tokens_BT[:, context_len:], 1)), reader.fast_weights
