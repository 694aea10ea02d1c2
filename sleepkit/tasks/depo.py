"""Depo (Allen-Zhu, Physics of Language Models 4.1; Lee et al. 2026, sec. 6.2): k hops along a cycle read edge by edge.

A directed cycle of named nodes is printed edge by edge in random order and evicted; then the names k hops after some nodes are
asked. At the size of the paper, 75 edges of 4 tokens fill four windows of 75 and 10 questions of 6 tokens follow:

    tokens    [PAD] ... f l f' l' ... | Qk f l     [ANS] f' l' Qk ...
    targets                           |      [ANS] f'    l'              [ANS] only if ``ask_mark``

* Loss is put on [ANS] too. It belongs to no answer (answer_id -1), so accuracy counts the name alone, and the whole name.
  ``ask_mark=False`` asks the names alone: the loss is then not diluted by a token that always follows a question.
* There is no separator: a question starts with its own token Qk, and everything from the first one on is one window.
* Cycles shorter than the longest are padded on the left; one of fewer nodes than there are questions is asked fewer, and the rest
  of the block is padding. Evaluation asks about full cycles only, each k of a grid equally often.
* k is not depth: k hops along n nodes end at k mod n, and min(e, n - e) steps reach it where edges can be walked backwards.
* Splits live in the key of the random streams. Where there are at most 2^64 full cycles, 1 in 64 of them, by a hash of the edges,
  is kept for evaluation too. Above that the key suffices: two streams do not meet (the paper's size has 10^250 cycles).

Axes: B example, T position, A answer.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sleepkit.errors import require
from sleepkit.tasks.base import (
    ANSWER,
    CONTEXT,
    NOTHING_ASKED,
    PAD,
    QUERY,
    Batch,
    Floor,
    Split,
    check_batch_request,
    cut_from_blocks,
)
from sleepkit.tasks.depo_config import DepoConfig
from sleepkit.tasks.depo_floor import depo_floor
from sleepkit.tasks.depo_graphs import BLOCK, Graphs, draw, followers
from sleepkit.tasks.depo_input import help_text, read_example, ways, written
from sleepkit.tasks.depo_oracle import Reader
from sleepkit.tasks.depo_text import describe
from sleepkit.tasks.own_input import Reasoning

_PAD_TOKEN = 0


class Depo:
    """Hops along a cycle that is spread over the evicted context."""

    name = "depo"
    version = 1
    depth_in_text = False

    def __init__(self, config: DepoConfig) -> None:
        self.config = config

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: padding, first parts, last parts, Q1 .. QK, the mark; one list of names if single."""
        config, n = self.config, self.config.n_symbols
        if config.names == "single":
            parts = [chr(ord("a") + i) for i in range(n)] if n <= 26 else [f"n{i}" for i in range(n)]
        else:
            parts = [f"a{i}" for i in range(n)] + [f"b{i}" for i in range(n)]
        return ["[PAD]", *parts, *(f"Q{k}" for k in range(1, config.n_hops + 1)), "[ANS]"]

    @property
    def context_len(self) -> int:
        """Tokens before the first question, padding included."""
        return self.config.context_len

    @property
    def seq_len(self) -> int:
        """T, tokens in one example, padding included."""
        return self.config.context_len + self.config.question_len

    @property
    def window_len(self) -> int:
        """L, tokens of one window."""
        return self.config.window_len

    def batch(self, split: Split, index: int, size: int) -> Batch:
        """Return examples ``index * size`` up to ``(index + 1) * size`` of a split, the same in any order of access.

        Coordinates [B, A] of an answer: ``depth`` is k, ``wrapped`` e = k mod n, ``shortest`` min(e, n - e), ``n_nodes`` n; all 0
        where a small cycle is asked fewer questions.

        Raises:
            InvalidInputError: for an unknown split, a negative index or an empty size.
        """
        check_batch_request(split, index, size)
        return cut_from_blocks(functools.partial(_block, self.config, split), BLOCK, index * size, (index + 1) * size)

    def solve(self, tokens: Tensor) -> Tensor:
        """Answer from the tokens alone, by walking the graph: [B, T] -> token ids [B, A], or [B, A, 2] for names of two tokens.

        -100 stands where an example asks fewer questions, and after a name of one token.

        Raises:
            InvalidInputError: if the tokens are no examples of this task.
        """
        config = self.config
        rows = torch.as_tensor(tokens)
        require(rows.ndim == 2, "tokens", "must have the axes [B, T]", tuple(rows.shape))
        reader = Reader(n_symbols=config.n_symbols, n_hops=config.n_hops, one_token=config.names == "single")
        answers = torch.full((len(rows), config.n_queries, config.name_len), NOTHING_ASKED)
        for row, found in enumerate(map(reader.answers, rows.tolist())):
            require(len(found) <= config.n_queries, "tokens", f"must ask at most {config.n_queries} questions", len(found))
            for number, name in enumerate(found):
                answers[row, number, : len(name)] = torch.tensor(name)
        return answers[..., 0] if config.name_len == 1 else answers

    def floor(self, split: Split | None = None) -> Floor:
        """Return chance and the best constant answer per number of hops, exactly, over all cycles.

        Chance is a uniform guess among the names of the cycle (1.3 % at 75 nodes). The constant is the better of two answers that
        need no memory: always the same name, and always the name asked about (right where k is a multiple of n). "All answers at
        once" is for examples that ask this k alone. Evaluation splits have full cycles; "train" follows the law of n; None is
        every k that any split asks, on full cycles.
        """
        return depo_floor(self.config, split)

    def render(self, batch: Batch, row: int, predicted: Tensor | None = None) -> str:
        """Describe one example: the cycle, the tokens window by window, each question with its path and answers.

        Args:
            batch: examples of this task.
            row: which example.
            predicted: what a model answered, shaped like ``solve``'s answers, if there is one.

        Raises:
            InvalidInputError: if the row is not in the batch.
        """
        require(0 <= row < batch.size, "row", f"must be in [0, {batch.size})", row)
        answers = None if predicted is None else predicted[row].reshape(self.config.n_queries, -1)
        return describe(self.config, self.vocab, batch.rows(row, row + 1), answers)

    @property
    def known_depths(self) -> tuple[int, ...]:
        """The numbers of hops that can be asked, rising."""
        return tuple(range(1, self.config.n_hops + 1))

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        return help_text(self.config, self.vocab)

    def depth_options(self, depth: int) -> dict[str, Any]:
        """Return the settings under which every question takes one number of hops."""
        return {"train_hops": (depth,), "hop_weights": None, "test_hops": (depth,)}

    def write(self, example: Batch) -> str:
        """Return an example (a batch of one) as text: the edges in their order, a question mark, the names asked about."""
        return written(self.config, self.vocab, example)

    def read(self, text: str, depth: int | None) -> Batch:
        """Return the example that a cycle and the names to start from make.

        Raises:
            InvalidInputError: for an unknown name, a cycle that is none, too many questions, a missing depth.
        """
        return _laid_out(self.config, *read_example(self.config, self.vocab, _spelled(self.config), text, depth))

    def reasoning(self, example: Batch) -> Reasoning:
        """Return the name after each hop, with the edge that leads there."""
        return Reasoning("walk", ways(self.config, self.vocab, example))


