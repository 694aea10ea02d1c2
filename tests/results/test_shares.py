"""Intervals of shares and of their differences: published values, and how often they cover the truth."""

import numpy as np
import pytest
import xarray as xr

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.results.shares import difference_interval, gain_by_depth, wilson_interval


@pytest.mark.parametrize(
    ("n_correct", "n_total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_the_wilson_interval_has_its_published_values(n_correct: int, n_total: int, low: float, high: float) -> None:
    interval = wilson_interval(np.array([n_correct]), np.array([n_total]))
    np.testing.assert_allclose([float(end[0]) for end in interval], [low, high], atol=5e-5, rtol=0)


def test_the_wilson_interval_holds_the_shares_that_a_score_test_does_not_reject() -> None:
    n_correct, n_total = np.array([3, 50, 97]), np.array([40, 100, 100])
    for end in wilson_interval(n_correct, n_total):
        z = (n_correct / n_total - end) / np.sqrt(end * (1 - end) / n_total)
        np.testing.assert_allclose(np.abs(z), 1.959963984540054, rtol=1e-10)


def test_the_wilson_interval_of_nothing_is_unknown() -> None:
    low, high = wilson_interval(np.array([0]), np.array([0]))
    assert np.isnan([low[0], high[0]]).all()


# Newcombe (1998), Table II, method 10.
@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_has_its_published_values(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    n_correct, n_total = (tuple(np.array([each]) for each in pair) for pair in zip(first, second, strict=True))
    interval = difference_interval(n_correct, n_total)
    np.testing.assert_allclose([float(end[0]) for end in interval], [low, high], atol=5e-5, rtol=0)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(InvalidInputError, match="confidence: must be in"):
        wilson_interval(np.array([1]), np.array([2]), confidence=confidence)


def evaluation(n_correct: np.ndarray, n_total: int) -> xr.Dataset:
    """What an evaluation holds that differences need, over the N 1 and 4 and as many depths as there are columns."""
    grid = ("n_passes", "depth")
    counts = {"n_correct": (grid, n_correct), "n_total": (grid, np.full_like(n_correct, n_total))}
    coordinates = {"n_passes": [1, 4], "depth": np.arange(n_correct.shape[1])}
    return xr.Dataset({**counts, "accuracy": (grid, n_correct / n_total)}, coords=coordinates)


def test_of_two_n_that_do_not_differ_at_any_depth_noise_is_found_in_at_most_one_evaluation_of_twenty() -> None:
    n_correct = np.random.default_rng(0).binomial(400, 0.55, size=(2, 20_000, 8))
    total = np.full((20_000, 8), 400)
    low, high = difference_interval((n_correct[1], n_correct[0]), (total, total), confidence=1 - 0.05 / 8)
    share = ((low > 0) | (high < 0)).any(axis=1).mean()
    assert 0.03 < share < 0.056  # 0.05 and four standard errors; much below it would be blind
    gains = gain_by_depth(evaluation(n_correct[:, 0], 400), 4, 1)
    np.testing.assert_allclose([gains.gain_low, gains.gain_high], [low[0], high[0]], rtol=1e-12)


def test_the_gain_is_the_difference_of_the_accuracies_within_its_interval() -> None:
    accuracy = zoo.facts("rule110-explorer").accuracy
    gains = gain_by_depth(accuracy, 4, 1)
    expected = accuracy.accuracy.sel(n_passes=4, drop=True) - accuracy.accuracy.sel(n_passes=1, drop=True)
    xr.testing.assert_allclose(gains.gain, expected.rename("gain"))
    assert bool(((gains.gain_low < gains.gain) & (gains.gain < gains.gain_high)).all())


def test_a_depth_that_was_never_asked_has_no_gain_and_does_not_widen_the_others() -> None:
    both, alone = evaluation(np.array([[60, 0], [90, 0]]), 100), evaluation(np.array([[60], [90]]), 100)
    both = both.assign(n_total=both.n_total.where(both.depth == 0, 0), accuracy=both.accuracy.where(both.depth == 0))
    gains = gain_by_depth(both, 4, 1)
    assert np.isnan(float(gains.gain_low.sel(depth=1)))
    assert float(gains.gain_low.sel(depth=0)) == float(gain_by_depth(alone, 4, 1).gain_low.sel(depth=0))
