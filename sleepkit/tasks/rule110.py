"""Rule 110 (Lee et al. 2026, sec. 3.2, 4, 6.1): at constant memory load, the step count alone sets the reasoning depth.

A few random binary strings are read and evicted, one window each; then the FIRST cell of each string after t steps of the
cellular automaton is asked. The strings live on a ring: with zero cells outside, the task degenerates.

    fixed depth:   x x ... x | x x ... x | ... | SEP y0 y1 y2   ->   y0 y1 y2 y3 in the last window
    mixed depth:   t x ... x | t x ... x | ... | SEP y0 y1 y2        the depth is a token at the head of its string
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sleepkit.errors import refuse, require, require_count
from sleepkit.seeds import stream, weighted_choice
from sleepkit.settings import Settings, settings
from sleepkit.tasks import automaton
from sleepkit.tasks.base import ANSWER, CONTEXT, NOTHING_ASKED, QUERY, Batch, Floor, Split, check_batch_request, cuts
from sleepkit.tasks.drawing import skip
from sleepkit.tasks.own_input import Reasoning
from sleepkit.tasks.rule110_input import help_text, history_steps, read_strings, written

_BLOCK = 4096
_SEPARATOR = 2
_FIRST_DEPTH_TOKEN = 3
_ENUMERATED_POOL_WIDTH = 24
_SAMPLED_STRINGS = 2**21
_POOL_PART = 2**20
_DRAWN = 2**20  # words at a time, 8 MB: a long example rejects 63 words for each it keeps


@settings
class Rule110Config(Settings):
    """Settings of the Rule 110 task.

    Attributes:
        width: cells of one string, 3 to 64.
        n_strings: strings in one example, 1 or more.
        rollout_depth: steps t of the automaton; a list makes the mixed-depth task, with a depth token for each entry.
        depth_weights: how often each depth of the list is drawn, any positive sum; uniform if None.
        strings_per_window: strings read before an eviction.
        seed: root of the random streams.
    """

    width: int = 24
    n_strings: int = 4
    rollout_depth: int | tuple[int, ...] = 8
    depth_weights: tuple[float, ...] | None = None
    strings_per_window: int = 1
    seed: int = 0

    def check(self) -> None:
        """Refuse impossible tasks."""
        require(3 <= self.width <= 64, "width", "must be between 3 and 64 cells", self.width)
        require(1 <= self.n_strings <= 1024, "n_strings", "must be between 1 and 1024", self.n_strings)
        require_count("strings_per_window", self.strings_per_window)
        whole = self.n_strings % self.strings_per_window == 0
        require(whole, "strings_per_window", f"must divide n_strings={self.n_strings}", self.strings_per_window)
        require(len(self.depths) > 0, "rollout_depth", "must name at least one depth", self.rollout_depth)
        ordered = list(self.depths) == sorted(set(self.depths))
        require(ordered, "rollout_depth", "must be distinct depths in rising order", self.rollout_depth)
        require(0 <= self.depths[0] <= self.depths[-1] <= 1024, "rollout_depth", "must lie in 0..1024", self.rollout_depth)
        require(0 <= self.seed < 2**63, "seed", "must be in [0, 2^63)", self.seed)
        weights = self.depth_weights
        if weights is not None:
            require(self.mixed, "depth_weights", "needs a list of depths in rollout_depth", weights)
            same = len(weights) == len(self.depths)
            require(same, "depth_weights", f"must have one weight for each of {len(self.depths)} depths", weights)
            require(min(weights) >= 0 and sum(weights) > 0, "depth_weights", "must be >= 0 with a positive sum", weights)

    @property
    def mixed(self) -> bool:
        """Whether depths vary from string to string and are shown as tokens."""
        return not isinstance(self.rollout_depth, int)

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths that can be asked, rising."""
        return (self.rollout_depth,) if isinstance(self.rollout_depth, int) else self.rollout_depth

    @property
    def string_len(self) -> int:
        """Tokens of one string, its depth token included."""
        return self.width + int(self.mixed)