@functools.lru_cache(maxsize=4)
def _block(config: DepoConfig, split: Split, number: int, n_rows: int) -> Batch:
    """Draw and lay out the first examples of one block: a batch is cut from it and widened."""
    graphs = draw(config, (Depo.name, Depo.version), split, number, n_rows)
    return _laid_out(config, graphs, np.arange(config.n_queries) < graphs.n_nodes[:, None])


def _laid_out(config: DepoConfig, graphs: Graphs, asked: np.ndarray) -> Batch:
    """Lay out examples in the narrowest integers; ``asked`` [G, A] marks the questions that there are, the first ones."""
    context, (pairs, pair_targets) = _edges(config, graphs), _pairs(config, graphs, asked)
    if config.names == "1-2":
        context, pairs, pair_targets, owners, kinds = _packed(config, context, pairs, pair_targets)
    else:
        context, owners, kinds = _in_place(config, context), _owners(config, pair_targets), _kinds(config, pairs)
    size = len(context)
    flat = [array.reshape(size, -1) for array in (pairs, pair_targets, owners, kinds)]
    nothing, none = np.full_like(context, NOTHING_ASKED), np.full_like(context, -1)
    segment = np.where(context == _PAD_TOKEN, np.int16(PAD), np.int16(CONTEXT))
    left = (context, nothing, none, segment)
    tokens, targets, answer_id, segment = (np.concatenate(both, axis=1) for both in zip(left, flat, strict=True))
    return Batch(
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(targets),
        segment=torch.from_numpy(segment),
        answer_id=torch.from_numpy(answer_id),
        coords=_coords(graphs, asked),
    )


def _coords(graphs: Graphs, asked: np.ndarray) -> dict[str, Tensor]:
    n_nodes = graphs.n_nodes[:, None]
    wrapped = graphs.hops % n_nodes
    coords = {
        "depth": graphs.hops,
        "wrapped": wrapped,
        "shortest": np.minimum(wrapped, n_nodes - wrapped),
        "n_nodes": np.broadcast_to(n_nodes, asked.shape),
    }
    return {name: torch.from_numpy(np.where(asked, value, 0).astype(np.int16)) for name, value in coords.items()}


