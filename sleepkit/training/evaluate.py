"""Accuracy by N and reasoning depth over held-out examples, with floors and 95 % intervals."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr

from sleepkit.errors import require, require_count
from sleepkit.model import HybridLM
from sleepkit.model.finite import refuse_spoilt
from sleepkit.results import as_attrs, check, provenance
from sleepkit.results.shares import wilson_interval
from sleepkit.sleep import Eviction, SleepConfig, correct_answers, rollout, schedule
from sleepkit.tasks import Split, Task


def evaluate(
    model: HybridLM,
    task: Task,
    *,
    n_passes: int | Sequence[int] = (1, 2, 4),
    n_examples: int = 1000,
    window_len: int | None = None,
    eviction: Eviction = "hard",
    split: Split = "test",
    batch_size: int = 256,
    progress: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Count right answers for each N and reasoning depth, on examples whose content training never shows.

    Args:
        model: the model.
        task: what is asked.
        n_passes: the N to try, one or several; N = 1 is the vanilla hybrid.
        n_examples: examples for each N (the same ones).
        window_len: L; the task's own if None.
        eviction: what leaves the KV cache after sleep, "hard" or "sliding".
        split: "validation" or "test" ("train" is allowed, to see a gap).
        batch_size: examples at a time.
        progress: show a progress bar.
        on_batch: called with batches done and batches in all; may raise to cancel.

    Returns:
        Dataset with dims n_passes, depth: n_correct, n_total, accuracy with accuracy_low and accuracy_high (95 % Wilson),
        floor (best constant answer) and chance by depth, n_exact (examples with every answer right) and n_examples by
        n_passes. An answer counts if all of its tokens are right. Depths never asked have n_total 0 and accuracy NaN.

    Raises:
        InvalidInputError: if an N is not a positive integer, n_examples is below 1, there is no such eviction, or a
            weight of the model is NaN or infinite.
    """
    from tqdm.auto import tqdm

    wanted = [n_passes] if isinstance(n_passes, int) else list(n_passes)
    require(len(wanted) > 0 and len(set(wanted)) == len(wanted), "n_passes", "must hold distinct values", n_passes)
    for name, value in (("n_examples", n_examples), ("batch_size", batch_size)):
        require_count(name, value)
    refuse_spoilt(model)
    length = task.window_len if window_len is None else window_len
    sleeps = [SleepConfig(n_passes=count, window_len=length, eviction=eviction) for count in wanted]
    schedule(task.batch(split, 0, 1), length)  # refuses a window that cannot hold the label block, before anything is shown
    floor = task.floor(split)
    depths = floor.depth
    n_correct = np.zeros((len(wanted), len(depths)), dtype=np.int64)
    n_total, n_exact = np.zeros_like(n_correct), np.zeros(len(wanted), dtype=np.int64)
    n_batches = -(-n_examples // batch_size)
    total = len(sleeps) * n_batches
    device = model.embedding.weight.device
    with tqdm(total=total, disable=not progress, unit="batch", desc="evaluate") as bar:
        for index in range(n_batches):
            batch = task.batch(split, index, batch_size).rows(0, min(batch_size, n_examples - index * batch_size))
            asked = batch.asked.numpy()
            column = np.searchsorted(depths, batch.coords["depth"].numpy()[asked])
            for row, sleep in enumerate(sleeps):
                with torch.no_grad():
                    right = correct_answers(batch, rollout(model, batch.to(device), sleep)).cpu().numpy()
                n_total[row] += np.bincount(column, minlength=len(depths))
                n_correct[row] += np.bincount(column[right[asked]], minlength=len(depths))
                n_exact[row] += int(right.all(axis=1).sum())
                bar.update()
                if on_batch is not None:
                    on_batch(index * len(sleeps) + row + 1, total)
    low, high = wilson_interval(n_correct, n_total)
    with np.errstate(invalid="ignore"):
        accuracy = n_correct / n_total
    grid = ("n_passes", "depth")
    dataset = xr.Dataset(
        {
            "n_correct": (grid, n_correct),
            "n_total": (grid, n_total),
            "accuracy": (grid, accuracy),
            "accuracy_low": (grid, low),
            "accuracy_high": (grid, high),
            "floor": ("depth", floor.constant),
            "chance": ("depth", floor.chance),
            "exact_floor": ("depth", floor.exact_constant),
            "n_exact": ("n_passes", n_exact),
            "n_examples": ("n_passes", np.full(len(wanted), n_examples)),
        },
        coords={"n_passes": wanted, "depth": depths},
        attrs=as_attrs(
            {
                "task": task.name,
                "task_version": task.version,
                "task_options": task.config.to_dict(),
                "window_len": length,
                "eviction": eviction,
                "split": split,
                "floor_source": floor.source,
                **provenance(),
            }
        ),
    )
    return check(dataset, "accuracy")
