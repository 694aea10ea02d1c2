"""Loading and publishing bundled models."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sleepkit import results
from sleepkit.errors import CheckpointError, InvalidInputError, StoreError, require
from sleepkit.model import HybridLM
from sleepkit.training import Run, TrainSettings, evaluate
from sleepkit.zoo.card import Card

_SHELF = Path(__file__).resolve().parent
_CARD_FORMAT = "sleepkit-card"


def names() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(path.parent.name for path in _SHELF.glob("*/card.json"))


def load(name: str) -> tuple[HybridLM, Card]:
    """Load a bundled model and its card.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the folder is damaged.
    """
    folder = _folder(name)
    model = HybridLM.load(folder)
    card = load_card(name)
    digest = _weights_digest(folder)
    if card.provenance.get("weights_digest") != digest:
        raise CheckpointError(f"model: weights must have the digest on the card, got {digest!r} for {name!r}")
    return model.eval(), card


def load_card(name: str) -> Card:
    """Load only the card: no weights are read.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the card is damaged.
    """
    folder = _folder(name)
    try:
        data = json.loads((folder / "card.json").read_text())
        if data["format"] != _CARD_FORMAT:
            raise ValueError(f"format {data['format']!r}")
        settings = TrainSettings.from_dict(data["settings"])
        accuracy = _accuracy_from_json(data["accuracy"])
        return Card(
            name=folder.name,
            summary=data["summary"],
            task=settings.task.create(),
            sleep=settings.sleep,
            settings=settings,
            accuracy=accuracy,
            provenance=data["provenance"],
        )
    except (OSError, KeyError, ValueError, TypeError, StoreError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"card: must be a whole sleepkit card ({reason}), got {str(folder / 'card.json')!r}") from None


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
    """Evaluate a finished run on the test split and write model and card into a folder.

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
    facts: dict[str, Any] = {
        "seed": run.settings.seed,
        "settings_digest": run.settings.digest(),
        "weights_digest": _weights_digest(target),
        "tokens": run.settings.steps * run.settings.batch_size * task.seq_len,
        "wall_time_s": round(wall_s, 1),
        "device": run.settings.device,
        "n_threads": run.settings.n_threads,
        **known,
    }
    card = {
        "format": _CARD_FORMAT,
        "summary": summary,
        "settings": run.settings.to_dict(),
        "provenance": facts,
        "accuracy": _accuracy_to_json(accuracy),
    }
    (target / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    made = load_card(str(target))
    (target / "README.md").write_text(_readme(made))
    return made


def _folder(name: str) -> Path:
    require(isinstance(name, str), "model name", "must be a string", name)
    bundled = _SHELF / name
    if name in names():
        return bundled
    if (Path(name) / "card.json").exists():
        return Path(name)
    raise InvalidInputError(f"model name: must be one of {', '.join(names())} or a published folder, got {name!r}")


def _weights_digest(folder: Path) -> str:
    return hashlib.blake2b((folder / "model.safetensors").read_bytes(), digest_size=16).hexdigest()


def _accuracy_to_json(dataset: xr.Dataset) -> dict[str, Any]:
    data: dict[str, Any] = dataset.to_dict()
    return data


def _accuracy_from_json(data: dict[str, Any]) -> xr.Dataset:
    dataset = xr.Dataset.from_dict(data)
    for name in ("n_correct", "n_total", "n_exact", "n_examples"):
        dataset[name] = dataset[name].astype(np.int64)
    return results.check(dataset, "accuracy")


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
