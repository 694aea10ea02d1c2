"""Sweeps of seconds, and their command line; as a program with a FOLDER it holds that cell until it dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sleepkit.experiments.work import owned

REPOSITORY = Path(__file__).parents[2]
TINY = ["batch_size=8", "checkpoint_every=20", "model.width=8", "model.n_heads=2", "log_every=10", "n_passes_weights=null"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def arguments(folder: Path, *more: str, steps: int = 4) -> list[str]:
    """Return a command that sweeps N = 1, 2 over the tiny preset."""
    overrides = [part for override in (*TINY, f"steps={steps}") for part in ("--set", override)]
    grid = ["--grid", "sleep.n_passes=1,2"]
    return ["sweep", "rule110-explorer", *grid, *overrides, "--n-examples=8", "--quiet", "--folder", str(folder), *more]


def start(*command: str) -> "subprocess.Popen[str]":
    """Start ``python -m COMMAND`` from the repository."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen_to_interrupts,
    )


def _listen_to_interrupts() -> None:
    """Undo what a shell does to its background jobs, in which these tests may run: SIGINT and SIGHUP would be ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for_owner(folder: Path, *, timeout_s: float = 240) -> int:
    """Return the process that works on a cell which has written a checkpoint and no result."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        for checkpoint in folder.glob("*/checkpoint-*"):
            if not (checkpoint.parent / "result.nc").exists():
                return int((checkpoint.parent / ".lock").read_text().split()[1])
        time.sleep(0.05)
    raise AssertionError(f"no cell of {folder} got as far as a checkpoint within {timeout_s} s")


def kill(process: int) -> None:
    """End a process as the system does when memory runs out."""
    os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    with owned(Path(sys.argv[1])):
        time.sleep(600)
