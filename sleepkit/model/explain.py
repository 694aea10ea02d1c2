"""Which path a call of the model takes, layer by layer, and why: what ``HybridLM.explain`` returns."""

import dataclasses
from typing import Literal, NamedTuple

Path = Literal["one operation", "compiled", "modules"]


class LayerPath(NamedTuple):
    """The path of one layer.

    Attributes:
        layer: its number.
        kind: its kind in ``ModelConfig.layers``.
        path: "one operation" is the block as one kernel in C, "compiled" a graph of torch.compile, "modules" one after another.
        reason: why.
        operation: for fast weights that run as modules, the implementation of their write and why it is chosen.
    """

    layer: int
    kind: str
    path: Path
    reason: str
    operation: str | None = None

    def __str__(self) -> str:
        """Return the path as a line."""
        line = f"layer {self.layer} ({self.kind}): {self.path}: {self.reason}"
        return line if self.operation is None else f"{line}; its write is {self.operation}"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The path of every layer; prints as a line for each.

    Attributes:
        layers: in order.
    """

    layers: tuple[LayerPath, ...]

    def __str__(self) -> str:
        """Return a line for each layer."""
        return "\n".join(map(str, self.layers))

    __repr__ = __str__
