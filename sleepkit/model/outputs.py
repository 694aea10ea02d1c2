"""What a model returns of a window. Axes: B batch, T token, E channel, H head."""

from typing import NamedTuple

from torch import Tensor

from sleepkit.model.state import ModelState


class BlocksOutput(NamedTuple):
    """Result of ``HybridLM.blocks``: the residual stream [B, T, E] and the state after the window."""

    hidden: Tensor
    state: ModelState


class PassView(NamedTuple):
    """What can be seen after one pass over a window.

    Attributes:
        n_pass: which pass, counted from 1 (pass 1 is reading, later ones are asleep).
        state: the fast weights after it.
        attention: softmax weights [B, H, T, S] by layer number, S the T tokens of the window, after those that are still seen
            of earlier ones (sliding eviction).
    """

    n_pass: int
    state: ModelState
    attention: dict[int, Tensor]
