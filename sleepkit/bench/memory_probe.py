"""Measure the peak memory of one training step, in a process of its own: ``python -m sleepkit.bench.memory_probe ORDER``.

ORDER is JSON: ``preset``, ``overrides``, ``n_passes``, ``checkpointing``. Prints one line of JSON.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from sleepkit.bench import measure
from sleepkit.bench.footprint import TensorPeak, reset_resident_peak, resident
from sleepkit.bench.measure import Figures
from sleepkit.experiments import presets
from sleepkit.sleep import rollout, schedule
from sleepkit.training import TrainSettings, build_model


def training_step(settings: TrainSettings, *, n_passes: int, checkpointing: str) -> Callable[[], float]:
    """Return forward and backward of one training step, without the optimiser; each call returns the loss."""
    model = build_model(settings)
    batch = settings.task_at(0).batch("train", 0, settings.batch_size).to(settings.device)
    windows = schedule(batch, settings.sleep.window_len)
    sleep = settings.sleep.replace(n_passes=n_passes)
    options: Any = {"checkpointing": checkpointing}

    def step() -> float:
        model.zero_grad(set_to_none=True)
        loss = rollout(model, batch, sleep, windows=windows, **options).loss
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    return step


def peaks(settings: TrainSettings, *, n_passes: int, checkpointing: str) -> Figures:
    """Return the most bytes that a step needs beyond what was there before it (model, batch).

    ``tensor_bytes``: on a CPU the storages of all tensors, counted one by one; on a GPU what its allocator handed out.
    ``resident_bytes``: growth of the process at its peak; a step of one example comes first, so that libraries are loaded.
    """
    training_step(settings.replace(batch_size=1), n_passes=n_passes, checkpointing=checkpointing)()
    step = training_step(settings, n_passes=n_passes, checkpointing=checkpointing)
    if settings.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss = step()
        return {"loss": loss, "tensor_bytes": torch.cuda.max_memory_allocated() - before}
    growth: Figures = {}
    try:
        reset_resident_peak()
        before, _ = resident()
        step()
        growth["resident_bytes"] = resident()[1] - before
    except OSError as error:
        growth["resident_bytes"] = measure.unavailable(measure.reason(error))
    with TensorPeak() as counted:
        loss = step()
    return {"loss": loss, "tensor_bytes": counted.peak, **growth}


def main() -> None:
    """Measure what the order asks for."""
    order = json.loads(sys.argv[1])
    settings = presets.of_size(order["preset"], "paper").with_overrides(*order["overrides"])
    with measure.threads(settings.n_threads):
        print(json.dumps(peaks(settings, n_passes=order["n_passes"], checkpointing=order["checkpointing"])))


if __name__ == "__main__":
    main()
