"""What lies in a folder of runs: every run with its settings, its history and whether it trains; what cannot be read, and why."""

import collections
import dataclasses
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import xarray as xr

from sleepkit import results
from sleepkit.errors import SleepkitError, StoreError, one_line, refuse
from sleepkit.experiments.work import LOCK
from sleepkit.files.holds import is_held
from sleepkit.files.leftovers import retired
from sleepkit.training import TrainSettings, passes_at
from sleepkit.training.checkpoint import NOTE, checkpoints, read_progress, read_settings, step_of
from sleepkit.training.history import Row, Validation, as_dataset
from sleepkit.training.live import LIVE, read_live

HISTORY, MODEL, PUBLISHED = "history.nc", Path("model", "model.safetensors"), "published"
Status = Literal["training", "finished", "stopped", "failed", "interrupted", "new"]
_ETA_ROWS = 10
_Stamp = tuple[tuple[int, int] | None, ...]


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run as it is found on the disk.

    Attributes:
        key: its folder, relative to the root.
        folder: its folder.
        settings: what it is.
        status: "training"; "finished"; "stopped" with a checkpoint; "failed"; "interrupted" (its process is gone without a word);
            "new" (it has no step yet, and no process).
        history: see ``training.Run``; no steps if it has none yet.
        n_steps: step of the newest row, or of the newest checkpoint where that is later.
        error: why it failed.
        pid: its process, where it trains on this machine; else None.
        in_sweep: whether a sweep runs it now, and would begin it again.
        published: the folder of the model with its card; None if it was not published.
        changed_s: when its newest row or its settings were written, seconds since the epoch.
    """

    key: str
    folder: Path
    settings: TrainSettings
    status: Status
    history: xr.Dataset
    n_steps: int
    error: str = ""
    pid: int | None = None
    in_sweep: bool = False
    published: Path | None = None
    changed_s: float = 0.0

    @property
    def can_resume(self) -> bool:
        """Whether there is something left to do, and nobody does it."""
        return self.status not in ("training", "finished")

    @property
    def tokens_per_step(self) -> int:
        """Tokens read in a step."""
        return self.settings.batch_size * _seq_len(self.settings)

    def eta_s(self) -> float | None:
        """Return the seconds left at the speed of the last rows; None if it does not train or has no row yet."""
        rows = self.history.sizes["step"]
        if self.status != "training" or rows == 0:
            return None
        steps, elapsed = self.history.step.values, self.history.elapsed_s.values
        first = max(0, rows - 1 - _ETA_ROWS)
        made, took = (steps[-1] - steps[first], elapsed[-1] - elapsed[first]) if rows > 1 else (steps[-1], elapsed[-1])
        return float(took / made * (self.settings.steps - steps[-1]))


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A folder that is no whole run: its name and why it cannot be shown."""

    key: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Shelf:
    """Everything found in a root, in the order of names."""

    runs: tuple[RunRecord, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def get(self, key: str) -> RunRecord:
        """Return a run.

        Raises:
            InvalidInputError: if there is none of that name.
        """
        for run in self.runs:
            if run.key == key:
                return run
        return refuse("run", "must be a run in the store", key)


class RunStore:
    """A folder of runs; a file is read again only if its time or length has changed. Safe across threads.

    Args:
        root: the folder; it may come later.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Stamp, RunRecord | Unreadable]] = {}
        self._shelf = Shelf()
        self.n_read = 0

    def scan(self) -> Shelf:
        """Look at the disk; return what is there now, the same object if nothing has changed."""
        with self._lock:
            found = {folder.relative_to(self.root).as_posix(): folder for folder in self._folders()}
            known = {key: self._look(key, folder) for key, folder in sorted(found.items())}
            seen = [each for _, each in known.values()]
            if known.keys() != self._known.keys() or any(known[key] is not self._known[key] for key in known):
                runs = tuple(each for each in seen if isinstance(each, RunRecord))
                self._shelf = Shelf(runs, tuple(each for each in seen if isinstance(each, Unreadable)))
            self._known = known
            return self._shelf

    def _folders(self) -> Iterator[Path]:
        """Yield the folders of runs: those of the root, and those of a sweep's folder in it."""
        for folder in _subfolders(self.root):
            inner = [] if (folder / NOTE).exists() else [each for each in _subfolders(folder) if (each / NOTE).exists()]
            yield from inner or [folder]

    def _look(self, key: str, folder: Path) -> tuple[_Stamp, RunRecord | Unreadable]:
        checkpoint = _newest_checkpoint(folder)
        files = [NOTE, LIVE, HISTORY, str(MODEL), f"{PUBLISHED}/{folder.name}/card.json"]
        held = is_held(folder / LIVE)
        stamp: _Stamp = (
            *(_stamp(folder / name) for name in files),
            _stamp(checkpoint / "progress.json") if checkpoint else None,
            (int(held), int(held and is_held(folder / LOCK))),
        )
        if key in self._known and self._known[key][0] == stamp:
            return self._known[key]
        self.n_read += 1
        try:
            return stamp, _read(key, folder, checkpoint, held)
        except (SleepkitError, OSError) as error:
            return stamp, Unreadable(key, one_line(error))


@functools.cache
def shared_store(root: Path) -> RunStore:
    """Return this process's store of an absolute root."""
    return RunStore(root)


class DrawnPasses:
    """Counts how often each N was drawn up to a step. N is a pure function of settings and step, so every step counts."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, collections.Counter[int]]] = {}

    def counts(self, run: RunRecord) -> dict[int, int]:
        """Return the number of steps made with each N, by rising N."""
        settings, digest = run.settings, run.settings.digest()
        if settings.n_passes_weights is None:
            return {settings.sleep.n_passes: run.n_steps}
        done, counter = self._known.get(digest, (0, collections.Counter()))
        if run.n_steps < done:
            done, counter = 0, collections.Counter()
        counter.update(passes_at(settings, step) for step in range(done, run.n_steps))
        self._known[digest] = (run.n_steps, counter)
        return dict(sorted(counter.items()))


def _read(key: str, folder: Path, checkpoint: Path | None, held: bool) -> RunRecord:
    note = folder / NOTE
    if not note.exists():
        raise StoreError(
            f"folder: must hold the {NOTE} of a training run, got {sorted(each.name for each in folder.iterdir())[:5]}"
        )
    settings = read_settings(folder)
    saved = (step_of(checkpoint) or 0) if checkpoint else 0
    model = (folder / MODEL).exists() or retired(folder / MODEL.parent) is not None  # it may be on its way to its place
    finished = model and (folder / HISTORY).exists()
    told = read_live(folder) if (folder / LIVE).exists() else None
    if finished and not held:
        history = results.load(folder / HISTORY)
    else:
        history = _history(folder, told.rows, told.validations) if told else _saved_history(folder, checkpoint)
    rows = history.sizes.get("step", 0)
    n_steps = max(saved, int(history.step[-1]) if rows else 0)
    status: Status = "new" if told is None and not n_steps else "interrupted"
    if held:
        status = "training"
    elif finished:
        status = "finished"
    elif told is not None and told.outcome in ("stopped", "failed"):
        status = told.outcome
    elif told is not None and told.began is None:
        status = "new"
    here = held and told is not None and told.began is not None and told.began["host"] == os.uname().nodename
    card = folder / PUBLISHED / folder.name / "card.json"
    return RunRecord(
        key=key,
        folder=folder,
        settings=settings,
        status=status,
        history=history,
        n_steps=n_steps,
        error=told.error if told and status == "failed" else "",
        pid=told.began["pid"] if here and told and told.began else None,
        in_sweep=held and is_held(folder / LOCK),
        published=card.parent if card.exists() else None,
        changed_s=max(each.stat().st_mtime for each in (note, folder / LIVE, folder / HISTORY) if each.exists()),
    )


def _history(folder: Path, rows: Sequence[Row], validations: Sequence[Validation]) -> xr.Dataset:
    try:
        return as_dataset(rows, validations)
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(f"history: must hold whole rows ({error!r}), got {str(folder)!r}") from None


def _saved_history(folder: Path, checkpoint: Path | None) -> xr.Dataset:
    """Return the history that the newest checkpoint holds: an earlier version wrote no live log."""
    if checkpoint is None:
        return as_dataset([], [])
    path = checkpoint / "progress.json"
    try:
        data = read_progress(checkpoint)
        return _history(folder, data["rows"], data["validations"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"checkpoint: must be whole ({error!r}), got {str(path)!r}") from None


@functools.lru_cache(maxsize=1024)
def _seq_len_of(text: str) -> int:
    return TrainSettings.from_json(text).task.create().seq_len


def _seq_len(settings: TrainSettings) -> int:
    return _seq_len_of(settings.to_json())


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _newest_checkpoint(folder: Path) -> Path | None:
    found = checkpoints(folder)
    return found[-1] if found else None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_size
