"""A run in a process of its own that outlives whoever started it: ``python -m sleepkit.experiments.detached FOLDER``.

The folder holds the run's settings, and a checkpoint where the run goes on. An interrupt or a request to end (SIGINT, SIGTERM)
lets the step be made and its checkpoint be written; a second one waits for nothing.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import sleepkit
from sleepkit.errors import SleepkitError
from sleepkit.training import train
from sleepkit.training.checkpoint import read_settings

OUTPUT = "output.txt"


def start(folder: Path, *, holding: int) -> "subprocess.Popen[bytes]":
    """Start or go on with the run of a folder, in a session of its own.

    Args:
        folder: the run's folder, with its settings; what the process prints goes into ``output.txt`` there.
        holding: a file handle the process inherits, and with it the hold on that file.
    """
    place = str(Path(sleepkit.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
    with (folder / OUTPUT).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sleepkit.experiments.detached", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=(holding,),
            start_new_session=True,
        )


def main(folder: str) -> int:
    """Train the run of a folder; return 0 if it is finished, 2 if it was refused, 130 if it was stopped with a checkpoint."""
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)  # even where whoever started us ignores it, as a shell does for what runs behind it
    try:
        train(read_settings(Path(folder)), folder=folder, progress=False, should_stop=lambda: bool(asked))
    except SleepkitError as error:
        print(f"sleepkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
