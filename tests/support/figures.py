"""Gathered figures made of numbers that a test chose."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from sleepkit import results


def figure_of(
    n_correct: Mapping[tuple[int, int], Sequence[int]], *, n_total: int, floor: float = 0.1, task: str = "rule110"
) -> xr.Dataset:
    """Return a figure over depths 1, 2, ...: for (N, seed) the right answers by depth, NaN for combinations left out."""
    passes, seeds = sorted({n for n, _ in n_correct}), sorted({seed for _, seed in n_correct})
    n_depths = len(next(iter(n_correct.values())))
    counts = np.full((len(seeds), len(passes), n_depths), np.nan)
    for (n, seed), right in n_correct.items():
        counts[seeds.index(seed), passes.index(n)] = right
    grid, run = ("seed", "n_passes", "depth"), ("seed", "n_passes")
    known = np.where(np.isnan(counts), np.nan, 1.0)
    flat = known[:, :, 0]
    data = xr.Dataset(
        {
            "n_correct": (grid, counts),
            "n_total": (grid, known * n_total),
            "accuracy": (grid, counts / n_total),
            "n_exact": (run, flat),
            "n_examples": (run, flat * n_total),
            "floor": ("depth", np.full(n_depths, floor)),
            "chance": ("depth", np.full(n_depths, floor)),
            "wall_time_s": (run, flat * 60.0),
            "final_loss": (run, flat * 0.5),
            "tokens_per_step": (run, flat * 1e6),
            "validation_accuracy": ((*grid, "validation_step"), np.stack([counts / n_total / 2, counts / n_total], axis=-1)),
        },
        coords={"seed": seeds, "n_passes": passes, "depth": np.arange(1, n_depths + 1), "validation_step": [5, 10]},
        attrs={"task": task, "cells": json.dumps([])},
    )
    return results.check(data, "figure")
