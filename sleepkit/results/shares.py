"""Intervals of shares of right answers, and of the difference of two. Plain numbers, no torch."""

from statistics import NormalDist

import numpy as np
import xarray as xr

from sleepkit.errors import require

CONFIDENCE = 0.95


def wilson_interval(
    n_correct: np.ndarray, n_total: np.ndarray, *, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Wilson score interval of a share, elementwise; NaN where nothing was counted.

    Args:
        n_correct: right answers.
        n_total: answers.
        confidence: how often such an interval covers the true share, in (0, 1).

    Raises:
        InvalidInputError: if the confidence is out of range.
    """
    require(0 < confidence < 1, "confidence", "must be in (0, 1)", confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share, square = n_correct / n_total, z**2
        centre = (share + square / (2 * n_total)) / (1 + square / n_total)
        half = z / (1 + square / n_total) * np.sqrt(share * (1 - share) / n_total + square / (4 * n_total**2))
    return centre - half, centre + half


def difference_interval(
    n_correct: tuple[np.ndarray, np.ndarray], n_total: tuple[np.ndarray, np.ndarray], *, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the first share less the second, elementwise; NaN where either counted nothing.

    Newcombe's square-and-add of two Wilson intervals (1998, method 10), for samples that are independent. For answers to the
    same questions it errs on the side of caution: where one N is right the other tends to be, which makes the truth narrower.

    Args:
        n_correct: right answers of both.
        n_total: answers of both.
        confidence: as for ``wilson_interval``.

    Raises:
        InvalidInputError: if the confidence is out of range.
    """
    (low, high), (low_other, high_other) = (
        wilson_interval(right, total, confidence=confidence) for right, total in zip(n_correct, n_total, strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        share, other = (right / total for right, total in zip(n_correct, n_total, strict=True))
    difference = share - other
    return (
        difference - np.hypot(share - low, high_other - other),
        difference + np.hypot(high - share, other - low_other),
    )


def gain_by_depth(evaluated: xr.Dataset, n_passes: int, compare: int) -> xr.Dataset:
    """Return how much more N answers right than the compared N, by depth, with intervals that hold for all depths at once.

    At each of D depths the interval has the confidence 1 - 0.05 / D (Bonferroni), so that with no difference anywhere, all of
    them cover 0 in 95 % of all evaluations: whoever looks for the depth of the largest difference finds no noise.

    Args:
        evaluated: Dataset of kind "accuracy".
        n_passes: N.
        compare: the N it is compared with.

    Returns:
        Dataset over depth, shares: gain, gain_low, gain_high; n_total of N.

    Raises:
        KeyError: if an N was not evaluated.
    """
    now, other = (evaluated[["n_correct", "n_total"]].sel(n_passes=number, drop=True) for number in (n_passes, compare))
    n_asked = max(1, int((now.n_total > 0).sum()))
    low, high = difference_interval(
        (now.n_correct.values, other.n_correct.values),
        (now.n_total.values, other.n_total.values),
        confidence=1 - (1 - CONFIDENCE) / n_asked,
    )
    accuracy = evaluated.accuracy
    gain = accuracy.sel(n_passes=n_passes, drop=True) - accuracy.sel(n_passes=compare, drop=True)
    made = {"gain": gain, "gain_low": gain.copy(data=low), "gain_high": gain.copy(data=high), "n_total": now.n_total}
    return xr.Dataset(made).assign_attrs(task=evaluated.attrs.get("task", ""), n_passes=n_passes, compare=compare)
