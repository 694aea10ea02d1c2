"""One cell of a sweep, done by whoever takes it: a process of this machine or a worker of a cluster.

A cell travels as plain JSON and leaves everything in a folder of its own, named by its digest:

sweep folder/
  sweep.nc                 all results, gathered
  NAME-DIGEST/             one cell
    .lock                  who works on it; held by the process, so it ends with the process
    ERROR.txt              the traceback, if it failed
    result.nc              its result; beside it a run folder, or the executed notebook
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from sleepkit import notebook, results
from sleepkit.errors import StoreError, require
from sleepkit.experiments.cell import RESULT, cell_folder, load_cell, run_cell
from sleepkit.files import holds, write_whole
from sleepkit.settings import Settings, settings
from sleepkit.training import TrainSettings

ERROR, LOCK = "ERROR.txt", ".lock"
_STOP_LOOK_S = 1.0
_ONE_AT_A_TIME = threading.Lock()  # torch's generator and thread count belong to the process, not to one of its threads


@dataclasses.dataclass(frozen=True)
class Hooks:
    """How a cell talks to whoever runs it.

    Attributes:
        on_row: called with the step, all steps and the loss, at each row of the history.
        should_stop: asked after every step; True ends the cell with a checkpoint.
    """

    on_row: Callable[[int, int, float], None] = lambda *_: None
    should_stop: Callable[[], bool] = lambda: False


class Cell(Protocol):
    """What a sweep is made of."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        ...

    def place(self, root: Path) -> Path:
        """Return the cell's folder."""
        ...

    def load(self, root: Path) -> xr.Dataset:
        """Return the finished result, or raise a StoreError that names the file."""
        ...

    def run(self, root: Path, hooks: Hooks) -> None:
        """Do the work; what an earlier attempt finished is not done again."""
        ...


@settings
class TrainCell(Settings):
    """A training run and the counts of its answers.

    Attributes:
        settings: the run.
        n_passes: the N to count answers at.
        n_examples: examples for each N.
    """

    settings: TrainSettings
    n_passes: tuple[int, ...]
    n_examples: int

    def place(self, root: Path) -> Path:
        """Return the cell's folder, which is the run's."""
        return cell_folder(self.settings, root)

    def load(self, root: Path) -> xr.Dataset:
        """Return the finished result; see ``load_cell``."""
        return load_cell(self.settings, root, n_passes=self.n_passes, n_examples=self.n_examples)

    def run(self, root: Path, hooks: Hooks) -> None:
        """Train and count; see ``run_cell``."""
        run_cell(
            self.settings,
            root=root,
            n_passes=self.n_passes,
            n_examples=self.n_examples,
            progress=False,
            on_row=lambda step, row: hooks.on_row(step, self.settings.steps, row["loss"]),
            should_stop=hooks.should_stop,
        )


@settings
class NotebookCell(Settings):
    """A notebook with parameters.

    A notebook that declares the parameter ``result_path`` is given one, and must write a Dataset there.

    Attributes:
        path: the notebook.
        source: digest of the notebook's text when the sweep began.
        parameters: values by name.
        timeout_s: the longest one of its code cells may take, seconds.
    """

    path: str
    source: str
    parameters: dict[str, Any]
    timeout_s: int

    def digest(self) -> str:
        """Return 16 hex digits that identify source and parameters, wherever the file lies."""
        return _digest(json.dumps([self.source, self.parameters], sort_keys=True).encode())

    def place(self, root: Path) -> Path:
        """Return the cell's folder."""
        return root / f"{Path(self.path).stem}-{self.digest()}"

    def load(self, root: Path) -> xr.Dataset:
        """Return the finished result.

        Raises:
            StoreError: if the result or the executed notebook is missing or damaged; the file is named.
        """
        path = self.place(root) / RESULT
        known = results.load(path)
        executed = path.with_name("notebook.ipynb")
        if known.attrs.get("digest") != self.digest() or not executed.exists():
            raise StoreError(f"path: must lie beside {executed.name!r} and have the digest of its folder, got {str(path)!r}")
        return known

    def run(self, root: Path, hooks: Hooks) -> None:  # noqa: ARG002 - a notebook has no steps
        """Run the notebook, then write what it left and how long it took."""
        place, began = self.place(root), time.perf_counter()
        require(source_digest(self.path) == self.source, "notebook", "must not change while its sweep runs", self.path)
        own, wanted = place / "notebook.nc", "result_path" in notebook.notebook_parameters(self.path)
        given = {**self.parameters, "result_path": str(own.resolve())} if wanted else self.parameters
        notebook.run_notebook(self.path, place / "notebook.ipynb", given, timeout_s=self.timeout_s, progress=False)
        left = results.load(own) if wanted else xr.Dataset()
        left = left.assign(wall_time_s=time.perf_counter() - began)
        left.attrs |= results.as_attrs({"digest": self.digest(), "parameters": self.parameters, **results.provenance()})
        results.save(left, place / RESULT)


