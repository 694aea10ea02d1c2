"""What a model carries, as values that travel: nothing is written in place.

``ModelState`` survives the window (fast weights, and tails of convolutions where they are carried); ``WindowCache`` lives for
one window only and is thrown away by eviction.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class ModelState(NamedTuple):
    """Everything that outlives a window: one fast-weight matrix per head, layer and sequence.

    Attributes:
        fast_weights: per layer [B, H, K, V] fp32, or None for a layer that carries nothing (attention).
        conv_tails: with ``ModelConfig.carry_conv``, per layer the last inputs of its short convolution [B, W - 1, E], or None;
            else empty.
    """

    fast_weights: tuple[Tensor | None, ...]
    conv_tails: tuple[Tensor | None, ...] = ()

    def map(self, change: Callable[[Tensor], Tensor]) -> "ModelState":
        """Apply a function to every tensor."""
        parts = (self.fast_weights, self.conv_tails)
        fast_weights, tails = (tuple(None if layer is None else change(layer) for layer in part) for part in parts)
        return self._replace(fast_weights=fast_weights, conv_tails=tails)

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
        stop = start + len(layers)
        fast_weights = self.fast_weights[:start] + tuple(layers) + self.fast_weights[stop:]
        if tails is None or not self.conv_tails:
            return self._replace(fast_weights=fast_weights)
        conv_tails = self.conv_tails[:start] + tuple(tails) + self.conv_tails[stop:]
        return self._replace(fast_weights=fast_weights, conv_tails=conv_tails)

    def layers_from(self, other: "ModelState", start: int) -> "ModelState":
        """Take the layers from ``start`` on from another state."""
        return self.with_layers(start, list(other.fast_weights[start:]), list(other.conv_tails[start:]))

    @property
    def n_bytes(self) -> int:
        """Bytes held by the fast weights and the carried tails."""
        return sum(layer.nbytes for layer in (*self.fast_weights, *self.conv_tails) if layer is not None)


class AttentionCache(NamedTuple):
    """Keys and values of the current window, [B, H, S, D] each, rotated already."""

    keys: Tensor
    values: Tensor


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
