"""Train the tiny run in a process of its own and die at a planned moment: ``python -m tests.support.killed_run FOLDER MOMENT``.

MOMENT is ``after-step-K`` (the step is done, its checkpoint is not) or ``while-writing-K`` (checkpoint K is half on the disk).
"""

import os
import signal
import sys
from pathlib import Path

from sleepkit.files import writer
from sleepkit.training import train
from tests.support.runs import tiny_settings


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, moment: str) -> None:
    """Train until the moment comes."""
    kind, _, step = moment.rpartition("-")
    sync = writer.sync

    def sync_or_die(path: Path) -> None:
        if kind == "while-writing" and f"checkpoint-{int(step):08d}" in str(path):
            die()
        sync(path)

    writer.sync = sync_or_die
    train(
        tiny_settings(),
        folder=folder,
        progress=False,
        on_row=lambda done, _: die() if kind == "after-step" and done == int(step) else None,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
