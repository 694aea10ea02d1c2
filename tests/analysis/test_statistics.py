"""Intervals over examples and over seeds, and differences between two N."""

import numpy as np
import pytest
import xarray as xr

from sleepkit.analysis.statistics import across_seeds, paired_difference, skill, student_t
from sleepkit.errors import InvalidInputError
from sleepkit.training import wilson_interval
from tests.support.figures import figure_of


def test_the_quantiles_are_those_of_the_tables() -> None:
    assert [round(student_t(n), 3) for n in (2, 3, 4, 11, 31)] == [12.706, 4.303, 3.182, 2.228, 2.042]


def test_with_one_seed_the_interval_is_over_its_examples() -> None:
    accuracy = across_seeds(figure_of({(1, 0): [60, 20], (4, 0): [90, 80]}, n_total=100))
    low, high = wilson_interval(np.array([60, 20]), np.array([100, 100]))
    assert accuracy.attrs["interval"] == "examples"
    np.testing.assert_allclose(accuracy.accuracy_low.sel(n_passes=1), low)
    np.testing.assert_allclose(accuracy.accuracy_high.sel(n_passes=1), high)
    np.testing.assert_allclose(accuracy.accuracy.sel(n_passes=4), [0.9, 0.8])


def test_with_three_seeds_the_interval_is_that_of_their_mean() -> None:
    accuracy = across_seeds(figure_of({(2, 0): [5000], (2, 1): [7000], (2, 2): [9000]}, n_total=10000))
    half = 4.302653 * 0.2 / 3**0.5
    assert accuracy.attrs["interval"] == "seeds"
    assert float(accuracy.accuracy[0, 0]) == pytest.approx(0.7)
    assert float(accuracy.accuracy_low[0, 0]) == pytest.approx(0.7 - half, abs=1e-6)
    assert float(accuracy.accuracy_high[0, 0]) == 1.0
    assert int(accuracy.n_total[0, 0]) == 30000


def test_seeds_that_agree_by_luck_do_not_make_an_interval_narrower_than_their_examples() -> None:
    accuracy = across_seeds(figure_of({(1, seed): [5] for seed in range(3)}, n_total=10))
    low, high = wilson_interval(np.array([15]), np.array([30]))
    assert float(accuracy.accuracy_low[0, 0]) == pytest.approx(float(low[0]))
    assert float(accuracy.accuracy_high[0, 0]) == pytest.approx(float(high[0]))


def test_the_paired_difference_is_taken_seed_by_seed() -> None:
    counts = {(1, 0): [100], (1, 1): [500], (1, 2): [900], (4, 0): [200], (4, 1): [610], (4, 2): [990]}
    mean, low, high = paired_difference(figure_of(counts, n_total=1000), 1, 4)
    assert mean == pytest.approx(0.1)
    half = 4.302653 * 0.01 / 3**0.5
    assert (low, high) == (pytest.approx(0.1 - half, abs=1e-6), pytest.approx(0.1 + half, abs=1e-6))


def test_a_seed_that_only_one_of_the_two_has_does_not_count() -> None:
    counts = {(1, 0): [100], (4, 0): [200], (1, 1): [100], (4, 1): [220], (4, 2): [999]}
    assert paired_difference(figure_of(counts, n_total=1000), 1, 4)[0] == pytest.approx(0.11)


def test_the_difference_of_one_run_covers_the_truth_95_times_in_100() -> None:
    source, n, covered = np.random.default_rng(0), 200, 0
    for _ in range(400):
        a, b = source.binomial(n, 0.3), source.binomial(n, 0.45)
        _, low, high = paired_difference(figure_of({(1, 0): [a], (2, 0): [b]}, n_total=n), 1, 2)
        covered += low <= 0.15 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_an_n_that_was_not_run_is_refused_by_name() -> None:
    figure = figure_of({(1, 0): [1], (2, 1): [1]}, n_total=10)
    with pytest.raises(InvalidInputError, match="n_high: must be one of"):
        paired_difference(figure, 1, 3)
    with pytest.raises(InvalidInputError, match="seed with both N = 1 and N = 2"):
        paired_difference(figure, 1, 2)


def test_skill_is_0_at_the_floor_and_1_at_the_top() -> None:
    values = skill(xr.DataArray([0.5, 0.75, 1.0, 0.4]), xr.DataArray(0.5))
    np.testing.assert_allclose(values, [0.0, 0.5, 1.0, -0.2])