class Rule110:
    """Rule 110 on a ring, fixed or mixed depth."""

    name = "rule110"
    version = 1
    depth_in_text = False

    def __init__(self, config: Rule110Config) -> None:
        self.config = config

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: the two cells, the separator, then one token per depth if mixed."""
        return ["0", "1", "[SEP]", *(f"t={depth}" for depth in self.config.depths if self.config.mixed)]

    @property
    def context_len(self) -> int:
        """Tokens before the separator."""
        return self.config.n_strings * self.config.string_len

    @property
    def seq_len(self) -> int:
        """T, tokens in one example."""
        return self.context_len + self.config.n_strings

    @property
    def window_len(self) -> int:
        """L, tokens of one window: whole strings, and never less than the label block."""
        return max(self.config.strings_per_window * self.config.string_len, self.config.n_strings)

    def batch(self, split: Split, index: int, size: int) -> Batch:
        """Return examples ``index * size`` up to ``(index + 1) * size`` of a split, the same in any order of access.

        Training never shows a string that evaluation may show, in any slot. In the evaluation splits of a mixed task every
        run of as many examples as there are depths asks each depth equally often.

        Raises:
            InvalidInputError: for an unknown split, a negative index or an empty size.
        """
        check_batch_request(split, index, size)
        start, stop = index * size, (index + 1) * size
        words: list[np.ndarray] = []
        choice: list[np.ndarray] = []
        for cut in cuts(_BLOCK, start, stop):
            for kept, drawn in zip((words, choice), _block(self.config, split, cut.number, cut.n_drawn), strict=True):
                kept.append(drawn[cut.start : cut.stop])
        return self._lay_out(np.concatenate(words), np.concatenate(choice))

    def solve(self, tokens: Tensor) -> Tensor:
        """Answer from the tokens alone, by table look-up: [B, T] -> [B, n_strings] token ids (0 or 1).

        Raises:
            InvalidInputError: if the tokens are not a context of this task.
        """
        config = self.config
        context = np.asarray(torch.as_tensor(tokens).cpu())[:, : self.context_len]
        require(
            context.shape[1] == self.context_len,
            "tokens",
            f"must hold {self.context_len} context tokens",
            context.shape,
        )
        strings = context.reshape(len(context), config.n_strings, config.string_len)
        cells = strings[..., int(config.mixed) :]
        require(bool(((cells == 0) | (cells == 1)).all()), "tokens", "must hold cells 0 and 1 in the context", cells.max())
        history = automaton.history_by_table(cells, config.depths[-1])[..., 0]
        if not config.mixed:
            return torch.from_numpy(history[config.depths[0]].astype(np.int64))
        choice = strings[..., 0] - _FIRST_DEPTH_TOKEN
        known = bool(((choice >= 0) & (choice < len(config.depths))).all())
        require(known, "tokens", "must start each string with a depth token", strings[..., 0].max())
        depth = np.asarray(config.depths)[choice]
        return torch.from_numpy(np.take_along_axis(history, depth[None], axis=0)[0].astype(np.int64))

    def floor(self, split: Split | None = None) -> Floor:
        """Return chance and the best constant answer per depth, over all strings or over those a split can show.

        Exact by enumeration up to 24 cells; sampled above that, over all strings, and ``source`` says so.
        """
        depths = [d for d, w in zip(self.config.depths, self._weights(), strict=True) if w > 0]
        shares, source = _shares(self.config.width, tuple(depths), split)
        constant = np.array([max(shares[depth], 1 - shares[depth]) for depth in depths])
        chance = np.full(len(depths), 0.5)
        n = self.config.n_strings
        return Floor(np.array(depths), chance, constant, chance**n, constant**n, source)

    def render(self, batch: Batch, row: int, predicted: Tensor | None = None) -> str:
        """Describe one example: each string with its automaton history, the window edges, true and predicted answers.

        Args:
            batch: examples of this task.
            row: which example.
            predicted: [B, n_strings] token ids a model answered, if there is one.

        Raises:
            InvalidInputError: if the row is not in the batch.
        """
        require(0 <= row < batch.size, "row", f"must be in [0, {batch.size})", row)
        config = self.config
        truth = self.solve(batch.tokens[row : row + 1])[0]
        lines = []
        for slot in range(config.n_strings):
            start = slot * config.string_len + int(config.mixed)
            depth = int(batch.coords["depth"][row, slot])
            cells = batch.tokens[row, start : start + config.width].numpy()
            lines.append(f"string {slot}, depth {depth}")
            history = automaton.history_by_table(cells, depth)
            lines += [f"  {step:>3} {''.join('.#'[cell] for cell in state)}" for step, state in enumerate(history)]
            answer = "" if predicted is None else _verdict(int(predicted[row, slot]), int(truth[slot]))
            lines.append(f"      ^ first cell: {int(truth[slot])}{answer}")
            if (slot + 1) % config.strings_per_window == 0:
                lines.append("-" * 12 + " window ends: evicted " + "-" * 12)
        return "\n".join(lines)

    def history(self, batch: Batch, row: int, slot: int) -> np.ndarray:
        """Return the true path of one string: [depth + 1, width] uint8."""
        start = slot * self.config.string_len + int(self.config.mixed)
        cells = batch.tokens[row, start : start + self.config.width].numpy()
        return automaton.history_by_table(cells, int(batch.coords["depth"][row, slot]))

    @property
    def known_depths(self) -> tuple[int, ...]:
        """The depths that can be asked, rising."""
        return self.config.depths

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        return help_text(width=self.config.width, n_strings=self.config.n_strings)

    def depth_options(self, depth: int) -> dict[str, Any]:
        """Return the weights that ask one depth: one-hot ones, which keep the vocabulary, and with it a model, as they are."""
        return {"depth_weights": [float(known == depth) for known in self.config.depths]} if self.config.mixed else {}

    def write(self, example: Batch) -> str:
        """Return an example (a batch of one) as strings of 0 and 1 with spaces between, behind their depths if those differ."""
        cells = [self.history(example, 0, slot)[0].tolist() for slot in range(self.config.n_strings)]
        return written(cells, example.coords["depth"][0].tolist())

    def read(self, text: str, depth: int | None) -> Batch:
        """Return the example that ``n_strings`` strings make.

        Raises:
            InvalidInputError: for a string that is none, a wrong length or number, a depth that is unknown or missing.
        """
        config = self.config
        only = None if config.mixed else config.depths[0]
        strings = read_strings(text, depth if only is None else only, n_strings=config.n_strings, width=config.width)
        strange = [named for _, named in strings if named not in config.depths]
        require(not strange, "text", f"depths must be among {', '.join(map(str, config.depths))}", strange)
        packed = [sum(cell << place for place, cell in enumerate(cells)) for cells, _ in strings]
        choice = [config.depths.index(named) for _, named in strings]
        return self._lay_out(np.array([packed], dtype=np.uint64), np.array([choice]))

    def reasoning(self, example: Batch) -> Reasoning:
        """Return the states of each ring from its string (read from the first cell on) to the one whose first cell is asked."""
        config = self.config
        starts = [slot * config.string_len + int(config.mixed) for slot in range(config.n_strings)]
        ways = [history_steps(self.history(example, 0, slot), start) for slot, start in enumerate(starts)]
        return Reasoning("automaton", ways, asked_cell=0)

    def _weights(self) -> np.ndarray:
        return _weights(self.config)

    def _lay_out(self, words: np.ndarray, choice: np.ndarray) -> Batch:
        config, size = self.config, len(words)
        n, mixed = config.n_strings, int(config.mixed)
        # In one piece: from 4 MB on numpy asks for large pages, and touching small ones first took half of the time of a batch.
        tokens, targets = np.empty((2, size, self.seq_len), dtype=np.int64)
        strings = tokens[:, : self.context_len].reshape(size, n, config.string_len)
        octets = np.ascontiguousarray(words).astype("<u8").view(np.uint8).reshape(size, n, 8)
        strings[..., mixed:] = np.unpackbits(octets, axis=-1, bitorder="little", count=config.width)
        if mixed:
            strings[..., 0] = choice + _FIRST_DEPTH_TOKEN
        labels = _labels(words, choice, config.width, config.depths).astype(np.int64)
        tokens[:, self.context_len] = _SEPARATOR
        tokens[:, self.context_len + 1 :] = labels[:, :-1]
        targets.fill(NOTHING_ASKED)
        targets[:, self.context_len :] = labels
        segment = torch.full((self.seq_len,), CONTEXT)
        segment[self.context_len] = QUERY
        segment[self.context_len + 1 :] = ANSWER
        answer_id = torch.full((self.seq_len,), -1)
        answer_id[self.context_len :] = torch.arange(n)
        return Batch(
            tokens=torch.from_numpy(tokens),
            targets=torch.from_numpy(targets),
            segment=segment.expand(size, -1),
            answer_id=answer_id.expand(size, -1),
            coords={
                "depth": torch.from_numpy(np.asarray(config.depths)[choice]),
                "slot": torch.arange(n).expand(size, -1),
            },
        )


def _weights(config: Rule110Config) -> np.ndarray:
    return np.asarray(config.depth_weights or np.ones(len(config.depths)), dtype=np.float64)


@functools.lru_cache(maxsize=4)
def _block(config: Rule110Config, split: Split, number: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the strings [n_rows, n_strings] (packed) and depth choices of the first examples of one block of 4096."""
    words = _strings(config.replace(rollout_depth=0, depth_weights=None), split, number, n_rows)
    choice = np.zeros((n_rows, config.n_strings), dtype=np.int64)
    if config.mixed:
        draw = _drawn_depths if split == "train" else _balanced_depths
        choice = draw(config, split, number, n_rows)
    return words, choice


