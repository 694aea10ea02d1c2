"""Tasks that ask about an evicted context of fixed length: what they share, so that a task is one file and one registry line.

    tokens    c c c ... c | q q   q q   q q       context, then the queries of the questions, each of the same length
    targets               |   a     a     a       the answer to each, one token, at the last token of its query

* Answers are not shown: where one is a step on the way to another, reading it would take that many steps off the other's depth.
* The context never depends on what is asked, nor its length on any depth: memory load is fixed, depth alone varies.
* Training draws depths by their weights; evaluation deals them out in turn, each equally often.
* Splits live in the key of the random streams and in the content: 1 context in 64, by a hash of what it says, is kept for
  evaluation.

Axes: G examples of a block, A questions, C context tokens, Q tokens of a query, K numbers that say what a context says.
"""

import abc
import dataclasses
import functools
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sleepkit.errors import require
from sleepkit.seeds import stream, weighted_choice
from sleepkit.settings import Settings, settings
from sleepkit.tasks.base import CONTEXT, NOTHING_ASKED, QUERY, Batch, Floor, Split, check_batch_request, cut_from_blocks
from sleepkit.tasks.drawing import RowsOf, Words, mixed, orders

_BLOCK = 1024
_CANDIDATES = 8192
_FEWEST_CONTEXTS = 2**20
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Sizes(NamedTuple):
    """What follows from the settings of a task.

    Attributes:
        deepest: the largest depth that can be asked; the least is 1.
        context_len: C, tokens of the context.
        query_len: Q, tokens of a query.
        n_contexts: different contexts, a lower bound if they are hard to count.
    """

    deepest: int
    context_len: int
    query_len: int
    n_contexts: int


@settings
class QuestionConfig(Settings, abc.ABC):
    """Settings that every such task has.

    Attributes:
        depths: reasoning depths that are asked, rising; all that are possible if None.
        depth_weights: how often training asks each of them, any positive sum, uniform if None; weight 0 is never asked.
        n_queries: questions of an example, 1 to 1024.
        window_len: L, tokens of a window; the whole context, or the questions where they are longer, if None.
        seed: root of the random streams, in [0, 2^63).
    """

    depths: tuple[int, ...] | None = None
    depth_weights: tuple[float, ...] | None = None
    n_queries: int = 4
    window_len: int | None = None
    seed: int = 0

    @property
    @abc.abstractmethod
    def sizes(self) -> Sizes:
        """What follows from the settings."""

    @property
    def all_depths(self) -> tuple[int, ...]:
        """The depths that are asked, rising, those of weight 0 included."""
        return tuple(range(1, self.sizes.deepest + 1)) if self.depths is None else self.depths

    @property
    def weights(self) -> np.ndarray:
        """Weight of each of them in training."""
        return np.ones(len(self.all_depths)) if self.depth_weights is None else np.asarray(self.depth_weights)

    @property
    def asked_depths(self) -> np.ndarray:
        """The depths of positive weight, rising: those that any split asks."""
        return np.asarray(self.all_depths)[self.weights > 0]

    @property
    def block_len(self) -> int:
        """Tokens of the block of questions."""
        return self.n_queries * self.sizes.query_len

    def check(self) -> None:
        """Refuse impossible questions; a task checks its own settings first."""
        sizes, depths, weights = self.sizes, self.all_depths, self.depth_weights
        require(len(depths) > 0, "depths", "must name at least one depth", self.depths)
        require(list(depths) == sorted(set(depths)), "depths", "must be distinct depths in rising order", self.depths)
        inside = 1 <= depths[0] <= depths[-1] <= sizes.deepest
        require(inside, "depths", f"must lie in 1..{sizes.deepest}", self.depths)
        if weights is not None:
            same = len(weights) == len(depths)
            require(same, "depth_weights", f"must have one weight for each of {len(depths)} depths", weights)
            require(min(weights) >= 0 and sum(weights) > 0, "depth_weights", "must be >= 0 with a positive sum", weights)
        require(1 <= self.n_queries <= 1024, "n_queries", "must be between 1 and 1024", self.n_queries)
        holds = self.window_len is None or self.window_len >= self.block_len
        require(holds, "window_len", f"must hold the question block of {self.block_len} tokens", self.window_len)
        require(0 <= self.seed < 2**63, "seed", "must be in [0, 2^63)", self.seed)
        rule = f"must allow {_FEWEST_CONTEXTS} different contexts, so that some can be held out"
        require(sizes.n_contexts >= _FEWEST_CONTEXTS, type(self).__name__, rule, sizes.n_contexts)


