"""Draws from raw 64-bit words, many at a time, the same on every platform."""

import math
from typing import Any, Protocol

import numpy as np

from sleepkit.errors import require

_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORDS_A_STEP = 4  # Philox makes four words for each step of its counter


class Words(Protocol):
    """Where raw 64-bit words come from: a Philox, or some rows of what one would give."""

    def random_raw(self, size: int) -> Any:
        """Return the next words, uint64 [size]."""
        ...


class RowsOf:
    """The words of some rows alone, out of draws of many rows each; those of the other rows are skipped, which costs nothing.

    Whoever draws n rows from a stream gets, with this in the stream's place, rows ``start`` to ``stop`` of the same n rows.

    Args:
        source: the stream, which stands behind all n rows after each draw.
        start: the first row wanted.
        stop: the row after the last one wanted.
        n_rows: rows that whole draws have.
    """

    def __init__(self, source: np.random.Philox, start: int, stop: int, n_rows: int) -> None:
        self._source, self._start, self._stop, self._n_rows = source, start, stop, n_rows

    def random_raw(self, size: int) -> Any:
        """Return the words of the rows wanted, uint64 [size], which is a whole number of words for each of them."""
        n_taken = self._stop - self._start
        row_len, rest = divmod(size, n_taken)
        require(not rest, "random_raw", f"must draw as many words for each of {n_taken} rows", size)
        skip(self._source, self._start * row_len)
        words = self._source.random_raw(size)
        skip(self._source, (self._n_rows - self._stop) * row_len)
        return words


def first_words(source: np.random.Philox, n_words: int, n_drawn: int) -> np.ndarray:
    """Return the first of ``n_drawn`` words, uint64 [n_words], and skip the others."""
    words: np.ndarray = source.random_raw(n_words)
    skip(source, n_drawn - n_words)
    return words


def skip(source: np.random.Philox, n_words: int) -> None:
    """Go on as if so many words had been drawn.

    The counter jumps by steps of four words; what is left of the step it stands in, and of the one it ends in, is drawn.
    """
    left = (_WORDS_A_STEP - source.state["buffer_pos"]) % _WORDS_A_STEP
    first = min(left, n_words)
    source.random_raw(first)
    steps, last = divmod(n_words - first, _WORDS_A_STEP)
    if steps:
        source.advance(steps)
    source.random_raw(last)


def below(source: Words, shape: tuple[int, ...], limit: np.ndarray | int) -> np.ndarray:
    """Draw integers in [0, limit), one raw word each: int64 of the given shape.

    Takes floor(h limit / 2^32) for the upper half h of a word, uniform within limit / 2^32.

    Args:
        source: where the words come from.
        shape: of what is drawn.
        limit: 1 to 2^32, one for all or an array that broadcasts to the shape.
    """
    words = source.random_raw(math.prod(shape)).reshape(shape) >> np.uint64(32)
    drawn: np.ndarray = ((words * np.asarray(limit, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
    return drawn


def orders(source: Words, n_rows: int, n: int) -> np.ndarray:
    """Draw a random order of 0 .. n - 1 for each row: int64 [n_rows, n]."""
    return shuffled_slots(source.random_raw(n_rows * n).reshape(n_rows, n), np.full(n_rows, n))


def shuffled_slots(words: np.ndarray, n_nodes: np.ndarray) -> np.ndarray:
    """Put the nodes of each graph in random order, behind the nodes it does not have: uint64 [G, n_max] -> int64 [G, n_max].

    Sorts random words whose lowest bits hold the node.
    """
    n_max = words.shape[1]
    node = np.arange(n_max, dtype=np.uint64)
    low = np.uint64(2 ** (n_max - 1).bit_length() - 1)
    present = np.arange(n_max) < np.asarray(n_nodes)[:, None]
    keys = np.where(present, (words | (low + np.uint64(1))) & ~low, np.uint64(0)) | node
    keys.sort(axis=1)
    return (keys & low).astype(np.int64)


def mixed(words: np.ndarray) -> np.ndarray:
    """Scramble words one to one, every output bit depending on every input bit: uint64 [...] -> uint64 [...]."""
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    scrambled: np.ndarray = words ^ (words >> np.uint64(31))
    return scrambled
