"""Names of runs, made of the settings in which they differ."""

import collections
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sleepkit.notation import depth_symbol
from sleepkit.training import TrainSettings
from sleepkit.ui.lab.store import RunRecord

_LONGEST = 24
_FIRST = ("sleep.n_passes", "n_passes_weights")


def flat(settings: TrainSettings) -> dict[str, str]:
    """Return every setting by its dotted name, its value as JSON."""
    return dict(_flat("", settings.to_dict()))


def differing(runs: Sequence[TrainSettings]) -> list[str]:
    """Return the names of the settings in which runs differ; a setting that only some have differs too."""
    tables = [flat(run) for run in runs]
    names = list(dict.fromkeys(name for table in tables for name in table))
    return [name for name in names if len({table.get(name) for table in tables}) > 1]


def labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the label of each run by its key.

    Runs of one name are told apart by the settings in which these differ; only where two agree in everything, by their folder.
    """
    families: dict[str, list[RunRecord]] = collections.defaultdict(list)
    for run in runs:
        families[run.settings.name].append(run)
    named = {}
    for name, family in families.items():
        wanted = differing([run.settings for run in family])
        for run in family:
            known = flat(run.settings)
            parts = [f"{spoken(each, run.settings)} {short(known.get(each, 'none'))}" for each in _told(wanted)]
            named[run.key] = ", ".join([name, *parts])
    counts = collections.Counter(named.values())
    return {key: label if counts[label] == 1 else f"{label} ({key})" for key, label in named.items()}


def spoken(name: str, settings: TrainSettings) -> str:
    """Return what a setting is called in a label or at the head of a column."""
    last = name.rpartition(".")[2]
    symbols = {"n_passes": "N =", "n_passes_weights": "law of N", "window_len": "L =", "batch_size": "batch"}
    if last == "rollout_depth":
        return f"{depth_symbol(settings.task.name).paper} ="
    if name in ("task.name", "task.options.seed", "model.width"):
        return name.removesuffix(".name").replace(".options.", " ").replace(".", " ")
    return symbols.get(last, last.replace("_", " "))


def short(text: str) -> str:
    """Return a value that fits a label; a long one keeps both ends around an ellipsis."""
    plain = text.strip('"')
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 9]}\u2026{plain[-8:]}"


def _told(names: Sequence[str]) -> list[str]:
    """Put N first, and leave out the task's seed where the run's own says it."""
    first = [name for name in _FIRST if name in names]
    later = [name for name in names if name not in _FIRST and not (name == "task.options.seed" and "seed" in names)]
    return [*first, *later]


def _flat(prefix: str, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            found.extend(_flat(f"{prefix}{name}.", value))
        else:
            found.append((f"{prefix}{name}", json.dumps(value)))
    return found
