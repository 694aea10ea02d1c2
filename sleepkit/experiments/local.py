"""The cells of a sweep on this machine: so many at a time, each in a process of its own.

A process for each cell costs seconds of start-up and gives what a pool of lasting ones does not: a cell that kills its process
takes no other with it, and every cell begins from the same state.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

import sleepkit
from sleepkit.experiments.board import Board
from sleepkit.experiments.work import Cell, leave_error, to_text

_GRACE_S = 60


def run_locally(
    cells: Sequence[Cell], root: Path, *, slots: Sequence[Mapping[str, str]], retries: int, board: Board
) -> Generator[tuple[int, str], None, None]:
    """Do cells; give the number of each with "" or its error, in the order in which they end.

    Args:
        cells: what to do.
        root: the sweep's folder.
        slots: extra environment variables of each worker; there are as many workers.
        retries: how often a cell is begun again whose process died.
        board: shows where each cell stands.

    Raises:
        KeyboardInterrupt: after every running cell has written its checkpoint and ended.
    """
    pool = _Pool(root, slots, retries, board)
    with ThreadPoolExecutor(max_workers=max(1, len(slots))) as threads:
        futures: dict[Future[str], int] = {threads.submit(pool.do, cell): number for number, cell in enumerate(cells)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:  # the end, an interrupt, or a caller that wants no more
            pool.stop()


class _Pool:
    """The processes that run now."""

    def __init__(self, root: Path, slots: Sequence[Mapping[str, str]], retries: int, board: Board) -> None:
        self._root, self._retries, self._board = root, retries, board
        self._free: SimpleQueue[tuple[int, Mapping[str, str]]] = SimpleQueue()
        for number, environment in enumerate(slots):
            self._free.put((number, environment))
        self._running: set[subprocess.Popen[str]] = set()
        self._lock, self._stopping = threading.Lock(), False

    def do(self, cell: Cell) -> str:
        """Do one cell, in as many processes as it takes; return "" or its error."""
        slot, environment = self._free.get()
        try:
            for _ in range(1 + self._retries):
                status, error, details = self._attempt(cell, slot, environment)
                if error is not None or self._stopping:
                    return error or ""
        finally:
            self._free.put((slot, environment))
        died = f"its process died {1 + self._retries} times, the last time with exit status {status}"
        return leave_error(cell.place(self._root), died, f"{died}\n{details}")

    def stop(self) -> None:
        """Let every running cell write its checkpoint, and begin no other; a second interrupt waits for nothing."""
        with self._lock:
            self._stopping = True
            running = list(self._running)
        try:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(timeout=_GRACE_S)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            for process in running:
                process.kill()

    def _attempt(self, cell: Cell, slot: int, environment: Mapping[str, str]) -> tuple[int, str | None, str]:
        """Run a process; return its exit status, the outcome it told (None if it told none) and the end of its complaints."""
        with tempfile.TemporaryFile("w+") as complaints:
            process = self._start(environment, complaints.fileno())
            if process is None:
                return 0, None, ""
            assert process.stdin is not None
            assert process.stdout is not None
            error = None
            try:
                with process:
                    process.stdin.write(json.dumps({"cell": to_text(cell), "root": str(self._root)}) + "\n")
                    process.stdin.flush()  # and kept open: when this process ends, however it does, the other one reads the end
                    for line in process.stdout:
                        told = json.loads(line)
                        error = told.get("error", error)
                        if "row" in told:
                            self._board.row(slot, cell.place(self._root).name, *told["row"])
            except BrokenPipeError:  # it died before it read its cell
                process.wait()
            finally:
                self._running.discard(process)
            complaints.seek(0)
            return process.returncode, error, complaints.read()[-4000:]

    def _start(self, environment: Mapping[str, str], complaints: int) -> "subprocess.Popen[str] | None":
        """Start a process in a session of its own, which Ctrl-C does not reach: ``stop`` tells it, once."""
        place = str(Path(sleepkit.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
        with self._lock:
            if self._stopping:
                return None
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sleepkit.experiments.job"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                env={**os.environ, "PYTHONPATH": path, **environment},
                start_new_session=True,
            )
            self._running.add(process)
            return process