def source_digest(path: str | Path) -> str:
    """Return 16 hex digits that identify the text of a notebook."""
    return _digest(Path(path).read_bytes())


def to_text(cell: Cell) -> str:
    """Return a cell as JSON."""
    return json.dumps({"kind": type(cell).__name__, "cell": cell.to_dict()})


def from_text(text: str) -> Cell:
    """Return the cell that ``to_text`` wrote."""
    kinds: dict[str, type[TrainCell] | type[NotebookCell]] = {"TrainCell": TrainCell, "NotebookCell": NotebookCell}
    data = json.loads(text)
    return kinds[data["kind"]].from_dict(data["cell"])


def do_cell(text: str, root: str, stop_note: str = "", hooks: Hooks | None = None) -> str:
    """Do one cell, unless it is finished already; wait for whoever works on it.

    Args:
        text: the cell, see ``to_text``.
        root: the sweep's folder.
        stop_note: a file in that folder; once it is there, the cell ends with a checkpoint.
        hooks: who else wants to know, or to stop it.

    Returns:
        "" if the cell is finished, the error's last line if it failed (its traceback is in ERROR.txt then).

    Raises:
        KeyboardInterrupt: if it was stopped by its hooks or a signal.
    """
    cell, folder = from_text(text), Path(root)
    if stop_note:
        hooks = Hooks(should_stop=_looks_for(folder / stop_note))
    place = cell.place(folder)
    with _ONE_AT_A_TIME, owned(place):
        with contextlib.suppress(StoreError):
            cell.load(folder)
            return ""
        (place / ERROR).unlink(missing_ok=True)
        try:
            cell.run(folder, hooks or Hooks())
        except KeyboardInterrupt:
            if not stop_note:
                raise
            return "stopped"  # an interrupt that escapes would end the cluster's worker
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in one cell, the others go on
            return leave_error(place, f"{type(error).__name__}: {error}", traceback.format_exc())
    return ""


def leave_error(place: Path, summary: str, details: str) -> str:
    """Write ERROR.txt into a cell's folder; return the summary as one line."""
    write_whole(place / ERROR, details)
    return " ".join(summary.split())[:300]


@contextlib.contextmanager
def owned(place: Path) -> Iterator[None]:
    """Hold a cell's folder; wait while another process holds it. The hold ends with the process, however it dies."""
    place.mkdir(parents=True, exist_ok=True)
    with holds.turn(place / LOCK) as handle:
        os.truncate(handle, 0)
        os.write(handle, f"{socket.gethostname()} {os.getpid()}\n".encode())
        yield


def _looks_for(note: Path) -> Callable[[], bool]:
    """Return a question that looks at the disk once a second at most."""
    looked = time.monotonic()

    def is_there() -> bool:
        nonlocal looked
        if time.monotonic() - looked < _STOP_LOOK_S:
            return False
        looked = time.monotonic()
        return note.exists()

    return is_there


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
