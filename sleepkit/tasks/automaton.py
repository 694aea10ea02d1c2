"""Rule 110 on a ring, three ways: bit-parallel words, bit-sliced enumeration, and a plain table for the oracle.

A state of ``width`` cells is one uint64 word, bit i = cell i. new = (centre or right) and not (left and centre and right).
"""

import numpy as np

RULE = np.array([110 >> pattern & 1 for pattern in range(8)], dtype=np.uint8)
ENUMERABLE_WIDTH = 24
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SLICE_PATTERNS = [int(sum(1 << s for s in range(64) if s >> cell & 1)) for cell in range(6)]


def evolve(words: np.ndarray, width: int, n_steps: int) -> np.ndarray:
    """Advance every packed ring by ``n_steps`` steps: uint64 [...] -> uint64 [...].

    The ring is unrolled into the spare bits of its word; each step without wrap-around spoils one bit at either end, so the
    ring is unrolled again only when the spare bits are used up.
    """
    words = words.copy()
    spare = min((64 - width) // 2, width)
    mask = np.uint64(2**width - 1)
    while n_steps > 0:
        if spare == 0:
            words = _step_on_ring(words, width)
            n_steps -= 1
            continue
        margin = min(spare, n_steps)
        low, high = np.uint64(margin), np.uint64(width - margin)
        words = (words << low) | (words >> high) | (words << np.uint64(margin + width))
        _step_on_line(words, margin)
        words = (words >> low) & mask
        n_steps -= margin
    return words


def _step_on_line(words: np.ndarray, n_steps: int) -> None:
    """Advance in place, cells beyond the word counting as 0."""
    one, right, triple = np.uint64(1), np.empty_like(words), np.empty_like(words)
    for _ in range(n_steps):
        np.right_shift(words, one, out=right)
        np.left_shift(words, one, out=triple)
        triple &= words
        triple &= right
        words |= right
        words ^= triple  # all three set implies centre or right, so this clears exactly those cells


def _step_on_ring(words: np.ndarray, width: int) -> np.ndarray:
    one, top, mask = np.uint64(1), np.uint64(width - 1), np.uint64(2**width - 1)
    left = ((words << one) | (words >> top)) & mask
    right = (words >> one) | ((words & one) << top)
    stepped: np.ndarray = (words | right) & ~(left & words & right)
    return stepped


def reserved_for_evaluation(words: np.ndarray) -> np.ndarray:
    """Mark the strings (1 in 64, by a hash of their content) that training never shows: uint64 -> bool."""
    mixed = words ^ (words >> np.uint64(30))
    mixed = mixed * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    reserved: np.ndarray = ((mixed ^ (mixed >> np.uint64(31))) & np.uint64(63)) == 0
    return reserved


def history_by_table(cells: np.ndarray, n_steps: int) -> np.ndarray:
    """Return all states from 0 to ``n_steps`` by table look-up, one cell an entry: [..., W] -> [n_steps + 1, ..., W].

    Shares nothing with ``step``: this is the oracle.
    """
    states = [np.asarray(cells, dtype=np.uint8)]
    for _ in range(n_steps):
        now = states[-1]
        pattern = 4 * np.roll(now, 1, axis=-1) + 2 * now + np.roll(now, -1, axis=-1)
        states.append(RULE[pattern])
    return np.stack(states)


def share_of_ones(width: int, depths: list[int]) -> dict[int, float]:
    """Return P(first cell = 1) after each depth over all 2^width rings, exactly, by bit-sliced enumeration.

    The first cell after t steps sees 2 t + 1 cells, so a wider ring than that is cut down first.
    """
    shares: dict[int, float] = {}
    for cells in {min(width, max(2 * depth + 1, 8)) for depth in depths}:
        wanted = sorted(depth for depth in depths if min(width, max(2 * depth + 1, 8)) == cells)
        ones = _count_ones(cells, wanted)
        shares.update({depth: ones[depth] / 2**cells for depth in wanted})
    return shares


def _count_ones(width: int, depths: list[int]) -> dict[int, int]:
    """Count the rings whose first cell is 1 at each depth; 64 rings share a word, one word array per cell."""
    n_words = 2 ** max(width - 6, 0)
    valid = np.uint64(2 ** min(64, 2**width) - 1)
    counts = dict.fromkeys(depths, 0)
    for start in range(0, n_words, 8192):
        index = np.arange(start, min(start + 8192, n_words), dtype=np.uint64)
        cells = [np.full(len(index), np.uint64(_SLICE_PATTERNS[cell])) for cell in range(min(width, 6))]
        high = [(index >> np.uint64(bit)) & np.uint64(1) for bit in range(width - 6)]
        cells += [np.where(bit == 1, np.uint64(2**64 - 1), np.uint64(0)) for bit in high]
        for depth in range(max(depths) + 1):
            if depth in counts:
                counts[depth] += int(np.bitwise_count(cells[0] & valid).sum())
            shifted = cells[1:] + cells[:1]
            before = cells[-1:] + cells[:-1]
            triples = zip(before, cells, shifted, strict=True)
            cells = [(centre | right) & ~(left & centre & right) for left, centre, right in triples]
    return counts
