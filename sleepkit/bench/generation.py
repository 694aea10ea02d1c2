"""How fast every task makes batches, on one core."""

import statistics
import time
from typing import Any, NamedTuple

from sleepkit import tasks
from sleepkit.experiments import presets


class Config(NamedTuple):
    """What is timed.

    Attributes:
        task: name in the registry.
        options: its settings.
        size: examples of a batch.
    """

    task: str
    options: dict[str, Any]
    size: int = 4096


def configs() -> dict[str, Config]:
    """Return the configurations by name: the paper's, and the defaults of the tasks that isolate depth."""
    paper = {name: presets.get(name, size="paper").task.options for name in ("fig2a", "fig2b", "fig3", "fig4")}
    return {
        "Rule 110, paper, t = 8": Config("rule110", paper["fig2a"]),
        "Rule 110, paper, t = 32": Config("rule110", paper["fig2b"]),
        "Rule 110, mixed, depths 1-8": Config("rule110", {"width": 16, "n_strings": 4, "rollout_depth": list(range(1, 9))}),
        "Depo, paper": Config("depo", paper["fig3"], 256),
        "GSM, paper": Config("gsm", paper["fig4"], 64),
        "GSM, defaults": Config("gsm", {}, 64),
        **{f"{name}, defaults": Config(name, {}, 256) for name in ("affine", "circuit", "permutations", "pointer-chasing")},
    }


def measure(*, seconds: float = 1.0, repeats: int = 5) -> dict[str, Any]:
    """Return for each configuration what ``rate`` does."""
    return {
        name: rate(tasks.create(config.task, **config.options), config.size, seconds=seconds, repeats=repeats)
        for name, config in configs().items()
    }


def rate(task: tasks.Task, size: int, *, seconds: float, repeats: int) -> dict[str, float]:
    """Return how fast training batches are made, by processor time; the first repeat is not counted.

    Args:
        task: makes the batches.
        size: examples of a batch.
        seconds: how long each repeat lasts, at the least.
        repeats: how often it is measured.

    Returns:
        Million tokens a second, pads included: median, lowest and highest of the repeats; and the median in examples a second.
    """
    rates, index = [], 0
    for _ in range(repeats + 1):
        began, n_batches = time.process_time(), 0
        while n_batches == 0 or time.process_time() - began < seconds:
            task.batch("train", index, size)
            index, n_batches = index + 1, n_batches + 1
        rates.append(n_batches * size / (time.process_time() - began))
    counted = sorted(rates[1:])
    per_example = task.seq_len / 1e6
    return {
        "Mtokens_per_s": round(statistics.median(counted) * per_example, 1),
        "lowest": round(counted[0] * per_example, 1),
        "highest": round(counted[-1] * per_example, 1),
        "examples_per_s": round(statistics.median(counted)),
    }
