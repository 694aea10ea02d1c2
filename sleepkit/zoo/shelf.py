"""Loading and publishing bundled models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sleepkit.errors import CheckpointError
from sleepkit.model import HybridLM
from sleepkit.training import Run, TrainSettings, evaluate
from sleepkit.zoo.card import Card
from sleepkit.zoo.folder import folder_of, weights_digest
from sleepkit.zoo.record import CARD_FORMAT, read_facts, whole_card


def load(name: str) -> tuple[HybridLM, Card]:
    """Load a bundled model and its card.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the folder is damaged.
    """
    folder = folder_of(name)
    model = HybridLM.load(folder)
    card = load_card(name)
    digest = weights_digest(folder)
    if card.provenance.get("weights_digest") != digest:
        raise CheckpointError(f"model: weights must have the digest on the card, got {digest!r} for {name!r}")
    return model.eval(), card


def load_card(name: str) -> Card:
    """Load only the card: no weights are read.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the card is damaged.
    """
    folder = folder_of(name)
    with whole_card(folder) as card:
        known, settings = read_facts(folder.name, card), TrainSettings.from_dict(card["settings"])
        return Card(
            name=known.name,
            summary=known.summary,
            accuracy=known.accuracy,
            provenance=known.provenance,
            task=settings.task.create(),
            sleep=settings.sleep,
            settings=settings,
        )


def publish(
    run: Run,
    folder: str | Path,
    *,
    summary: str,
    n_passes: Sequence[int] = range(1, 9),
    n_examples: int = 4096,
    progress: bool = True,
) -> Card:
    """Evaluate a finished run on the test split and write model and card into a folder.

    Args:
        run: a finished run.
        folder: where to write; its name is the model's name.
        summary: one sentence for the card.
        n_passes: the N to evaluate.
        n_examples: examples for each N.
        progress: show a progress bar.
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
    )
    run.model.save(target)
    last = run.history.isel(step=-1)
    wall_s = float(last.elapsed_s)
    known = {key: value for key, value in run.history.attrs.items() if key not in ("settings", "digest")}
    facts: dict[str, Any] = {
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
        "provenance": facts,
        "accuracy": accuracy.to_dict(),
    }
    (target / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    made = load_card(str(target))
    (target / "README.md").write_text(_readme(made))
    return made


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
