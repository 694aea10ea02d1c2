"""Runs in processes of their own: started, stopped with a checkpoint, gone on with. They outlive the page and its server."""

import os
import signal
import subprocess
import threading
from pathlib import Path

from sleepkit.errors import refuse, require, require_count
from sleepkit.experiments import detached
from sleepkit.experiments.cell import cell_folder
from sleepkit.files import holds
from sleepkit.files.holds import is_held
from sleepkit.training import TrainSettings
from sleepkit.training.checkpoint import NOTE, claim_folder
from sleepkit.training.live import LIVE
from sleepkit.ui.lab.store import RunRecord

_DESK = ".lab"


class Launcher:
    """Starts and stops the runs of one root.

    Each run that was started from a page holds one of the root's few seats, a locked file that its process inherits; so the limit
    holds across servers and their restarts, and a process that dies gives its seat back.

    Args:
        root: the folder of all runs.
        limit: how many runs may train at a time that were started from a page.
        read_only: refuse everything.

    Raises:
        InvalidInputError: if the limit is below 1.
    """

    def __init__(self, root: Path, *, limit: int = 1, read_only: bool = False) -> None:
        require_count("limit", limit)
        self._root, self._limit, self.read_only = root, limit, read_only
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self, settings: TrainSettings) -> str:
        """Start a new run; return its key.

        Raises:
            InvalidInputError: if the page may only look, the run exists already, or all seats are taken.
        """
        self.require_writable("start")
        folder = cell_folder(settings, self._root)
        require(not (folder / NOTE).exists(), "run", "must be new; this one is in the list", folder.name)
        self._launch(folder, settings)
        return folder.name

    def resume(self, run: RunRecord) -> None:
        """Go on with a run from its newest checkpoint.

        Raises:
            InvalidInputError: if the page may only look, the run is finished or trains, or all seats are taken.
        """
        self.require_writable("resume")
        require(run.can_resume, "run", "must be unfinished and stand still", f"{run.key} ({run.status})")
        self._launch(run.folder, run.settings)

    def stop(self, run: RunRecord) -> None:
        """Ask a run to write a checkpoint and end; it may take a step or two.

        Raises:
            InvalidInputError: if the page may only look, or the run does not train as a single run on this machine.
        """
        self.require_writable("stop")
        require(run.status == "training", "run", "must be training", f"{run.key} ({run.status})")
        require(not run.in_sweep, "run", "must not belong to a sweep that runs, which would begin it again", run.key)
        if run.pid is None:
            refuse("run", "must train on this machine", run.key)
        # Asked again at the last moment: a process that has ended has left its number to others.
        require(is_held(run.folder / LIVE), "run", "must be training", f"{run.key} (ended)")
        os.kill(run.pid, signal.SIGINT)

    def starting(self) -> set[str]:
        """Return the keys of runs whose process lives but has not taken its log yet."""
        with self._lock:
            ended = [key for key, process in self._processes.items() if process.poll() is not None]
            for key in ended:
                del self._processes[key]
            return {key for key in self._processes if not is_held(self._root / key / LIVE)}

    def require_writable(self, what: str) -> None:
        """Refuse to change anything where the page may only look.

        Raises:
            InvalidInputError: if it may.
        """
        require(not self.read_only, what, "must not be asked of a page that only looks (read_only)", self._root.name)

    def _launch(self, folder: Path, settings: TrainSettings) -> None:
        with self._lock:
            seat = self._take_seat()
            try:
                claim_folder(folder, settings)
                process = detached.start(folder, holding=seat.handle)
            except BaseException:
                seat.release()
                raise
            seat.hand_over(process.pid)
            self._processes[folder.relative_to(self._root).as_posix()] = process

    def _take_seat(self) -> holds.Hold:
        """Return a seat that was free and is held now."""
        (self._root / _DESK).mkdir(parents=True, exist_ok=True)
        for number in range(self._limit):
            if seat := holds.take(self._root / _DESK / f"seat-{number}"):
                return seat
        rule = f"must be at most {self._limit} at a time that were started from here; wait for it, or stop it"
        return refuse("runs", rule, self._limit + 1)
