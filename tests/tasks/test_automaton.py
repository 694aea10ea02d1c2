"""Rule 110 on packed words, by table, and by enumeration."""

import numpy as np
import pytest

from sleepkit.seeds import stream
from sleepkit.tasks import automaton


def unpack(words: np.ndarray, width: int) -> np.ndarray:
    """Bit i of a word is cell i: uint64 [n] -> [n, width]."""
    return (words[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)


@pytest.mark.parametrize("width", range(3, 65))
def test_packed_rings_evolve_as_the_table_says(width: int) -> None:
    words = stream(0, "test", width).random_raw(40) & np.uint64(2**width - 1)
    history = automaton.history_by_table(unpack(words, width), 70)
    for n_steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 70):
        assert (unpack(automaton.evolve(words, width, n_steps), width) == history[n_steps]).all(), n_steps


def test_evolve_leaves_its_input_alone() -> None:
    words = np.arange(16, dtype=np.uint64)
    automaton.evolve(words, 4, 3)
    assert words.tolist() == list(range(16))


@pytest.mark.parametrize("width", [3, 4, 16, 24, 31, 62, 63, 64])
def test_every_depth_on_the_way_is_the_state_after_that_many_steps(width: int) -> None:
    words = np.random.Philox(width).random_raw(50) & np.uint64(2**width - 1)
    depths = [0, 1, 2, 2, 7, 20, 21, 70]
    history = automaton.history_by_table(unpack(words, width), depths[-1])
    reached = zip(depths, automaton.lines(words, width, depths), strict=True)
    for depth, (line, low) in reached:
        assert (unpack(line >> low, width) == history[depth]).all(), depth


def test_one_living_cell_grows_to_the_left_as_wolfram_draws_it() -> None:
    cells = np.zeros(12, dtype=np.uint8)
    cells[-1] = 1
    rows = [int("".join(map(str, row)), 2) for row in automaton.history_by_table(cells, 8)]
    assert [f"{row:b}" for row in rows] == ["1", "11", "111", "1101", "11111", "110001", "1110011", "11010111", "111111101"]


@pytest.mark.parametrize("width", [3, 4, 5, 6, 7, 9, 12])
def test_the_share_of_ones_equals_a_count_over_every_ring(width: int) -> None:
    depths = [0, 1, 2, 3, 5, 11]
    history = automaton.history_by_table(unpack(np.arange(2**width, dtype=np.uint64), width), 11)
    expected = {depth: float(history[depth, :, 0].mean()) for depth in depths}
    assert automaton.share_of_ones(width, depths) == expected


def test_one_string_in_64_is_reserved_for_evaluation() -> None:
    n = 2**18
    share = automaton.reserved_for_evaluation(np.arange(n, dtype=np.uint64)).mean()
    assert abs(share - 1 / 64) <= 4 * np.sqrt(1 / 64 / n)
