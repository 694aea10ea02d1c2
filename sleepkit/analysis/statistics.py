"""Intervals: over the examples of one run, over the seeds of several, and of the difference between two N.

One run is one draw of initialisation and data. Its examples say how well that model answers, and nothing about the next run, so
where there are two seeds or more the interval is over seeds (Student's t) and much wider.
"""

import numpy as np
import xarray as xr

from sleepkit import results
from sleepkit.errors import require
from sleepkit.results.shares import difference_interval, wilson_interval


def across_seeds(figure: xr.Dataset) -> xr.Dataset:
    """Return accuracy by N and depth with 95 % intervals: of the mean over seeds, or over examples where there is one seed.

    An interval over seeds is never drawn narrower than that over the examples of all of them.

    Args:
        figure: Dataset of kind "figure" (``experiments.gather``) with a dimension seed.

    Returns:
        Dataset of kind "accuracy" over n_passes and depth: counts summed over seeds, accuracy the mean over seeds; n_seeds by
        n_passes and depth; the attribute ``interval`` is "seeds" or "examples".

    Raises:
        InvalidInputError: if there is no dimension seed.
    """
    require("seed" in figure.accuracy.dims, "figure", "must have a dimension seed", figure.accuracy.dims)
    n_seeds = figure.accuracy.notnull().sum("seed")
    made = figure[["n_correct", "n_total"]].sum("seed")
    mean = figure.accuracy.mean("seed")
    low, high = (mean.copy(data=end) for end in wilson_interval(made.n_correct.values, made.n_total.values))
    several = int(n_seeds.max()) > 1
    if several:
        half = student_t(n_seeds) * figure.accuracy.std("seed", ddof=1) / np.sqrt(n_seeds)
        low, high = np.minimum(low, (mean - half).clip(min=0)), np.maximum(high, (mean + half).clip(max=1))
        made = made.assign(accuracy_of_seed=figure.accuracy)
    made = made.assign(accuracy=mean, accuracy_low=low, accuracy_high=high, n_seeds=n_seeds)
    for name in ("n_exact", "n_examples"):
        made[name] = figure[name].sum([dim for dim in figure[name].dims if dim != "n_passes"])
    made = made.assign(floor=figure.floor, chance=figure.chance)
    return results.check(made.assign_attrs(interval="seeds" if several else "examples", task=figure.attrs["task"]), "accuracy")


def paired_difference(figure: xr.Dataset, n_low: int, n_high: int) -> tuple[float, float, float]:
    """Return how much more N = ``n_high`` answers right than ``n_low``, mean over depths and seeds, with its 95 % interval.

    Runs of one seed saw the same data in the same order, so the differences are taken seed by seed (a paired t interval). With
    one seed the interval is over examples (Newcombe's square-and-add of two Wilson intervals), and covers that run alone.

    Raises:
        InvalidInputError: if an N is not in the figure, or its runs have no seed in common.
    """
    gains = gains_by_seed(figure, n_low, n_high)
    mean = float(gains.mean())
    if len(gains) > 1:
        half = float(student_t(len(gains)) * gains.std(ddof=1) / np.sqrt(len(gains)))
        return mean, mean - half, mean + half
    counts = [figure[["n_correct", "n_total"]].sel(n_passes=number).sum() for number in (n_high, n_low)]
    n_correct, n_total = ((counts[0][name].values, counts[1][name].values) for name in ("n_correct", "n_total"))
    low, high = difference_interval(n_correct, n_total)
    pooled = n_correct[0] / n_total[0] - n_correct[1] / n_total[1]
    return mean, mean + float(low - pooled), mean + float(high - pooled)


def gains_by_seed(figure: xr.Dataset, n_low: int, n_high: int) -> np.ndarray:
    """Return how much more N = ``n_high`` answers right than ``n_low``, mean over depths, one number for each seed with both.

    Raises:
        InvalidInputError: if an N is not in the figure, or its runs have no seed in common.
    """
    for name, value in (("n_low", n_low), ("n_high", n_high)):
        known = figure.n_passes.values.tolist()
        require(value in known, name, f"must be one of {known}", value)
    by_seed = figure.accuracy.mean("depth")
    gains: np.ndarray = (by_seed.sel(n_passes=n_high) - by_seed.sel(n_passes=n_low)).dropna("seed").values
    require(len(gains) > 0, "figure", f"must have a seed with both N = {n_low} and N = {n_high}", figure.seed.values.tolist())
    return gains


def student_t(n: int | xr.DataArray) -> float | np.ndarray:
    """Return the 97.5 % quantile of Student's t with n - 1 degrees of freedom; NaN for n below 2."""
    from scipy.stats import t

    quantile = t.ppf(0.975, np.asarray(n) - 1)
    return quantile if isinstance(n, xr.DataArray) else float(quantile)


def skill(accuracy: xr.DataArray, floor: xr.DataArray) -> xr.DataArray:
    """Return how far accuracy gets from the floor to 1: (accuracy - floor) / (1 - floor); below 0 is worse than the floor."""
    return (accuracy - floor) / (1 - floor)
