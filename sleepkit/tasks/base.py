"""What every task gives: batches that are pure functions of (config, split, index), an oracle, floors, a rendering.

Shapes: B examples, T positions, A answers in one example.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sleepkit.errors import require, require_count
from sleepkit.settings import Settings

Split = Literal["train", "validation", "test"]
NOTHING_ASKED = -100
PAD, CONTEXT, QUERY, ANSWER = range(4)
_FEW = 16  # a batch of at most this part of a block is a look at a few examples


@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples of one task.

    Attributes:
        tokens: [B, T] int64, the input at each position.
        targets: [B, T] int64, what the model must output at that position; -100 where nothing is asked.
            The shift is done already: no further shift is needed or allowed.
        segment: [B, T] int64, 0 pad, 1 context, 2 query, 3 answer.
        answer_id: [B, T] int64, index in [0, A) of the answer a target belongs to, -1 for none.
        coords: one [B, A] tensor per name; ``depth`` (reasoning depth, steps) is always there. 0 for answers that are not asked.
    """

    tokens: Tensor
    targets: Tensor
    segment: Tensor
    answer_id: Tensor
    coords: dict[str, Tensor]

    @property
    def size(self) -> int:
        """Number of examples B."""
        return self.tokens.shape[0]

    @property
    def n_answers(self) -> int:
        """Number of answers A in each example."""
        return self.coords["depth"].shape[1]

    @property
    def asked(self) -> Tensor:
        """Which answers are asked, [B, A] bool; an example may have fewer than another."""
        count = torch.zeros(self.size, self.n_answers, dtype=torch.int64, device=self.answer_id.device)
        return count.scatter_add(1, self.answer_id.clamp(min=0), (self.answer_id >= 0).long()) > 0

    def to(self, device: torch.device | str) -> "Batch":
        """Copy every tensor to a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> "Batch":
        """Take examples ``start`` to ``stop``."""
        return self.map(lambda tensor: tensor[start:stop])

    def copy(self, other: "Batch") -> None:
        """Overwrite every tensor with another batch's, in place."""
        self.tokens.copy_(other.tokens)
        self.targets.copy_(other.targets)
        self.segment.copy_(other.segment)
        self.answer_id.copy_(other.answer_id)
        for name, value in self.coords.items():
            value.copy_(other.coords[name])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Apply a function to every tensor."""
        return Batch(
            tokens=change(self.tokens),
            targets=change(self.targets),
            segment=change(self.segment),
            answer_id=change(self.answer_id),
            coords={name: change(value) for name, value in self.coords.items()},
        )


@dataclasses.dataclass(frozen=True)
class Floor:
    """What a reader who remembers nothing can score, per reasoning depth.

    Attributes:
        depth: [D] reasoning depths.
        chance: [D] accuracy of a uniform guess, one answer.
        constant: [D] accuracy of the best constant answer, one answer.
        exact_chance: [D] the same guess, all answers of an example right at once.
        exact_constant: [D] the best constant, all answers of an example right at once.
        source: how it was obtained ("enumerated", "exact" from the laws of the draw, or "sampled"; or which part how).
    """

    depth: np.ndarray
    chance: np.ndarray
    constant: np.ndarray
    exact_chance: np.ndarray
    exact_constant: np.ndarray
    source: str


class Task(Protocol):
    """A source of examples with known answers. A task never sees a model."""

    name: str
    version: int

    @property
    def config(self) -> Settings:
        """The settings this task was made from."""
        ...

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id."""
        ...

    @property
    def seq_len(self) -> int:
        """T, tokens in one example."""
        ...

    @property
    def window_len(self) -> int:
        """L, the window length the task is meant for, tokens."""
        ...

    def batch(self, split: Split, index: int, size: int) -> Batch:
        """Return examples ``index * size`` up to ``(index + 1) * size`` of a split."""
        ...

    def solve(self, tokens: Tensor) -> Tensor:
        """Answer from the tokens alone: [B, T] -> token ids [B, A], or [B, A, tokens] with -100 beyond the end of an answer."""
        ...

    def floor(self, split: Split | None = None) -> Floor:
        """Return chance and the best constant answer per depth."""
        ...

    def render(self, batch: Batch, row: int, predicted: Tensor | None = None) -> str:
        """Describe one example in text: windows, true path, the model's answers."""
        ...


@runtime_checkable
class Rechecked(Protocol):
    """A task with rules of its own beside those every task keeps; the audit applies them too."""

    def checks(self, batch: Batch) -> dict[str, Tensor]:
        """Return the examples [B] bool that break each rule."""
        ...


def check_batch_request(split: str, index: int, size: int) -> None:
    """Refuse a request for a batch that cannot exist.

    Raises:
        InvalidInputError: naming the argument.
    """
    require(split in get_args(Split), "split", "must be one of 'train', 'validation', 'test'", split)
    for name, value, least in (("index", index, 0), ("size", size, 1)):
        require_count(name, value, least=least)


class Cut(NamedTuple):
    """What a batch takes from one block.

    Attributes:
        number: of the block.
        n_drawn: examples of the block that are drawn, the first ones.
        start: the first example taken, counted in the block.
        stop: the example after the last one taken.
    """

    number: int
    n_drawn: int
    start: int
    stop: int


def cuts(block_len: int, start: int, stop: int) -> list[Cut]:
    """Return what the examples ``start`` to ``stop`` of a split take from its blocks.

    A batch of more than a few examples is followed by others: its blocks are drawn whole, once. For fewer, such as the one
    example of a picture, blocks are drawn up to them, to the next power of two, so that even those who ask for one after the
    other draw each block twice at most.
    """
    few = stop - start <= block_len // _FEW
    found = []
    for number in range(start // block_len, (stop - 1) // block_len + 1):
        first, last = max(start - number * block_len, 0), min(stop - number * block_len, block_len)
        n_drawn = min(1 << (last - 1).bit_length(), block_len) if few else block_len
        found.append(Cut(number, n_drawn, first, last))
    return found


def cut_from_blocks(block: Callable[[int, int], Batch], block_len: int, start: int, stop: int) -> Batch:
    """Cut examples ``start`` to ``stop`` from blocks, of which a number and how many examples are drawn are given.

    Every tensor is copied, to int64, because blocks are kept for the next batch: whoever changes a batch must not change them.
    """
    parts = [block(cut.number, cut.n_drawn).rows(cut.start, cut.stop) for cut in cuts(block_len, start, stop)]

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors).long()  # cat copies a single one too

    return Batch(
        tokens=joined([part.tokens for part in parts]),
        targets=joined([part.targets for part in parts]),
        segment=joined([part.segment for part in parts]),
        answer_id=joined([part.answer_id for part in parts]),
        coords={name: joined([part.coords[name] for part in parts]) for name in parts[0].coords},
    )
