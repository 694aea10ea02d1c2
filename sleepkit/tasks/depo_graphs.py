"""The graphs and questions of Depo, drawn block by block from counter-based random words.

Axes: G graph (one example each), A question, M name that could be used. Names are numbers here; tokens come later.
"""

import dataclasses
import functools

import numpy as np

from sleepkit.seeds import stream, unit_floats, weighted_choice
from sleepkit.tasks.base import Split
from sleepkit.tasks.depo_config import DepoConfig
from sleepkit.tasks.drawing import first_words, mixed, shuffled_slots

BLOCK = 2048
_TABLE_ENTRIES = 2**21
_CANDIDATES = 8192
_ODD_1, _ODD_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


@dataclasses.dataclass(frozen=True)
class Graphs:
    """Directed cycles and what is asked about them.

    Attributes:
        n_nodes: [G] nodes n of each cycle.
        names: [G, n_max] name of each node; node i leads to node (i + 1) mod n. Entries from n on mean nothing.
        order: [G, n_max] node whose outgoing edge stands in each slot of the context; the first n_max - n slots name
            nodes that the cycle does not have: they are padding.
        starts: [G, A] node each question starts from, distinct; only the first min(A, n) questions are asked.
        hops: [G, A] steps k each question takes.
    """

    n_nodes: np.ndarray
    names: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    hops: np.ndarray


def draw(config: DepoConfig, path: tuple[str | int, ...], split: Split, number: int, n_rows: int) -> Graphs:
    """Draw the first graphs of one block of a split; ``path`` names the task in the random streams."""

    def source(purpose: str) -> np.random.Philox:
        return stream(config.seed, *path, split, purpose, number)

    n_max, n_queries = config.n_nodes, config.n_queries
    if split == "train":
        # A name drawn again takes words behind those of the whole block.
        n_named = BLOCK if config.split_by_content else n_rows
        n_nodes = weighted_choice(source("nodes").random_raw(n_named), config.node_weights)
        hops = weighted_choice(source("hops").random_raw(n_rows * n_queries), config.hops_law).reshape(n_rows, n_queries)
        names = _training_names(config, source("names"), n_nodes)[:n_rows]
        n_nodes = n_nodes[:n_rows]
    else:
        n_nodes = np.full(n_rows, n_max)
        hops = _balanced_hops(config, source("hops"), number, n_rows)
        any_hops = config.replace(train_hops=None, hop_weights=None, test_hops=None)
        n_named = BLOCK if config.split_by_content else n_rows
        names = _evaluation_names(any_hops, (*path, split, "names", number), n_named)[:n_rows]
    order = shuffled_slots(source("edges").random_raw(n_rows * n_max).reshape(n_rows, n_max), n_nodes)
    words = _halves(source("starts"), n_rows, n_queries)
    starts = partial_shuffle(words, n_nodes)
    return Graphs(n_nodes, names, order, starts, hops)


def _balanced_hops(config: DepoConfig, source: np.random.Philox, number: int, n_rows: int) -> np.ndarray:
    """Deal the grid out in turn over questions, then shuffle within each example: [n_rows, A].

    Every example asks each entry equally often if that is possible, or else once more or once less.
    """
    n_queries, grid = config.n_queries, np.asarray(config.grid)
    position = number * BLOCK * n_queries + np.arange(n_rows * n_queries).reshape(n_rows, n_queries)
    turn = partial_shuffle(_halves(source, n_rows, n_queries), n_queries)
    hops: np.ndarray = np.take_along_axis(grid[position % len(grid)], turn, axis=1)
    return hops


def _training_names(config: DepoConfig, source: np.random.Philox, n_nodes: np.ndarray) -> np.ndarray:
    """Draw names [G, n_max]; a cycle kept for evaluation is drawn again, for which G must be the whole block."""
    names = _draw_names(config, source, n_nodes, BLOCK)
    again = np.flatnonzero(reserved_for_evaluation(names, n_nodes)) if config.split_by_content else np.empty(0, dtype=int)
    while len(again):
        names[again] = _draw_names(config, source, n_nodes[again], len(again))
        again = again[reserved_for_evaluation(names[again], n_nodes[again])]
    return names


@functools.lru_cache(maxsize=4)
def _evaluation_names(config: DepoConfig, path: tuple[str | int, ...], n_rows: int) -> np.ndarray:
    """Draw the first names [n_rows, n_max] of a block of full cycles: of those kept for evaluation, where the space is small.

    They are kept, since whoever looks at one number of hops after the other draws the same ones.
    """
    source = stream(config.seed, *path)
    if not config.split_by_content:
        return _draw_names(config, source, np.full(n_rows, config.n_nodes), BLOCK)
    kept, n_kept = [], 0
    full = np.full(_CANDIDATES, config.n_nodes)
    while n_kept < n_rows:
        candidates = _draw_names(config, source, full, _CANDIDATES)
        kept.append(candidates[reserved_for_evaluation(candidates, full)])
        n_kept += len(kept[-1])
    return np.concatenate(kept)[:n_rows]


