"""Publishing a model: weights, card and the traces it is first seen with, in one folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sleepkit import results
from sleepkit.analysis.trace import trace_batch
from sleepkit.files import seals, write_whole
from sleepkit.model import HybridLM
from sleepkit.tasks.explore import at_depth
from sleepkit.training import Run, evaluate
from sleepkit.zoo.card import Card
from sleepkit.zoo.folder import folder_of, weights_digest
from sleepkit.zoo.opening import rounded
from sleepkit.zoo.probe import probe_files
from sleepkit.zoo.record import CARD_FORMAT, facts
from sleepkit.zoo.shelf import load, load_card


def publish(
    run: Run,
    folder: str | Path,
    *,
    summary: str,
    n_passes: Sequence[int] = range(1, 9),
    n_examples: int = 4096,
    progress: bool = True,
    on_batch: Callable[[int, int], None] | None = None,
) -> Card:
    """Evaluate a finished run on the test split and write model, card and opening traces into a folder.

    A probe that lies there is of other weights and is removed.

    Args:
        run: a finished run.
        folder: where to write; its name is the model's name.
        summary: one sentence for the card.
        n_passes: the N to evaluate.
        n_examples: examples for each N.
        progress: show a progress bar.
        on_batch: see ``evaluate``; if it raises, nothing is written.
    """
    target = Path(folder)
    task = run.settings.task.create()
    accuracy = evaluate(
        run.model,
        task,
        n_passes=list(n_passes),
        n_examples=n_examples,
        window_len=run.settings.sleep.window_len,
        eviction=run.settings.sleep.eviction,
        progress=progress,
        on_batch=on_batch,
    )
    run.model.save(target)
    last = run.history.isel(step=-1)
    wall_s = float(last.elapsed_s)
    known = {key: value for key, value in run.history.attrs.items() if key not in ("settings", "digest")}
    origin: dict[str, Any] = {
        "seed": run.settings.seed,
        "settings_digest": run.settings.digest(),
        "weights_digest": weights_digest(target),
        "tokens": run.settings.steps * run.settings.batch_size * task.seq_len,
        "wall_time_s": round(wall_s, 1),
        "device": run.settings.device,
        "n_threads": run.settings.n_threads,
        **known,
    }
    card = {
        "format": CARD_FORMAT,
        "summary": summary,
        "settings": run.settings.to_dict(),
        "provenance": origin,
        "accuracy": accuracy.to_dict(),
    }
    write_whole(target / "card.json", seals.json_text(card, indent=1))
    made = load_card(str(target))
    write_whole(target / "README.md", _readme(made))
    write_openings(str(target))
    for other in probe_files(target):
        other.unlink(missing_ok=True)
    return made


def write_openings(name: str) -> list[Path]:
    """Trace what a model is first seen with, at its own N and at N = 1, and write the traces into its folder.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.

    Returns:
        The files, which take the place of all openings there were.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the folder is damaged.
    """
    folder, (model, card) = folder_of(name), load(name)
    depth, digest = facts(name).best_depth, weights_digest(folder)
    written = []
    for n_passes in sorted({1, card.sleep.n_passes}):
        tree = opening(model, card, depth, n_passes)
        tree.attrs["weights_digest"] = digest
        written.append(results.save(rounded(tree, np.float16), folder / f"opening-n{n_passes}.nc"))
    for left in set(folder.glob("opening-n*.nc")) - set(written):
        left.unlink()
    return written


def opening(model: HybridLM, card: Card, depth: int, n_passes: int) -> xr.DataTree:
    """Trace example 0 of the test split with every question at one depth."""
    task = at_depth(card.task, depth)
    return trace_batch(model, task, task.batch("test", 0, 1), card.sleep.replace(n_passes=n_passes), label="test[0]")


def _readme(card: Card) -> str:
    facts, n_answers = card.provenance, int(card.accuracy.n_total.min())
    lines = [
        f"# {card.name}",
        "",
        card.summary,
        "",
        f"Accuracy of one answer by N and reasoning depth, percent; {n_answers:,} or more held-out answers a cell.",
        "N counts passes over a window, reading included: N = 1 reads and never loops. The floor is the best constant answer.",
        "",
        card.table(),
        "",
        "| fact | value |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in sorted(facts.items())),
        "",
        "Settings:",
        "",
        "```json",
        card.settings.to_json(),
        "```",
        "",
    ]
    return "\n".join(lines)
