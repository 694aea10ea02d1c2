"""Named random streams: pure, distinct, the same everywhere."""

import bisect

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.seeds import MAX_SEED, stream, stream_key, torch_seed, unit_floats, weighted_choice

LARGEST_WORD = np.uint64(2**64 - 1)
paths = st.lists(st.text(max_size=4) | st.integers(-3, 3), max_size=4).map(tuple)


def typed(path: tuple[str | int, ...]) -> tuple[tuple[type, str | int], ...]:
    return tuple((type(part), part) for part in path)


@hypothesis.settings(max_examples=200)
@hypothesis.given(one=paths, other=paths)
def test_two_paths_share_a_stream_only_if_they_are_the_same(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> None:
    assert (stream_key(7, *one) == stream_key(7, *other)) == (typed(one) == typed(other))


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("1",), (1,)), ((), ("",)), (("a", 1, 2), ("a", 12)), (("a:1",), ("a", "1"))]
)
def test_paths_that_read_alike_do_not_run_together(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> None:
    assert stream_key(0, *one) != stream_key(0, *other)


def test_neighbouring_seeds_and_indices_never_collide() -> None:
    keys = {stream_key(seed, "train", index) for seed in range(100) for index in range(100)}
    assert len(keys) == 10_000


def test_a_stream_gives_the_same_words_on_every_machine() -> None:
    assert stream(5, "train", 3).random_raw(3).tolist() == [5451982636186268799, 3369166193337331647, 15321079543685887887]
    assert torch_seed(5, "init") == 6873707222584797285


def test_a_torch_seed_fits_into_63_bits() -> None:
    assert all(0 <= torch_seed(0, index) <= MAX_SEED for index in range(200))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "7", None])
def test_a_root_seed_out_of_range_is_refused(seed: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^seed: must be an integer in \[0, 2\^63\), got "):
        stream_key(seed)


def test_unit_floats_fill_the_interval_without_its_end() -> None:
    words = np.array([0, 2**11 - 1, 2**63, LARGEST_WORD], dtype=np.uint64)
    assert unit_floats(words).tolist() == [0.0, 0.0, 0.5, 1 - 2.0**-53]


def test_weighted_choice_follows_the_weights() -> None:
    weights, n = np.array([1.0, 0.0, 2.0, 5.0]), 200_000
    shares = np.bincount(weighted_choice(stream(0, "choice").random_raw(n), weights), minlength=4) / n
    expected = weights / weights.sum()
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / n)).all()
    assert shares[1] == 0


@pytest.mark.parametrize("n_weights", [1, 2, 8, 17, 18, 75])
def test_weighted_choice_is_the_search_for_the_edge_above(n_weights: int) -> None:
    words = stream(1, "words").random_raw(5_000)
    weights = unit_floats(stream(2, "weights").random_raw(n_weights)).round(1) + (np.arange(n_weights) == 0)
    edges = weights.cumsum() / weights.sum()
    chosen = weighted_choice(words, weights)
    assert chosen.dtype == np.intp
    assert (chosen == [bisect.bisect_right(edges.tolist(), drawn) for drawn in unit_floats(words)]).all()


@pytest.mark.parametrize(("weights", "first", "last"), [([0, 1, 0], 1, 1), ([1, 1], 0, 1), ([0.1] * 10 + [0], 0, 9), ([3], 0, 0)])
def test_weighted_choice_at_the_ends_of_the_interval(weights: list[float], first: int, last: int) -> None:
    words = np.array([0, LARGEST_WORD], dtype=np.uint64)
    assert weighted_choice(words, np.array(weights)).tolist() == [first, last]