@functools.lru_cache(maxsize=8)
def _spelled(config: DepoConfig) -> np.ndarray:
    """Tokens of every name: int16 [n_names, name_len], padding before a name of one token."""
    symbol = np.arange(config.n_symbols, dtype=np.int16)
    if config.names == "single":
        return 1 + symbol[:, None]
    last = 1 + config.n_symbols + symbol
    double = np.stack([np.repeat(1 + symbol, config.n_symbols), np.tile(last, config.n_symbols)], axis=1)
    single = np.stack([np.zeros_like(last), last], axis=1)[: config.n_single]
    return np.concatenate([single, double])


def _edges(config: DepoConfig, graphs: Graphs) -> np.ndarray:
    """Tokens of the edges in the order of the context, padding where the cycle has none: int16 [G, n_max, edge_len]."""
    spelled = _spelled(config)
    words = spelled.view(f"<u{2 * config.name_len}")[:, 0]  # all tokens of a name as one integer, moved at once
    place = graphs.order + np.arange(len(graphs.order))[:, None] * config.n_nodes
    ends = (graphs.names, followers(graphs.names, graphs.n_nodes))
    edges = np.stack([words[end.ravel()[place]] for end in ends], axis=-1)
    edges[graphs.order >= graphs.n_nodes[:, None]] = _PAD_TOKEN
    return edges.view(np.int16)


def _pairs(config: DepoConfig, graphs: Graphs, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and targets of the questions with their answers: int16 [G, A, pair_len]; padding and -100 where nothing stands."""
    spelled, width = _spelled(config), config.name_len
    ends = (graphs.starts + graphs.hops) % graphs.n_nodes[:, None]
    answers = spelled[np.take_along_axis(graphs.names, ends, axis=1)]
    pairs = np.empty((*ends.shape, config.pair_len), dtype=np.int16)
    pairs[..., 0] = config.first_hop_token - 1 + graphs.hops
    pairs[..., 1 : 1 + width] = spelled[np.take_along_axis(graphs.names, graphs.starts, axis=1)]
    pairs[..., 1 + width] = config.mark_token
    pairs[..., 2 + width :] = answers
    targets = np.full_like(pairs, NOTHING_ASKED)
    if config.ask_mark:
        targets[..., width] = config.mark_token
    targets[..., 1 + width] = answers[..., 0]
    if width == 2:
        short = answers[..., 0] == _PAD_TOKEN
        targets[..., 3] = np.where(short, answers[..., 1], answers[..., 0])
        targets[..., 4] = np.where(short, NOTHING_ASKED, answers[..., 1])
    pairs[~asked], targets[~asked] = _PAD_TOKEN, NOTHING_ASKED
    return pairs, targets


def _owners(config: DepoConfig, pair_targets: np.ndarray) -> np.ndarray:
    """Return the answer that each target belongs to, the mark to none: int16 [G, A, pair_len]."""
    of_name = (pair_targets != NOTHING_ASKED) & (np.arange(config.pair_len) > config.name_len)
    return np.where(of_name, np.arange(config.n_queries, dtype=np.int16)[:, None], np.int16(-1))


def _kinds(config: DepoConfig, pairs: np.ndarray) -> np.ndarray:
    """Segments of the questions: int16 [G, A, pair_len]."""
    kinds = np.where(np.arange(config.pair_len) < 2 + config.name_len, QUERY, ANSWER).astype(np.int16)
    return np.where(pairs == _PAD_TOKEN, np.int16(PAD), kinds)


def _in_place(config: DepoConfig, edges: np.ndarray) -> np.ndarray:
    """Put edges of one length into their slots: [G, context_len]."""
    if not config.align_edges:
        return edges.reshape(len(edges), -1)
    context = np.full((len(edges), config.context_len), _PAD_TOKEN, dtype=np.int16)
    context[:, (config.edge_starts[:, None] + np.arange(config.edge_len)).ravel()] = edges.reshape(len(edges), -1)
    return context


def _packed(config: DepoConfig, edges: np.ndarray, pairs: np.ndarray, pair_targets: np.ndarray) -> tuple[np.ndarray, ...]:
    """Close the gaps of names of one token: edges end, and questions begin, at the edge of the context.

    Returns the context [G, context_len], then tokens, targets, owners and kinds of the questions [G, question_len].
    """
    size = len(edges)
    flat = edges.reshape(size, -1)
    real = flat != _PAD_TOKEN
    context = np.full_like(flat, _PAD_TOKEN)
    context[np.arange(flat.shape[1]) >= flat.shape[1] - real.sum(axis=1)[:, None]] = flat[real]
    real = (pairs != _PAD_TOKEN).reshape(size, -1)
    place = np.arange(real.shape[1]) < real.sum(axis=1)[:, None]
    packed = []
    parts = (pairs, pair_targets, _owners(config, pair_targets), _kinds(config, pairs))
    for part, empty in zip(parts, (_PAD_TOKEN, NOTHING_ASKED, -1, PAD), strict=True):
        closed = np.full(real.shape, empty, dtype=np.int16)
        closed[place] = part.reshape(size, -1)[real]
        packed.append(closed)
    return context, *packed
