"""Train the tiny run in a process that is asked to end: ``python -m tests.support.asked_run FOLDER SIGNAL WHEN STEP``.

WHEN is ``after-step`` (the step is whole) or ``in-update`` (its weights are half changed).
"""

import os
import signal
import sys

from sleepkit.training import train
from sleepkit.training.optimiser import Optimiser
from tests.support.runs import tiny_settings


def main(folder: str, name: str, when: str, step: str) -> None:
    """Train until the moment comes, then send the signal to this very process."""
    number, last = getattr(signal, name), int(step)
    update, n_updates = Optimiser.update, iter(range(1, 1000))

    def update_and_ask(optimiser: Optimiser) -> object:
        norm = update(optimiser)
        if when == "in-update" and next(n_updates) == last:
            os.kill(os.getpid(), number)
        return norm

    Optimiser.update = update_and_ask  # type: ignore[method-assign, assignment]
    train(
        tiny_settings(checkpoint_every=1000),
        folder=folder,
        progress=False,
        on_row=lambda done, _: os.kill(os.getpid(), number) if when == "after-step" and done == last else None,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have been told to ignore them
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    main(*sys.argv[1:])