@dataclasses.dataclass(frozen=True)
class Asked:
    """Examples of one block.

    Attributes:
        context: [G, C] tokens.
        queries: [G, A, Q] tokens.
        answers: [G, A] tokens.
        coords: [G, A] per name; ``depth`` and ``question`` are added.
    """

    context: np.ndarray
    queries: np.ndarray
    answers: np.ndarray
    coords: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


ConfigType = TypeVar("ConfigType", bound=QuestionConfig)


class QuestionTask(abc.ABC, Generic[ConfigType]):
    """Base of the tasks that ask about a context of fixed length; a task gives what is abstract here."""

    name: str
    version = 1

    def __init__(self, config: ConfigType) -> None:
        self.config = config

    @property
    @abc.abstractmethod
    def vocab(self) -> list[str]:
        """Printable strings by token id."""

    @abc.abstractmethod
    def contents(self, source: Words, n: int) -> np.ndarray:
        """Draw what n contexts say: [n, K] integers >= 0, equal for equal contexts only; they are what is held out.

        Each draw takes as many words for every context, row by row: a few contexts can then be drawn out of many.
        """

    @abc.abstractmethod
    def ask(self, contents: np.ndarray, depth: np.ndarray, source: Words) -> Asked:
        """Write contexts [G, K] down and ask questions of the given depths [G, A]; drawn row by row, as contents are."""

    @abc.abstractmethod
    def path(self, context: list[int], query: list[int]) -> list[int]:
        """Answer one query from tokens alone: the tokens met on the way, the answer last. Shares no code with ``ask``."""

    @abc.abstractmethod
    def guesses(self, depth: np.ndarray) -> Floor:
        """Return the floors at the given depths over all contexts."""

    def possible(self, contents: np.ndarray) -> np.ndarray:
        """Mark the contexts [n, K] about which every depth can be asked: [n] bool."""
        return np.ones(len(contents), dtype=bool)

    @property
    def context_len(self) -> int:
        """Tokens before the first question."""
        return self.config.sizes.context_len

    @property
    def seq_len(self) -> int:
        """T, tokens in one example."""
        return self.context_len + self.config.block_len

    @property
    def window_len(self) -> int:
        """L, tokens of one window."""
        return self.config.window_len or max(self.context_len, self.config.block_len)

    def batch(self, split: Split, index: int, size: int) -> Batch:
        """Return examples ``index * size`` up to ``(index + 1) * size`` of a split, the same in any order of access.

        Training never shows a context that evaluation may show. In the evaluation splits every run of as many examples as
        there are depths asks each depth equally often. ``question`` among the coordinates is the place in the block, from 0.

        Raises:
            InvalidInputError: for an unknown split, a negative index or an empty size.
        """
        check_batch_request(split, index, size)
        block = functools.partial(_block, type(self), self.config, split)
        return cut_from_blocks(block, _BLOCK, index * size, (index + 1) * size)

    def solve(self, tokens: Tensor) -> Tensor:
        """Answer from the tokens alone, step by step: [B, T] -> token ids [B, A].

        Raises:
            InvalidInputError: if the tokens are no examples of this task.
        """
        rows = torch.as_tensor(tokens)
        right = rows.ndim == 2 and rows.shape[1] == self.seq_len
        require(right, "tokens", f"must have the axes [B, {self.seq_len}]", tuple(rows.shape))
        known = bool(((rows >= 0) & (rows < len(self.vocab))).all())
        require(known, "tokens", f"must lie in 0..{len(self.vocab) - 1}", (int(rows.min()), int(rows.max())))
        answers = [[path[-1] for path in self._paths(row)] for row in rows.tolist()]
        return torch.tensor(answers, dtype=torch.int64).reshape(len(rows), self.config.n_queries)

    def floor(self, split: Split | None = None) -> Floor:
        """Return chance and the best constant answer per depth, over all contexts; every split asks the same depths.

        "All answers at once" is for examples that ask this depth alone.
        """
        del split  # contexts are split by a hash, and the floors are those of all of them
        return self.guesses(self.config.asked_depths)

    def render(self, batch: Batch, row: int, predicted: Tensor | None = None) -> str:
        """Describe one example: the windows, the window edges, the path to each answer, true and predicted answers.

        Args:
            batch: examples of this task.
            row: which example.
            predicted: [B, A] token ids a model answered, if there is one.

        Raises:
            InvalidInputError: if the row is not in the batch.
        """
        require(0 <= row < batch.size, "row", f"must be in [0, {batch.size})", row)
        tokens, words, lines = batch.tokens[row].tolist(), self.vocab, []
        for number, start in enumerate(range(0, self.context_len, self.window_len)):
            window = tokens[start : min(start + self.window_len, self.context_len)]
            lines.append(f"window {number}: {' '.join(words[token] for token in window)}")
            lines.append("-" * 12 + " window ends: evicted " + "-" * 12)
        for number, (query, path) in enumerate(zip(self._queries(tokens), self._paths(tokens), strict=True)):
            asked = " ".join(words[token] for token in query)
            lines.append(f"question {number}, depth {int(batch.coords['depth'][row, number])}: {asked}")
            said = "" if predicted is None else _verdict(words, int(predicted[row, number]), path[-1])
            lines.append(f"  {' -> '.join(words[token] for token in path)}")
            lines.append(f"  answer: {words[path[-1]]}{said}")
        return "\n".join(lines)

    def _queries(self, row: list[int]) -> list[list[int]]:
        length = self.config.sizes.query_len
        return [row[start : start + length] for start in range(self.context_len, self.seq_len, length)]

    def _paths(self, row: list[int]) -> list[list[int]]:
        return [self.path(row[: self.context_len], query) for query in self._queries(row)]


