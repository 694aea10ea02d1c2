"""The card of a bundled model: what it was trained on, how, and what it can do."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from sleepkit.sleep import SleepConfig
from sleepkit.tasks import Task
from sleepkit.training import TrainSettings


@dataclasses.dataclass(frozen=True)
class Card:
    """Everything known about a bundled model.

    Attributes:
        name: name in the zoo.
        summary: one sentence.
        task: the Task it was trained on (all depths, without the curriculum's weights).
        sleep: its SleepConfig.
        settings: the TrainSettings of its run.
        accuracy: evaluated Dataset over n_passes and depth, held-out examples.
        provenance: seed, tokens, wall time, device, versions, digest of the weights.
    """

    name: str
    summary: str
    task: Task
    sleep: SleepConfig
    settings: TrainSettings
    accuracy: xr.Dataset
    provenance: dict[str, Any]

    def table(self) -> str:
        """Return accuracy by N and depth as a Markdown table with the floor, percent."""
        return accuracy_table(self.accuracy)

    def finding(self, n_low: int, n_high: int) -> str:
        """Return the sentence that compares two N at the depth where they differ most.

        Raises:
            KeyError: if an N was not evaluated.
        """
        data = self.accuracy
        gain = data.accuracy.sel(n_passes=n_high) - data.accuracy.sel(n_passes=n_low)
        depth = int(gain.depth[int(np.argmax(gain.values))])
        at = data.sel(depth=depth)
        high, low = at.sel(n_passes=n_high), at.sel(n_passes=n_low)
        return (
            f"With N = {n_high} this model answers depth-{depth} questions about evicted text right "
            f"{100 * float(high.accuracy):.1f} % of the time ({int(high.n_total):,} answers, 95 % interval "
            f"{100 * float(high.accuracy_low):.1f}-{100 * float(high.accuracy_high):.1f}); with N = {n_low}, "
            f"{100 * float(low.accuracy):.1f} %; the best constant answer, {100 * float(at.floor):.1f} %."
        )


def accuracy_table(dataset: xr.Dataset) -> str:
    """Return an evaluation as a Markdown table, one row per N and one for the floor, percent."""
    depths = dataset.depth.values.tolist()
    lines = ["| N | " + " | ".join(f"depth {depth}" for depth in depths) + " |", "|---" * (len(depths) + 1) + "|"]
    for n_passes in dataset.n_passes.values:
        row = dataset.accuracy.sel(n_passes=n_passes).values
        lines.append(f"| {n_passes} | " + " | ".join(f"{100 * value:.1f}" for value in row) + " |")
    floor = " | ".join(f"{100 * value:.1f}" for value in dataset.floor.values)
    return "\n".join([*lines, f"| floor | {floor} |"])
