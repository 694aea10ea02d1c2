"""The live log of a run: what its history holds so far, for whoever looks on while it trains.

run folder/
  live.jsonl    one JSON object a line: {"began": ...}, {"row": ...}, {"validation": ...}, ..., {"ended": ...}

Checkpoints are the truth; the log is written anew from the checkpoint whenever the run goes on. A process holds the file while it
trains, and the hold ends with the process, however it dies: so anybody can tell a run that trains from one that was killed, and
no two processes train in one folder.
"""

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sleepkit.errors import CheckpointError, StoreError, one_line
from sleepkit.files import holds, seals
from sleepkit.training.history import Row, Validation

LIVE = "live.jsonl"
Outcome = Literal["finished", "stopped", "failed"]
_PATIENCE_S = 2.0  # a reader holds the file for some microseconds, to see whether it can


class LiveLog:
    """Writes the log; every line goes out whole, in one call, so that a reader sees at most one torn line, the last.

    Args:
        folder: the run's folder.

    Raises:
        CheckpointError: if another process trains there.
    """

    def __init__(self, folder: Path) -> None:
        hold = holds.take(folder / LIVE, patience_s=_PATIENCE_S)
        if hold is None:
            raise CheckpointError(f"folder: must be trained in by one process at a time, got {str(folder)!r}")
        self._hold = hold

    def begin(self, rows: Sequence[Row], validations: Sequence[Validation]) -> None:
        """Write the log anew: who trains, and the history up to the checkpoint it goes on from."""
        began = {"pid": os.getpid(), "host": socket.gethostname(), "time_s": round(time.time(), 3)}
        known = [*({"row": row} for row in rows), *({"validation": each} for each in validations)]
        os.truncate(self._hold.handle, 0)
        self._write({"began": began}, *known)

    def row(self, row: Row) -> None:
        """Add a row of the history."""
        self._write({"row": row})

    def validation(self, validation: Validation) -> None:
        """Add counts on held-out examples."""
        self._write({"validation": validation})

    def end(self, outcome: Outcome, error: str = "") -> None:
        """Say how it ended."""
        self._write({"ended": {"outcome": outcome, "error": " ".join(error.split())[:500]}})

    def close(self) -> None:
        """Let the file go."""
        self._hold.release()

    def _write(self, *lines: dict[str, Any]) -> None:
        data = "".join(map(seals.json_line, lines)).encode()
        while data:
            data = data[os.write(self._hold.handle, data) :]


@contextlib.contextmanager
def ends_told(log: LiveLog | None) -> Iterator[None]:
    """Write how the work inside ended, and let the file go; with None, do neither."""
    if log is None:
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        log.end("stopped")
        raise
    except BaseException as error:
        log.end("failed", f"{type(error).__name__}: {error}")
        raise
    else:
        log.end("finished")
    finally:
        log.close()


@dataclasses.dataclass(frozen=True)
class Told:
    """What a live log tells.

    Attributes:
        began: process id, host and time (seconds since the epoch) of the process that wrote it; None if it never came so far.
        rows: rows of the history, in order.
        validations: counts on held-out examples, in order.
        outcome: how it ended; None if it goes on or was killed, see ``files.holds``.
        error: what went wrong, where something did.
    """

    began: dict[str, Any] | None = None
    rows: tuple[Row, ...] = ()
    validations: tuple[Validation, ...] = ()
    outcome: Outcome | None = None
    error: str = ""


def read_live(folder: Path) -> Told:
    """Read the live log of a run; a torn last line is still being written, or never will be.

    Raises:
        StoreError: if there is none, or another line is damaged; file and line are named.
    """
    path = folder / LIVE
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"path: must be the live log of a run ({one_line(error)}), got {str(path)!r}") from None
    rows: list[Row] = []
    validations: list[Validation] = []
    began, outcome, why = None, None, ""
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            ((kind, value),) = seals.line_data(line, source=path).items()
            if kind == "row":
                rows.append({name: float(measured) for name, measured in value.items()})
            elif kind == "validation":
                validations.append({**value, "step": int(value["step"])})
            elif kind == "began":
                began = {"pid": int(value["pid"]), "host": str(value["host"]), "time_s": float(value["time_s"])}
            elif kind == "ended":
                outcome, why = value["outcome"], str(value["error"])
            else:
                raise ValueError(f"unknown kind {kind!r}")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreError(f"path: must hold a live log, got line {number} of {str(path)!r}: {line[:60]!r}") from None
    return Told(began, tuple(rows), tuple(validations), outcome, why)
