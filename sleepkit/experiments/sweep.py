"""A sweep: every combination of some values, each a cell with a folder of its own, gathered into one Dataset.

A sweep can be stopped or killed at any moment and started again: finished cells are found by digest and left alone, damaged ones
are done again, half-done runs go on from their checkpoint.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from sleepkit import results
from sleepkit.errors import StoreError, require, require_count
from sleepkit.experiments.board import Board
from sleepkit.experiments.cell import gather
from sleepkit.experiments.cluster import run_on_cluster
from sleepkit.experiments.grid import Sweep
from sleepkit.experiments.local import run_locally
from sleepkit.experiments.work import ERROR, Cell, TrainCell

GATHERED = "sweep.nc"


def run_sweep(
    sweep: Sweep,
    folder: str | Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    retries: int = 2,
    progress: bool = True,
) -> dict[str, str]:
    """Do all cells that are not finished, then write ``sweep.nc``.

    Args:
        sweep: what to run over.
        folder: where it lies; several sweeps may share it, and their common cells.
        scheduler: address of a dask scheduler, "tcp://HOST:PORT"; None: processes of this machine.
        workers: processes at a time on this machine; None: one for each core, or for each card where cells run on CUDA.
        retries: how often a cell is begun again whose process died on this machine.
        progress: show progress bars.

    Returns:
        The error of each cell that failed, by the name of its folder, which holds the traceback (ERROR.txt). ``sweep.nc`` lists
        them in its attribute ``failed``; it is not written if every cell failed.

    Raises:
        InvalidInputError: before anything runs, for unknown names and impossible values.
        KeyboardInterrupt: if interrupted; running cells write their checkpoints first.
    """
    root = Path(folder)
    cells = sweep.cells()
    require_count("retries", retries, least=0)
    require(scheduler is None or workers is None, "workers", "must not be given with a scheduler", workers)
    slots = [] if scheduler else _slots(cells, workers)
    left = [cell for cell in cells if not _is_finished(cell, root)]
    failed: dict[str, str] = {}
    shown = slots[: len(left)]
    with Board(len(cells), initial=len(cells) - len(left), n_workers=len(shown), show=progress) as board:
        if scheduler:
            outcomes = run_on_cluster(left, root, address=scheduler)
        else:
            outcomes = run_locally(left, root, slots=shown, retries=retries, board=board)
        with contextlib.closing(outcomes):  # whatever stops us stops the cells
            for number, error in outcomes:
                name = left[number].place(root).name
                board.ended(name, error)
                if error:
                    failed[name] = error
    for note in root.glob(".stop-*"):  # of interrupted sweeps on a cluster: their cells have come to an end by now
        note.unlink(missing_ok=True)
    if len(failed) < len(cells):
        gather_sweep(sweep, root, failed=failed)
    return failed


def gather_sweep(sweep: Sweep, folder: str | Path, *, failed: Mapping[str, str] | None = None) -> xr.Dataset:
    """Gather the results of a sweep and write ``sweep.nc``; nothing is run.

    Args:
        sweep: what was run.
        folder: where it lies.
        failed: cells to do without, by the name of their folder, with the reason.

    Returns:
        Dataset over the names of the grid; for a preset of kind "figure", see ``gather``, for a notebook what its
        ``result_path`` was given, with ``wall_time_s``. NaN where a cell failed; the attributes hold sweep and failures.

    Raises:
        StoreError: if the result of any other cell is missing or damaged; the first is named, and how many there are.
    """
    root, without = Path(folder), dict(failed or {})
    cells, points = sweep.cells(), sweep.points()
    kept = [number for number, cell in enumerate(cells) if cell.place(root).name not in without]
    loaded, bad = [], []
    for number in kept:
        try:
            loaded.append(cells[number].load(root))
        except StoreError as error:
            note = cells[number].place(root) / ERROR
            bad.append(f"{error}{f'; it failed, see {note}' if note.exists() else ''}")
    if bad:
        raise StoreError(f"{len(bad)} of {len(cells)} cells have no whole result; {bad[0]}")
    if sweep.is_notebook:
        together = _gather_notebooks(loaded, [points[number] for number in kept])
    else:
        together = gather(loaded, axes=list(sweep.axes().values()))
    together.attrs |= results.as_attrs({"sweep": sweep.to_dict(), "failed": without})
    results.save(together, root / GATHERED)
    return together


def sweep_table(sweep: Sweep, folder: str | Path) -> str:
    """Return a line for each cell: its values, and accuracy, loss and time, or that it failed."""
    root, lines = Path(folder), []
    for cell, point in zip(sweep.cells(), sweep.points(), strict=True):
        label = " ".join(f"{name}={json.dumps(value)}" for name, value in point.items())
        try:
            lines.append((label, _describe(cell.load(root))))
        except StoreError:
            lines.append((label, f"no result (see {cell.place(root)})"))
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label:<{width}}  {what}" for label, what in lines)


def _describe(data: xr.Dataset) -> str:
    if "n_total" not in data or "step" not in data.dims:
        return f"{float(data.wall_time_s):.0f} s"
    right, asked = data.n_correct.sum("depth").values.tolist(), data.n_total.sum("depth").values.tolist()
    counted = zip(data.n_passes.values.tolist(), right, asked, strict=True)
    accuracy = "  ".join(f"N={n}: {100 * good / total:.1f} % of {total}" for n, good, total in counted)
    last = data.isel(step=-1)
    return f"{accuracy}  loss {float(last.loss):.4f}  {float(last.elapsed_s):.0f} s"


def _gather_notebooks(loaded: Sequence[xr.Dataset], points: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    numbers = {name: all(isinstance(point[name], int | float) for point in points) for name in points[0]}
    placed = []
    for data, point in zip(loaded, points, strict=True):
        for name in point:
            clash = name in data.variables or name in data.dims
            require(
                not clash, f"grid {name}", "must not be a name in the notebook's own result", sorted(map(str, data.variables))
            )
        at = {name: [value if numbers[name] or isinstance(value, str) else json.dumps(value)] for name, value in point.items()}
        placed.append(data.expand_dims(at))
    return xr.merge(placed, compat="no_conflicts", join="outer", combine_attrs="drop")


def _is_finished(cell: Cell, root: Path) -> bool:
    try:
        cell.load(root)
    except StoreError:
        return False
    return True


def _slots(cells: Sequence[Cell], workers: int | None) -> list[dict[str, str]]:
    """Return the environment of each worker: where cells run on CUDA each sees one card, which workers beyond these share."""
    require_count("workers", workers, or_none=True)
    devices = {cell.settings.device for cell in cells if isinstance(cell, TrainCell)}
    require(devices <= {"cpu", "cuda"}, "device", "must be 'cpu' or 'cuda' in a sweep, which deals out the cards", devices)
    if "cuda" not in devices:
        return [{} for _ in range(workers or len(os.sched_getaffinity(0)))]
    import torch

    n_cards = torch.cuda.device_count()
    require(n_cards > 0, "device", "must be 'cpu' where there is no CUDA device", "cuda")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = visible.split(",")[:n_cards] if visible else [str(number) for number in range(n_cards)]
    return [{"CUDA_VISIBLE_DEVICES": cards[number % n_cards]} for number in range(workers or n_cards)]
