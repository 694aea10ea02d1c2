"""What a model carries, as values that travel: nothing is written in place.

``ModelState`` survives the window: fast weights, tails of convolutions where they are carried, and under sliding eviction a
``Sight`` of the newest tokens. ``WindowCache`` lives for one window only and is thrown away by eviction.
Axes: B batch, H head, S key position, D head channel, K key channel, V value channel.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

_Value = TypeVar("_Value")


class AttentionCache(NamedTuple):
    """Keys and values of some tokens, [B, H, S, D] each, keys rotated already (position 0 is the current window's first)."""

    keys: Tensor
    values: Tensor


class Sight(NamedTuple):
    """What attention sees under sliding eviction (Lee et al. 2026, sec. 6.4): a query at p sees the keys in (p - L, p].

    Attributes:
        sliding_len: L, positions that a query sees, its own included.
        carried: per layer keys and values of the newest tokens before the current window, at most L - 1, at positions
            -S..-1, as the layer's last run over their window left them; None for a layer without attention.
        own: per layer those of the current window, as the layer's newest run left them; None before it has run.
        valid: [B, S], False marks carried tokens that are padding; None if none is.
    """

    sliding_len: int
    carried: tuple[AttentionCache | None, ...]
    own: tuple[AttentionCache | None, ...]
    valid: Tensor | None

    @property
    def n_carried(self) -> int:
        """S, tokens carried over from earlier windows; 0 in a model without attention."""
        return next((layer.keys.shape[2] for layer in self.carried if layer is not None), 0)

    @property
    def n_bytes(self) -> int:
        """Bytes of all keys, values and marks held."""
        held = [tensor for layer in (*self.carried, *self.own) if layer is not None for tensor in layer]
        return sum(tensor.nbytes for tensor in held) + (0 if self.valid is None else self.valid.nbytes)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Sight":
        """Apply a function to every tensor."""
        carried, own = (
            tuple(None if layer is None else AttentionCache(*map(change, layer)) for layer in layers)
            for layers in (self.carried, self.own)
        )
        return Sight(self.sliding_len, carried, own, None if self.valid is None else change(self.valid))

    def with_own(self, start: int, layers: list[AttentionCache | None]) -> "Sight":
        """Replace what the layers from ``start`` on have read of the current window."""
        return self._replace(own=_spliced(self.own, start, layers))


class ModelState(NamedTuple):
    """Everything that outlives a window: one fast-weight matrix per head, layer and sequence, and what is still seen.

    Attributes:
        fast_weights: per layer [B, H, K, V] fp32, or None for a layer that carries nothing (attention).
        sight: what attention sees of earlier windows under sliding eviction; None under hard eviction: nothing.
        conv_tails: with ``ModelConfig.carry_conv``, per layer the last inputs of its short convolution [B, W - 1, E], or None;
            else empty.
    """

    fast_weights: tuple[Tensor | None, ...]
    sight: Sight | None = None
    conv_tails: tuple[Tensor | None, ...] = ()

    def map(self, change: Callable[[Tensor], Tensor]) -> "ModelState":
        """Apply a function to every tensor."""
        parts = (self.fast_weights, self.conv_tails)
        fast_weights, tails = (tuple(None if layer is None else change(layer) for layer in part) for part in parts)
        sight = None if self.sight is None else self.sight.map(change)
        return ModelState(fast_weights, sight, tails)

    def conv_tail(self, number: int) -> Tensor | None:
        """Return what the short convolution of a layer goes on from; None starts it from zeros."""
        return self.conv_tails[number] if self.conv_tails else None

    def detach(self) -> "ModelState":
        """Cut the gradient."""
        return self.map(lambda layer: layer.detach())

    def clone(self) -> "ModelState":
        """Copy every tensor."""
        return self.map(lambda layer: layer.clone())

    def with_layers(self, start: int, layers: list[Tensor | None], tails: list[Tensor | None] | None = None) -> "ModelState":
        """Replace the fast weights of the layers from ``start`` on and, where they are carried, their convolutions' tails."""
        state = self._replace(fast_weights=_spliced(self.fast_weights, start, layers))
        if tails is None or not self.conv_tails:
            return state
        return state._replace(conv_tails=_spliced(self.conv_tails, start, tails))

    def layers_from(self, other: "ModelState", start: int) -> "ModelState":
        """Take the layers from ``start`` on from another state."""
        return self.with_layers(start, list(other.fast_weights[start:]), list(other.conv_tails[start:]))

    @property
    def n_bytes(self) -> int:
        """Bytes held by the fast weights and the carried tails, and by the keys and values that are still seen."""
        seen = 0 if self.sight is None else self.sight.n_bytes
        return seen + sum(layer.nbytes for layer in (*self.fast_weights, *self.conv_tails) if layer is not None)


class ConvCache(NamedTuple):
    """Last inputs of the short convolution in the current window, [B, W - 1, E]."""

    tail: Tensor


LayerCache = AttentionCache | ConvCache


class WindowCache(NamedTuple):
    """What one pass over the current window has to remember to go on reading it.

    Attributes:
        layers: one cache per block.
        length: tokens read so far in this window.
    """

    layers: tuple[LayerCache, ...]
    length: int

    @property
    def n_bytes(self) -> int:
        """Bytes held by keys, values and convolution tails."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


def _spliced(whole: tuple[_Value, ...], start: int, part: list[_Value]) -> tuple[_Value, ...]:
    return whole[:start] + tuple(part) + whole[start + len(part) :]