def depth_words(config: QuestionConfig) -> list[str]:
    """Return a printable token for each depth, 1 first; whether it is asked or not, so that a curriculum keeps the vocabulary."""
    return [f"d={depth}" for depth in range(1, config.sizes.deepest + 1)]


def at_depth(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Take what stands at each question's depth: values [G, deepest], from depth 1 on, and depths [G, A] -> [G, A]."""
    taken: np.ndarray = np.take_along_axis(values, depth - 1, axis=1)
    return taken


def independent_floor(depth: np.ndarray, n_queries: int, *, chance: float, constant: float, exact_constant: float) -> Floor:
    """Return floors that are the same at every depth; ``exact_constant`` is the best guess right ``n_queries`` times at once."""
    same = np.ones(len(depth))
    return Floor(depth, chance * same, constant * same, chance**n_queries * same, exact_constant * same, "exact")


def reserved_for_evaluation(contents: np.ndarray) -> np.ndarray:
    """Mark the contexts (1 in 64, by a hash of what they say) that training never shows: [n, K] -> bool [n]."""
    total = np.zeros(len(contents), dtype=np.uint64)
    for column in contents.astype(np.uint64).T:
        total = mixed(total + _ODD + column)
    reserved: np.ndarray = (total & np.uint64(63)) == 0
    return reserved


@functools.lru_cache(maxsize=4)
def _block(task_class: type[QuestionTask[Any]], config: QuestionConfig, split: Split, number: int, n_rows: int) -> Batch:
    """Draw and lay out the first examples of one block of 1024, in narrow integers: a batch is cut from it and widened."""
    task = task_class(config)

    def source(purpose: str) -> np.random.Philox:
        return stream(config.seed, task.name, task.version, split, purpose, number)

    contents = _contents(task_class, config.replace(depths=None, depth_weights=None), split, number, n_rows)
    depth = _depths(config, split, number, source("depths"), n_rows)
    return laid_out(task.ask(contents, depth, RowsOf(source("questions"), 0, n_rows, _BLOCK)), depth)


@functools.lru_cache(maxsize=4)
def _contents(task_class: type[QuestionTask[Any]], config: QuestionConfig, split: Split, number: int, n_rows: int) -> np.ndarray:
    """Draw the first contents of one block; kept, since whoever looks at one depth after the other draws the same ones."""
    task = task_class(config)
    return _held(task, split, stream(config.seed, task.name, task.version, split, "contents", number), n_rows)


def laid_out(asked: Asked, depth: np.ndarray) -> Batch:
    """Lay out examples whose questions have the given depths [G, A], in narrow integers."""
    n_rows, n_queries, query_len = asked.queries.shape
    context_len = asked.context.shape[1]
    tokens = np.concatenate([asked.context, asked.queries.reshape(n_rows, -1)], axis=1).astype(np.int16)
    targets = np.full_like(tokens, NOTHING_ASKED)
    targets[:, context_len + query_len - 1 :: query_len] = asked.answers
    segment = torch.full((tokens.shape[1],), CONTEXT, dtype=torch.int16)
    segment[context_len:] = QUERY
    answer_id = torch.full((tokens.shape[1],), -1, dtype=torch.int16)
    answer_id[context_len + query_len - 1 :: query_len] = torch.arange(n_queries, dtype=torch.int16)
    coords = {**asked.coords, "question": np.broadcast_to(np.arange(n_queries), depth.shape)}
    return Batch(
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(targets),
        segment=segment.expand(n_rows, -1),
        answer_id=answer_id.expand(n_rows, -1),
        coords={name: torch.from_numpy(value.astype(np.int16)) for name, value in {"depth": depth, **coords}.items()},
    )


def _held(task: QuestionTask[Any], split: Split, source: np.random.Philox, n_rows: int) -> np.ndarray:
    """Draw the first contents of one block: those a split may show, and about which every depth can be asked.

    Candidates come by the thousand; where few contents are wanted, a thousand is looked through part by part.
    """
    n_drawn, n_each = (_BLOCK + _BLOCK // 8, 2) if split == "train" else (_CANDIDATES, _CANDIDATES // _BLOCK * 16)
    part = min(n_drawn, n_each * n_rows)
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < n_rows:
        beginning = source.state
        for start in range(0, n_drawn, part):
            stop = min(start + part, n_drawn)
            source.state = beginning
            contents = task.contents(RowsOf(source, start, stop, n_drawn), stop - start)
            contents = contents[reserved_for_evaluation(contents) == (split != "train")]
            kept.append(contents[task.possible(contents)])
            if sum(map(len, kept)) >= n_rows:
                break
    return np.concatenate(kept)[:n_rows]


def _depths(config: QuestionConfig, split: Split, number: int, source: np.random.Philox, n_rows: int) -> np.ndarray:
    """Draw the depths of the first examples of one block [n_rows, A] by their weights.

    Evaluation deals them out in turn, spread over each example.
    """
    n_queries = config.n_queries
    if split == "train":
        chosen = weighted_choice(source.random_raw(n_rows * n_queries), config.weights)
        drawn: np.ndarray = np.asarray(config.all_depths)[chosen].reshape(n_rows, n_queries)
        return drawn
    depths = config.asked_depths
    spread = np.arange(n_queries) * len(depths) // n_queries
    dealt = depths[(number * _BLOCK + np.arange(n_rows)[:, None] + spread) % len(depths)]
    shuffled: np.ndarray = np.take_along_axis(dealt, orders(source, n_rows, n_queries), axis=1)
    return shuffled


def _verdict(words: list[str], said: int, truth: int) -> str:
    name = words[said] if 0 <= said < len(words) else str(said)
    return f", the model says {name} ({'right' if said == truth else 'wrong'})"
