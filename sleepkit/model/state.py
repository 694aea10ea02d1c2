"""What a model carries, as values that travel: nothing is written in place.

``ModelState`` survives the window (fast weights); ``WindowCache`` lives for one window only and is thrown away by eviction.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class ModelState(NamedTuple):
    """Everything that outlives a window: one fast-weight matrix per head, layer and sequence.

    Attributes:
        fast_weights: per layer [B, H, K, V] fp32, or None for a layer that carries nothing (attention).
    """

    fast_weights: tuple[Tensor | None, ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> "ModelState":
        """Apply a function to every tensor."""
        return ModelState(tuple(None if layer is None else change(layer) for layer in self.fast_weights))

    def detach(self) -> "ModelState":
        """Cut the gradient."""
        return self.map(lambda layer: layer.detach())

    def clone(self) -> "ModelState":
        """Copy every tensor."""
        return self.map(lambda layer: layer.clone())

    def with_layers(self, start: int, layers: list[Tensor | None]) -> "ModelState":
        """Replace the layers from ``start`` on."""
        return ModelState(self.fast_weights[:start] + tuple(layers) + self.fast_weights[start + len(layers) :])

    @property
    def n_bytes(self) -> int:
        """Bytes held by the fast weights."""
        return sum(layer.nbytes for layer in self.fast_weights if layer is not None)


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
