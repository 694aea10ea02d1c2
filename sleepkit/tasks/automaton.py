"""Rule 110 on a ring, three ways: bit-parallel words, bit-sliced enumeration, and a plain table for the oracle.

A state of ``width`` cells is one uint64 word, bit i = cell i. new = (centre or right) and not (left and centre and right).
"""

from collections.abc import Iterator, Sequence

import numpy as np

RULE = np.array([110 >> pattern & 1 for pattern in range(8)], dtype=np.uint8)
ENUMERABLE_WIDTH = 24
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SLICE_PATTERNS = [int(sum(1 << s for s in range(64) if s >> cell & 1)) for cell in range(6)]


def evolve(words: np.ndarray, width: int, n_steps: int) -> np.ndarray:
    """Advance every packed ring by ``n_steps`` steps: uint64 [...] -> uint64 [...]."""
    ((line, low),) = lines(words, width, [n_steps])
    return (line >> low) & np.uint64(2**width - 1)


def lines(words: np.ndarray, width: int, depths: Sequence[int]) -> Iterator[tuple[np.ndarray, np.uint64]]:
    """Advance every packed ring to each of the depths, which rise, in turn.

    The ring is unrolled into the spare bits of its word; each step without wrap-around spoils one bit at either end, so the
    ring is unrolled again only when the spare bits are used up.

    Yields:
        The unrolled rings, uint64 [...], and where in them the first cell is: cell i is bit low + i, i < width. The array is
        overwritten when the next is asked for.
    """
    spare, mask = min((64 - width) // 2, width), np.uint64(2**width - 1)
    line, scratch = words.copy(), (np.empty_like(words), np.empty_like(words))
    reached, room, low = 0, 0, np.uint64(0)
    for depth in depths:
        while reached < depth:
            if spare == 0:
                line, reached = _step_on_ring(line, width), reached + 1
                continue
            if room == 0:
                line = (line >> low) & mask
                room = min(spare, depths[-1] - reached)
                low = np.uint64(room)
                line = (line << low) | (line >> np.uint64(width - room)) | (line << np.uint64(width + room))
            n_steps = min(room, depth - reached)
            _step_on_line(line, n_steps, scratch)
            reached, room = reached + n_steps, room - n_steps
        yield line, low


def _step_on_line(words: np.ndarray, n_steps: int, scratch: tuple[np.ndarray, np.ndarray]) -> None:
    """Advance in place, cells beyond the word counting as 0."""
    one, (right, triple) = np.uint64(1), scratch
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
