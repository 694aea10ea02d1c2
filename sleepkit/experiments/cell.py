"""One cell of a figure or a sweep: a run from its first step to counted answers, as one Dataset; many cells, gathered.

A cell is a pure function of its settings, so its digest names it: what was finished is loaded and never computed again.
"""

import contextlib
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
    with contextlib.suppress(StoreError):
        return load_cell(settings, root, n_passes=wanted, n_examples=n_examples)
    run = train(settings, folder=folder, progress=progress, on_row=on_row, should_stop=should_stop)
    measured = measure(run, n_passes=wanted, n_examples=n_examples, progress=progress)
    results.save(measured, folder / RESULT)
    return measured


def load_cell(settings: TrainSettings, root: str | Path, *, n_passes: Sequence[int], n_examples: int) -> xr.Dataset:
    """Return the finished cell of these settings.

    Raises:
        StoreError: if its result is missing, damaged or counts something else; the file is named.
    """
    path = cell_folder(settings, root) / RESULT
    known = results.load(path)
    try:
        results.check(known, "cell")
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    same = known.attrs.get("digest") == settings.digest() and known.n_passes.values.tolist() == list(n_passes)
    if not (same and bool((known.n_examples == n_examples).all())):
        raise StoreError(f"path: must count {n_examples} examples of this run at N = {list(n_passes)}, got {str(path)!r}")
    return known


def measure(run: Run, *, n_passes: Sequence[int], n_examples: int, progress: bool = False) -> xr.Dataset:
    """Evaluate a finished run on the test split and put its history beside the counts; see ``run_cell``."""
    settings = run.settings
    counted = evaluate(
        run.model,
        settings.task.create(),
        n_passes=list(n_passes),
        n_examples=n_examples,
        window_len=settings.sleep.window_len,
        eviction=settings.sleep.eviction,
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
        axes: settings that become dimensions, as dotted names ("seed", "model.width"); N and depth are dimensions already. Values
            that are neither all numbers nor all strings stand there as JSON. Floors of tasks that differ lie along what
            makes them differ.

    Returns:
        Dataset of kind "figure", NaN where a combination was not run. ``wall_time_s`` is each run's training time,
        ``tokens_per_step`` turns its steps into tokens; the attribute ``cells`` lists digest, settings and provenance of every
        cell, as JSON.

    Raises:
        InvalidInputError: if there are no cells, a name is no setting, or two cells fall on the same place.
    """
    placed, notes, places = [], [], set()
    known = [(cell, TrainSettings.from_json(cell.attrs["settings"])) for cell in cells]
    columns = {axis: _coordinates([_setting(settings, axis) for _, settings in known]) for axis in axes}
    for number, (cell, settings) in enumerate(known):
        values = {axis: column[number] for axis, column in columns.items()}
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


def join(known: xr.Dataset, new: xr.Dataset) -> xr.Dataset:
    """Put gathered Datasets of different cells together, as if all their cells had been gathered at once.

    Raises:
        InvalidInputError: if both hold one cell.
    """
    notes = [note for data in (known, new) for note in json.loads(data.attrs["cells"])]
    twice = sorted(set(digests(known)) & set(digests(new)))
    require(not twice, "new", "must hold other cells than known", twice)
    together = xr.merge([known, new], compat="no_conflicts", join="outer", combine_attrs="drop")
    together.attrs = {"task": known.attrs["task"], "cells": json.dumps(notes, sort_keys=True)}
    return results.check(together, "figure")


def digests(figure: xr.Dataset) -> list[str]:
    """Return the digests of the cells that were gathered."""
    return [note["digest"] for note in json.loads(figure.attrs["cells"])]


def _placed(cell: xr.Dataset, values: dict[str, object], tokens_per_step: int) -> xr.Dataset:
    """Give a cell its place: its settings and, where the cell has but one of each, its N and its depth."""
    last = cell.isel(step=-1, drop=True)
    cell = cell.assign(wall_time_s=last.elapsed_s, final_loss=last.loss, tokens_per_step=tokens_per_step)
    own = {axis.rpartition(".")[2]: [value] for axis, value in values.items()}
    single = {name: cell[name].values for name in ("n_passes", "depth") if cell.sizes[name] == 1}
    task_axes = {axis.rpartition(".")[2]: [value] for axis, value in values.items() if axis.startswith("task.")}
    of_the_task = {name: cell[name].expand_dims(task_axes) for name in ("floor", "chance", "exact_floor")}
    placed = {
        str(name): array.expand_dims({**own, **{dim: at for dim, at in single.items() if dim not in array.dims}})
        for name, array in cell.drop_vars(list(of_the_task)).items()
    }
    order = (*own, "n_passes", "depth", ...)
    return xr.Dataset({**placed, **of_the_task}).transpose(*order, missing_dims="ignore")


def _plain(value: Any) -> Any:
    """Return an attribute as it was before netCDF made a numpy scalar of it."""
    return value.item() if isinstance(value, np.generic) else value


def _coordinates(values: list[object]) -> list[object]:
    """Return values as they can stand along a dimension: all numbers, or all strings, or all as JSON."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    plain = numbers or all(isinstance(value, str) for value in values)
    return values if plain else [json.dumps(value) for value in values]


def _setting(settings: TrainSettings, axis: str) -> object:
    value: object = settings.to_dict()
    for part in axis.split("."):
        inside = isinstance(value, dict) and part in value
        require(inside, "axes", "must be the names of settings", axis)
        value = value[part]  # type: ignore[index]
    return value
