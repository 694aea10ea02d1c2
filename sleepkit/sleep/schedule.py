"""When a model sleeps: the settings of sleep, and the cut of a sequence into windows.

Axes: B example, T position.
"""

import itertools
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sleepkit.errors import require, require_count
from sleepkit.settings import Settings, settings
from sleepkit.tasks import ANSWER, NOTHING_ASKED, PAD, QUERY, Batch

Eviction = Literal["hard", "sliding"]


@settings
class SleepConfig(Settings):
    """Settings of sleep.

    Attributes:
        n_passes: N, passes over a window before its eviction, reading included: 1 reads and never loops (the vanilla
            hybrid), 4 is three passes asleep.
        window_len: L, tokens of a window.
        eviction: "hard" clears the whole KV cache at the end of each window; "sliding" keeps its newest L - 1 tokens and evicts
            older ones, so that a query at p sees the keys in (p - L, p], whatever window they are of (Lee et al. 2026, sec. 6.4).
    """

    n_passes: int = 1
    window_len: int = 24
    eviction: Eviction = "hard"

    def check(self) -> None:
        """Refuse impossible sleep."""
        require_count("n_passes", self.n_passes)
        require_count("window_len", self.window_len)

    @property
    def sliding_len(self) -> int | None:
        """L under sliding eviction, None under hard eviction: what ``HybridLM.initial_state`` takes."""
        return self.window_len if self.eviction == "sliding" else None


class Window(NamedTuple):
    """One window [start, stop) of a sequence.

    Attributes:
        start: first position.
        stop: position after the last.
        asleep: True if nothing is asked in it (it is consolidated in N passes), False if it is answered in one pass.
        padded: True if some position is padding.
    """

    start: int
    stop: int
    asleep: bool
    padded: bool


def schedule(batch: Batch, window_len: int) -> list[Window]:
    """Cut a batch into windows of at most ``window_len`` tokens (Lee et al. 2026, Algorithm 1).

    The context is cut at multiples of the window length. The question, from its first token on, starts a window of its
    own, so that it is answered from memory whatever the window length. Windows of padding alone are left out: they would
    change nothing. A window in which any example asks something is answered, not slept on.

    Raises:
        InvalidInputError: if the question and its answers do not fit into one window.
    """
    seq_len = batch.tokens.shape[1]
    asked = _question_start(batch)
    block = seq_len - asked
    require(block <= window_len, "window_len", f"must hold the label block of {block} tokens", window_len)
    edges = [*range(0, asked, window_len), *([asked] if block else []), seq_len]
    windows = []
    for start, stop in itertools.pairwise(edges):
        padding = batch.segment[:, start:stop] == PAD
        if not bool(padding.all()):
            silent = bool((batch.targets[:, start:stop] == NOTHING_ASKED).all())
            windows.append(Window(start, stop, silent, bool(padding.any())))
    return windows


def _question_start(batch: Batch) -> int:
    """Position where the run of query and answer tokens around the first target begins, the earliest of all examples."""
    seq_len = batch.tokens.shape[1]
    asks = (batch.targets != NOTHING_ASKED).any(dim=0)
    if not bool(asks.any()):
        return seq_len
    first = int(asks.int().argmax())
    belongs = ((batch.segment == QUERY) | (batch.segment == ANSWER)).any(dim=0)
    while first > 0 and bool(belongs[first - 1]):
        first -= 1
    return first


def as_batch(batch: Batch | Tensor) -> Batch:
    """Let plain tokens [B, T] stand for a batch in which nothing is asked.

    Raises:
        InvalidInputError: if it is neither.
    """
    if isinstance(batch, Batch):
        return batch
    require(isinstance(batch, Tensor) and batch.ndim == 2, "batch", "must be a Batch or tokens [B, T]", type(batch))
    nothing = torch.full_like(batch, NOTHING_ASKED)
    empty = torch.zeros(batch.shape[0], 0, dtype=torch.int64)
    return Batch(batch, nothing, torch.ones_like(batch), torch.full_like(batch, -1), {"depth": empty})
