"""Named random streams: randomness is a pure function of a root seed and a path of names.

Seeds are never added to: ``seed + i`` streams collide. A stream's key is a hash of its whole path, and the
bits come from Philox, a counter-based generator whose raw output is stable across NumPy versions.
"""

import hashlib

import numpy as np

from sleepkit.errors import require

MAX_SEED = 2**63 - 1
_FEW_EDGES = 16


def stream_key(root: int, *path: str | int) -> int:
    """Return the 128-bit key of the stream named by ``path`` under the root seed.

    Args:
        root: root seed in [0, 2^63).
        path: names and indices, hashed with their types and lengths so that no two paths run together.

    Raises:
        InvalidInputError: if the root seed is out of range.
    """
    valid = isinstance(root, int) and not isinstance(root, bool) and 0 <= root <= MAX_SEED
    require(valid, "seed", "must be an integer in [0, 2^63)", root)
    hasher = hashlib.blake2b(digest_size=16, person=b"sleepkit")
    for part in (root, *path):
        text = str(part).encode()
        hasher.update(f"{type(part).__name__}:{len(text)}:".encode() + text)
    return int.from_bytes(hasher.digest(), "little")


def stream(root: int, *path: str | int) -> np.random.Philox:
    """Open the named stream; draw from it with ``random_raw`` (uint64 words)."""
    return np.random.Philox(key=stream_key(root, *path))


def torch_seed(root: int, *path: str | int) -> int:
    """Return a 63-bit seed for ``torch.manual_seed`` belonging to the named stream."""
    return stream_key(root, *path) & MAX_SEED


def unit_floats(words: np.ndarray) -> np.ndarray:
    """Map raw uint64 words to float64 in [0, 1) with 53 bits, the same on every platform."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def weighted_choice(words: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Map raw words to indices drawn with the given non-negative weights (any positive sum)."""
    sums = np.cumsum(np.asarray(weights, dtype=np.float64))
    edges, drawn = sums[:-1] / sums[-1], unit_floats(words)
    if len(edges) > _FEW_EDGES:
        return np.searchsorted(edges, drawn, side="right")
    chosen = np.zeros(drawn.shape, dtype=np.intp)  # the same count of edges at or below, edge by edge: three times as fast
    for edge in edges:
        chosen += drawn >= edge
    return chosen
