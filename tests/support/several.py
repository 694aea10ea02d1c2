"""Train a run in its own processes: ``torchrun ... -m tests.support.several SETTINGS_FILE FOLDER [STOP_AFTER]``."""

import os
import signal
import sys
from pathlib import Path

import torch

from sleepkit.training import TrainSettings, train

INTERRUPTED = 7


def main(settings: str, folder: str, moment: str = "") -> None:
    """Train; stop on request of the last process after a step ("stop-K"), or let it die there ("die-K")."""
    what, _, step = moment.partition("-")
    done: list[int] = []
    last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)

    def seen(number: int, _: dict[str, float]) -> None:
        done.append(number)
        if what == "die" and last and number == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    try:
        train(
            TrainSettings.from_json(Path(settings).read_text()),
            folder=folder,
            progress=False,
            on_row=seen,
            should_stop=lambda: what == "stop" and last and done[-1] == int(step),
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main(*sys.argv[1:])