def _draw_names(config: DepoConfig, source: np.random.Philox, n_nodes: np.ndarray, n_drawn: int) -> np.ndarray:
    """Draw distinct names for every node of the first graphs, [G, n_max], out of a draw of ``n_drawn`` graphs.

    One kind of name: uniform without repetition. Two kinds: the law of drawing a length, then its tokens, until the name is
    new, put in random order along the cycle. Names of one token come first: 0 .. n_single - 1.
    """
    n_graphs, n_max = len(n_nodes), config.n_nodes
    if not (config.n_single and config.n_double):
        return partial_shuffle(_halves(source, n_graphs, n_max, n_drawn), config.n_names)
    singles = partial_shuffle(_halves(source, n_graphs, min(n_max, config.n_single), n_drawn), config.n_single)
    doubles = config.n_single + partial_shuffle(_halves(source, n_graphs, min(n_max, config.n_double), n_drawn), config.n_double)
    coins = unit_floats(first_words(source, n_graphs * n_max, n_drawn * n_max)).reshape(n_graphs, n_max)
    used = np.zeros(n_graphs, dtype=np.int64)
    rows, names = np.arange(n_graphs), np.empty((n_graphs, n_max), dtype=np.int32)
    for drawn in range(n_max):
        left_single = 1 - used / config.n_single
        left_double = 1 - (drawn - used) / config.n_double
        short = coins[:, drawn] * (left_single + left_double) < left_single
        single = singles[rows, np.minimum(used, singles.shape[1] - 1)]
        double = doubles[rows, np.minimum(drawn - used, doubles.shape[1] - 1)]
        names[:, drawn] = np.where(short, single, double)
        used += short
    turn = shuffled_slots(first_words(source, n_graphs * n_max, n_drawn * n_max).reshape(n_graphs, n_max), n_nodes)
    return np.take_along_axis(names, turn[:, ::-1], axis=1)  # absent nodes stand first in shuffled slots, last here


def _halves(source: np.random.Philox, n_rows: int, n_columns: int, n_drawn: int | None = None) -> np.ndarray:
    """Draw 32-bit words, two from each raw word, uint64 [n_rows, n_columns]; the first rows of a draw of ``n_drawn`` rows."""
    n_words = n_rows * n_columns
    n_raw = -(-n_words // 2)
    raw = first_words(source, n_raw, n_raw if n_drawn is None else -(-n_drawn * n_columns // 2)).astype("<u8").view("<u4")
    return raw[:n_words].reshape(n_rows, n_columns).astype(np.uint64)


def partial_shuffle(words: np.ndarray, size: np.ndarray | int) -> np.ndarray:
    """Draw from 0 .. size - 1 without repetition, one number for each 32-bit word: uint64 [G, P] -> int32 [G, P].

    The first P steps of a Fisher-Yates shuffle, all rows at once; a number below b is floor(word b / 2^32), uniform within
    b / 2^32. Where a row has more words than numbers, the rest of its row means nothing.

    Args:
        words: 32-bit random words.
        size: numbers to draw from, one for all rows or one for each [G].
    """
    n_rows, n_picks = words.shape
    step = np.arange(n_picks)
    left = np.maximum(np.broadcast_to(np.asarray(size), n_rows)[:, None] - step, 1).astype(np.uint64)
    chosen = ((words * left) >> np.uint64(32)).astype(np.int64) + step
    picked = np.empty((n_picks, n_rows), dtype=np.int32)
    wide = max(int(np.max(size)), n_picks)
    part = max(1, _TABLE_ENTRIES // wide)
    for first in range(0, n_rows, part):
        n = min(part, n_rows - first)
        table = np.tile(np.arange(wide, dtype=np.int32), n)
        base = np.arange(n) * wide
        places = np.ascontiguousarray(chosen[first : first + n].T) + base
        for number, place in enumerate(places):
            picked[number, first : first + n] = table[place]
            table[place] = table[base + number]
    return picked.T


def followers(names: np.ndarray, n_nodes: np.ndarray) -> np.ndarray:
    """Return the name each node leads to: [G, n_max] -> [G, n_max]."""
    following = np.roll(names, -1, axis=1)
    following[np.arange(len(names)), n_nodes - 1] = names[:, 0]
    return following


def reserved_for_evaluation(names: np.ndarray, n_nodes: np.ndarray) -> np.ndarray:
    """Mark the cycles (1 in 64, by a hash of their set of edges) that training never shows: [G, n_max] -> bool [G].

    The hash sums over edges, so neither the node a cycle is written from nor the order of its edges matters.
    """
    edges = mixed(names.astype(np.uint64) * _ODD_1 + followers(names, n_nodes).astype(np.uint64) * _ODD_2)
    total = np.where(np.arange(names.shape[1]) < n_nodes[:, None], edges, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    reserved: np.ndarray = (mixed(total) & np.uint64(63)) == 0
    return reserved
