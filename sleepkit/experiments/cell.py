"""One cell of a figure or a sweep: a run from its first step to counted answers, as one Dataset; many cells, gathered.

A cell is a pure function of its settings, so its digest names it: what was finished is loaded and never computed again.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sleepkit import results
from sleepkit.errors import StoreError, require
from sleepkit.training import Run, TrainSettings, evaluate, train

RESULT = "result.nc"


def cell_folder(settings: TrainSettings, root: str | Path) -> Path:
    """Return where the run of a cell lies: ``ROOT/NAME-DIGEST``."""
    return Path(root) / f"{settings.name}-{settings.digest()}"


def run_cell(
    settings: TrainSettings,
    *,
    root: str | Path = "runs",
    n_passes: Sequence[int] = (),
    n_examples: int = 2048,
    progress: bool = True,
    on_row: Callable[[int, dict[str, float]], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> xr.Dataset:
    """Train (or go on training), count right answers on the test split, write ``result.nc`` and return it.

    A finished cell is loaded. One whose result is damaged, or counts other examples, is counted again from the finished run.

    Args:
        settings: the run.
        root: the folder of all runs; this one lies in ``ROOT/NAME-DIGEST``.
        n_passes: the N to evaluate; only ``settings.sleep.n_passes``, the N it is trained with, if empty.
        n_examples: examples for each N.
        progress: show progress bars.
        on_row: see ``train``.
        should_stop: see ``train``.

    Returns:
        Dataset of kind "cell": counts over n_passes and depth on the test split, the history over step, and, where the settings
        ask for it, counts over validation_step and depth. The attributes hold settings, digest and provenance.
    """
    wanted = list(n_passes) or [settings.sleep.n_passes]
    folder = cell_folder(settings, root)
    known = _finished(folder / RESULT, settings, wanted, n_examples)
    if known is not None:
        return known
    run = train(settings, folder=folder, progress=progress, on_row=on_row, should_stop=should_stop)
    measured = measure(run, n_passes=wanted, n_examples=n_examples, progress=progress)
    results.save(measured, folder / RESULT)
    return measured


def measure(run: Run, *, n_passes: Sequence[int], n_examples: int, progress: bool = False) -> xr.Dataset:
    """Evaluate a finished run on the test split and put its history beside the counts; see ``run_cell``."""
    settings = run.settings
    counted = evaluate(
        run.model,
        settings.task.create(),
        n_passes=list(n_passes),
        n_examples=n_examples,
        window_len=settings.sleep.window_len,
        progress=progress,
    )
    renamed = {"n_correct": "validation_n_correct", "n_total": "validation_n_total", "accuracy": "training_accuracy"}
    history = run.history.rename({old: new for old, new in renamed.items() if old in run.history})
    history = history.drop_vars(["floor", "chance"], errors="ignore")
    together = xr.merge([counted, history], join="outer", combine_attrs="drop", compat="no_conflicts")
    together.attrs = {**counted.attrs, **history.attrs}
    return results.check(together, "cell")


def gather(cells: Iterable[xr.Dataset], *, axes: Sequence[str] = ("seed",)) -> xr.Dataset:
    """Put cells together: one Dataset over N, depth and whatever else their settings differ in.

    Args:
        cells: Datasets of kind "cell"; each was evaluated at its own N or at several.
        axes: settings that become dimensions, as dotted names ("seed", "model.width"); N and depth are dimensions already.

    Returns:
        Dataset of kind "figure", NaN where a combination was not run. ``wall_time_s`` is each run's training time,
        ``tokens_per_step`` turns its steps into tokens; the attribute ``cells`` lists digest, settings and provenance of every
        cell, as JSON.

    Raises:
        InvalidInputError: if there are no cells, a name is no setting, or two cells fall on the same place.
    """
    placed, notes, places = [], [], set()
    for cell in cells:
        settings = TrainSettings.from_json(cell.attrs["settings"])
        values = {axis: _setting(settings, axis) for axis in axes}
        for n_passes in cell.n_passes.values.tolist():
            for depth in cell.depth.values.tolist():
                place = (*values.values(), n_passes, depth)
                require(place not in places, "cells", f"must differ in N, depth or {', '.join(axes)}", (settings.name, *place))
                places.add(place)
        placed.append(_placed(cell, values, settings.batch_size * settings.task.create().seq_len))
        notes.append({name: _plain(value) for name, value in cell.attrs.items()} | {"settings": settings.to_dict()})
    require(len(placed) > 0, "cells", "must hold at least one", 0)
    together = xr.merge(placed, compat="no_conflicts", join="outer", combine_attrs="drop")
    together.attrs = {"task": notes[0]["task"], "cells": json.dumps(notes, sort_keys=True)}
    return results.check(together, "figure")


def _placed(cell: xr.Dataset, values: dict[str, object], tokens_per_step: int) -> xr.Dataset:
    """Give a cell its place: its settings and, where the cell has but one of each, its N and its depth."""
    last = cell.isel(step=-1, drop=True)
    cell = cell.assign(wall_time_s=last.elapsed_s, final_loss=last.loss, tokens_per_step=tokens_per_step)
    own = {axis.rpartition(".")[2]: [value] for axis, value in values.items()}
    single = {name: cell[name].values for name in ("n_passes", "depth") if cell.sizes[name] == 1}
    of_the_task = {name: cell[name] for name in ("floor", "chance", "exact_floor")}
    placed = {
        str(name): array.expand_dims({**own, **{dim: at for dim, at in single.items() if dim not in array.dims}})
        for name, array in cell.drop_vars(list(of_the_task)).items()
    }
    order = (*own, "n_passes", "depth", ...)
    return xr.Dataset({**placed, **of_the_task}).transpose(*order, missing_dims="ignore")


def _plain(value: Any) -> Any:
    """Return an attribute as it was before netCDF made a numpy scalar of it."""
    return value.item() if isinstance(value, np.generic) else value


def _setting(settings: TrainSettings, axis: str) -> object:
    value: object = settings.to_dict()
    for part in axis.split("."):
        inside = isinstance(value, dict) and part in value
        require(inside, "axes", "must be the names of settings", axis)
        value = value[part]  # type: ignore[index]
    return value


def _finished(path: Path, settings: TrainSettings, n_passes: list[int], n_examples: int) -> xr.Dataset | None:
    if not path.exists():
        return None
    try:
        known = results.check(results.load(path), "cell")
    except StoreError:
        return None
    same = known.attrs.get("digest") == settings.digest() and known.n_passes.values.tolist() == n_passes
    return known if same and bool((known.n_examples == n_examples).all()) else None
