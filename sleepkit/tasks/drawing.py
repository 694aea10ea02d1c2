"""Draws from raw 64-bit words, many at a time, the same on every platform."""

import math

import numpy as np

_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def below(source: np.random.Philox, shape: tuple[int, ...], limit: np.ndarray | int) -> np.ndarray:
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


def orders(source: np.random.Philox, n_rows: int, n: int) -> np.ndarray:
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
