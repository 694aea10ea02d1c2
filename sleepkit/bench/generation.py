"""How fast tasks make batches, on one core."""

import statistics
import time
from typing import Any

from sleepkit import tasks

_CONFIGS: dict[str, dict[str, Any]] = {
    "paper, t = 32": {"width": 24, "n_strings": 4, "rollout_depth": 32},
    "paper, t = 8": {"width": 24, "n_strings": 4, "rollout_depth": 8},
    "mixed, depths 1-8": {"width": 16, "n_strings": 4, "rollout_depth": list(range(1, 9))},
}


def measure(*, n_batches: int = 40, size: int = 4096, repeats: int = 5) -> dict[str, Any]:
    """Return million tokens a second per configuration: median, lowest and highest of the repeats."""
    return {name: rate(tasks.create("rule110", **options), n_batches, size, repeats) for name, options in _CONFIGS.items()}


def rate(task: tasks.Task, n_batches: int, size: int, repeats: int) -> dict[str, float]:
    """Return million tokens of training batches a second of processor time: median, lowest and highest of the repeats.

    ``examples_per_s`` is the median in examples.
    """
    rates = []
    for repeat in range(repeats + 1):
        began = time.process_time()
        for index in range(repeat * n_batches, (repeat + 1) * n_batches):
            task.batch("train", index, size)
        rates.append(n_batches * size * task.seq_len / (time.process_time() - began) / 1e6)
    counted = sorted(rates[1:])
    return {
        "Mtokens_per_s": round(statistics.median(counted), 1),
        "lowest": round(counted[0], 1),
        "highest": round(counted[-1], 1),
        "examples_per_s": round(statistics.median(counted) * 1e6 / task.seq_len),
    }