@functools.lru_cache(maxsize=4)
def _strings(config: Rule110Config, split: Split, number: int, n_rows: int) -> np.ndarray:
    """Draw the first strings of one block; kept, since whoever looks at one depth after the other draws the same ones."""
    n_words = n_rows * config.n_strings
    words = _draw_strings(_stream(config, split, "strings", number), split, config.width, n_words)
    return words.reshape(n_rows, config.n_strings)


def _stream(config: Rule110Config, split: Split, purpose: str, block: int) -> np.random.Philox:
    return stream(config.seed, Rule110.name, Rule110.version, split, purpose, block)


def _drawn_depths(config: Rule110Config, split: Split, number: int, n_rows: int) -> np.ndarray:
    """Draw the depths (as positions in the list) of the first training examples of one block by their weights."""
    raw = _stream(config, split, "depths", number).random_raw(n_rows * config.n_strings)
    return weighted_choice(raw, _weights(config)).reshape(n_rows, config.n_strings)


def _balanced_depths(config: Rule110Config, split: Split, number: int, n_rows: int) -> np.ndarray:
    """Draw the depths of the first evaluation examples of one block: each equally often in every run of as many examples."""
    asked = np.flatnonzero(_weights(config))
    n_depths = len(asked)

    def runs_from(block: int, first: int, n_runs: int) -> np.ndarray:
        """Depths of some runs that begin in a block, from its run ``first`` on."""
        source = _stream(config, split, "depths", block)
        skip(source, first * n_depths * config.n_strings)
        raw = source.random_raw(n_runs * n_depths * config.n_strings)
        order = np.argsort(raw.reshape(n_runs, n_depths * config.n_strings), axis=1, kind="stable") % n_depths
        return asked[order].reshape(-1, config.n_strings)

    begun_before = -number * _BLOCK % n_depths  # examples of a run that begins in the block before and ends in this one
    later = runs_from(number, 0, max(0, -(-(n_rows - begun_before) // n_depths)))
    if not begun_before:
        return later[:n_rows]
    begun_there = -(-number * _BLOCK // n_depths) + (-(number - 1) * _BLOCK // n_depths)
    return np.concatenate([runs_from(number - 1, begun_there - 1, 1)[-begun_before:], later])[:n_rows]


def _verdict(answer: int, truth: int) -> str:
    return f", the model says {answer} ({'right' if answer == truth else 'wrong'})"


def _labels(words: np.ndarray, choice: np.ndarray, width: int, depths: tuple[int, ...]) -> np.ndarray:
    """First cell of each ring after its own number of steps."""
    labels = np.zeros(words.shape, dtype=np.uint64)
    for position, (line, low) in enumerate(automaton.lines(words, width, depths)):
        labels = np.where(choice == position, line >> low, labels)
    return labels & np.uint64(1)


def _draw_strings(source: np.random.Philox, split: Split, width: int, n: int) -> np.ndarray:
    """Draw n packed strings uniformly from those the split may show, by rejection from one stream of raw words."""
    kept, n_kept = [], 0
    share = 63 / 64 if split == "train" else 1 / 64
    while n_kept < n:
        words = source.random_raw(min(int((n - n_kept) / share * 1.02) + 256, _DRAWN)) & np.uint64(2**width - 1)
        words = words[automaton.reserved_for_evaluation(words) == (split != "train")]
        kept.append(words)
        n_kept += len(words)
        if not n_kept:
            _pool(width, split)  # refuses if there is nothing to find
    return np.concatenate(kept)[:n]


def _pool(width: int, split: Split) -> np.ndarray:
    """All strings a split can show, rising."""
    parts = []
    for start in range(0, 2**width, _POOL_PART):
        words = np.arange(start, min(start + _POOL_PART, 2**width), dtype=np.uint64)
        parts.append(words[automaton.reserved_for_evaluation(words) == (split != "train")])
    pool = np.concatenate(parts)
    if not len(pool):
        refuse("width", f"leaves no string for the {split} split", width)
    return pool


@functools.lru_cache(maxsize=64)
def _shares(width: int, depths: tuple[int, ...], split: Split | None) -> tuple[dict[int, float], str]:
    """P(first cell = 1) by depth and how it was obtained."""
    if split is not None and width <= _ENUMERATED_POOL_WIDTH:
        words, source = _pool(width, split), "enumerated"
    elif split is None and min(width, 2 * depths[-1] + 1) <= automaton.ENUMERABLE_WIDTH:
        return automaton.share_of_ones(width, list(depths)), "enumerated"
    else:
        words = stream(0, "rule110 floor", width).random_raw(_SAMPLED_STRINGS) & np.uint64(2**width - 1)
        source = "sampled"
    reached = zip(depths, automaton.lines(words, width, depths), strict=True)
    return {depth: float((line >> low & np.uint64(1)).mean()) for depth, (line, low) in reached}, source
