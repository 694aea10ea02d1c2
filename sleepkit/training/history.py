"""The history of a run as labelled arrays: what was measured over its steps, and what was counted on held-out examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from sleepkit.results.shares import wilson_interval

Row = dict[str, float]
Validation = dict[str, Any]
COLUMNS = ("loss", "accuracy", "n_passes_drawn", "gradient_norm", "tokens_per_s", "elapsed_s")


def as_dataset(rows: Sequence[Row], validations: Sequence[Validation]) -> xr.Dataset:
    """Lay out rows over ``step`` and, where there are any, counts over ``validation_step`` and ``depth``; see ``Run``.

    Raises:
        KeyError: if a row or a validation lacks a value.
        ValueError: if a value is no number, or validations count different depths.
    """
    columns = {name: ("step", np.array([row[name] for row in rows], dtype=float)) for name in COLUMNS}
    history = xr.Dataset(columns, coords={"step": np.array([int(row["step"]) for row in rows], dtype=np.int64)})
    history["n_passes_drawn"] = history.n_passes_drawn.astype(np.int64)
    return history.merge(_validated(validations)) if validations else history


def _validated(validations: Sequence[Validation]) -> xr.Dataset:
    """Lay the counts out over validation steps and depths."""
    n_correct, n_total = (np.array([row[name] for row in validations], dtype=np.int64) for name in ("n_correct", "n_total"))
    low, high = wilson_interval(n_correct, n_total)
    with np.errstate(invalid="ignore"):
        accuracy = n_correct / n_total
    grid = ("validation_step", "depth")
    return xr.Dataset(
        {
            "n_correct": (grid, n_correct),
            "n_total": (grid, n_total),
            "validation_accuracy": (grid, accuracy),
            "validation_low": (grid, low),
            "validation_high": (grid, high),
            "floor": ("depth", validations[0]["floor"]),
            "chance": ("depth", validations[0]["chance"]),
        },
        coords={"validation_step": [row["step"] for row in validations], "depth": validations[0]["depth"]},
    )
