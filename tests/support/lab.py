"""Stores of runs for the lab page."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sleepkit.training import Run, TrainSettings, train
from sleepkit.ui.lab.store import RunRecord, RunStore
from tests.support.runs import tiny_settings

WAIT_S = 120.0


def finished_run(root: Path, folder: str = "", **changes: Any) -> Run:
    """Train the tiny run in a store."""
    settings = tiny_settings(**changes)
    return train(settings, folder=root / (folder or f"{settings.name}-{settings.digest()}"), progress=False)


def stopped_run(root: Path, *, after: int, **changes: Any) -> TrainSettings:
    """Train the tiny run for some steps and stop it with a checkpoint."""
    settings, seen = tiny_settings(**changes), list[int]()
    with pytest.raises(KeyboardInterrupt):
        train(
            settings,
            folder=root / f"{settings.name}-{settings.digest()}",
            progress=False,
            on_row=lambda step, _: seen.append(step),
            should_stop=lambda: len(seen) == after,
        )
    return settings


def long_settings(**changes: Any) -> TrainSettings:
    """Return a run that nobody would wait for."""
    return tiny_settings(**{"name": "long", "steps": 1_000_000, "checkpoint_every": 1_000_000, **changes})


def wait_for_run(store: RunStore, key: str, wanted: Callable[[RunRecord], bool]) -> RunRecord:
    """Look at a store until a run is as wanted."""
    end = time.monotonic() + WAIT_S
    found = None
    while time.monotonic() < end:
        found = next((run for run in store.scan().runs if run.key == key), None)
        if found is not None and wanted(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {WAIT_S} s; it is {found and (found.status, found.n_steps, found.error)}")
