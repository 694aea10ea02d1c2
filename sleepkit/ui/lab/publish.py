"""A finished run made ready for the explorer: counted on held-out examples and written with its card into its own folder."""

import functools
from pathlib import Path

from sleepkit import results, zoo
from sleepkit.errors import require
from sleepkit.model import HybridLM
from sleepkit.training import Run
from sleepkit.ui.compute import Progress, Worker
from sleepkit.ui.lab.store import HISTORY, MODEL, PUBLISHED, RunRecord

N_EXAMPLES = 512
# The passes that the explorer can ask for without measuring anew.
N_PASSES = range(1, 9)


def publish(run: RunRecord, label: str, *, on_batch: Progress | None = None) -> Path:
    """Evaluate a finished run and write model and card beside it; return their folder.

    Args:
        run: a finished run.
        label: what it is called, for the card's summary.
        on_batch: called with batches done and batches in all; may raise to cancel, and then nothing is written.

    Raises:
        InvalidInputError: if it is not finished.
        CheckpointError: if its model is damaged.
        StoreError: if its history is.
    """
    require(run.status == "finished", "run", "must be finished", f"{run.key} ({run.status})")
    made = Run(
        model=HybridLM.load((run.folder / MODEL).parent).eval(),
        history=results.load(run.folder / HISTORY),
        folder=run.folder,
        settings=run.settings,
    )
    target = run.folder / PUBLISHED / run.folder.name
    summary = f"{label}: {run.settings.steps:,} steps on {run.settings.task.name}."
    zoo.publish(made, target, summary=summary, n_passes=N_PASSES, n_examples=N_EXAMPLES, progress=False, on_batch=on_batch)
    return target


@functools.cache
def shared_publisher() -> Worker:
    """Return the thread of this process that publishes, one run after another."""
    return Worker("publish")
