"""What a card says, read without torch: the model's name and task, its sleep, its measured accuracy, where it comes from."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sleepkit import results
from sleepkit.errors import CheckpointError, StoreError, one_line
from sleepkit.files import seals
from sleepkit.results.shares import CONFIDENCE, gain_by_depth, wilson_interval
from sleepkit.zoo.folder import folder_of

CARD_FORMAT = "sleepkit-card"
CARD_KEYS = ("format", "summary", "settings", "provenance", "accuracy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What is said of a model that was evaluated.

    Attributes:
        name: name in the zoo.
        summary: one sentence.
        accuracy: evaluated Dataset over n_passes and depth, held-out examples.
        provenance: seed, tokens, wall time, device, versions, digest of the weights.
    """

    name: str
    summary: str
    accuracy: xr.Dataset
    provenance: dict[str, Any]

    def table(self) -> str:
        """Return accuracy by N and depth as a Markdown table with the floor, percent."""
        return accuracy_table(self.accuracy)

    def finding(self, n_low: int, n_high: int) -> str:
        """Return the sentence that compares two N at the depth where they differ most, if they differ beyond noise.

        The interval of the difference holds for all depths at once (``gain_by_depth``).

        Raises:
            KeyError: if an N was not evaluated.
        """
        data = self.accuracy
        gains = gain_by_depth(data, n_high, n_low)
        depth = _depth_of_most(abs(gains.gain))
        at, constant = gains.sel(depth=depth), _constant(data, depth)
        points = 100 * float(at.gain)
        interval = f"95 % interval {100 * float(at.gain_low):+.1f} to {100 * float(at.gain_high):+.1f}"
        if not bool(((gains.gain_low > 0) | (gains.gain_high < 0)).any()):
            return (
                f"No difference beyond noise between N = {n_high} and N = {n_low} at any depth: {points:+.1f} percentage points "
                f"at depth {depth}, where it is largest ({interval}; {int(at.n_total):,} answers); {constant}."
            )
        low = float(data.accuracy.sel(n_passes=n_low, depth=depth))
        return (
            f"{_counted(data, n_high, depth)}; with N = {n_low}, {100 * low:.1f} %: {points:+.1f} percentage points "
            f"({interval}); {constant}."
        )

    def finding_of(self, n_passes: int) -> str:
        """Return the sentence about one N at the depth where it is farthest above the floor, if it is so beyond noise.

        Raises:
            KeyError: if this N was not evaluated.
        """
        data = self.accuracy
        row = data.sel(n_passes=n_passes)
        depth = _depth_of_most(row.accuracy - data.floor)
        sentence = f"{_counted(data, n_passes, depth)}; {_constant(data, depth)}."
        n_asked = max(1, int((row.n_total > 0).sum()))
        low, _ = wilson_interval(row.n_correct.values, row.n_total.values, confidence=1 - (1 - CONFIDENCE) / n_asked)
        if bool((low > data.floor.values).any()):
            return sentence
        return f"No better than the best constant answer beyond noise: {sentence[0].lower()}{sentence[1:]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts(Measured):
    """What the card of a model says, as plain data; ``Card`` has the objects that this stands for.

    Attributes:
        task: name of the task.
        task_options: every option of the task, those at their defaults included.
        sleep: settings of sleep: n_passes, window_len, eviction.
        n_passes_weights: law of N in training, weights of N = 1, 2, ...; None: always the N of ``sleep``.
    """

    task: str
    task_options: dict[str, Any]
    sleep: dict[str, Any]
    n_passes_weights: tuple[float, ...] | None

    @property
    def trained_passes(self) -> tuple[int, ...]:
        """The N that training drew, rising."""
        if self.n_passes_weights is None:
            return (int(self.sleep["n_passes"]),)
        return tuple(n_passes for n_passes, weight in enumerate(self.n_passes_weights, start=1) if weight > 0)

    @property
    def best_depth(self) -> int:
        """The depth at which the model's own N beats N = 1 by most; the last one where its own is 1 or either is unknown."""
        accuracy, own = self.accuracy.accuracy, int(self.sleep["n_passes"])
        if own == 1 or not {1, own} <= set(accuracy.n_passes.values.tolist()):
            return int(accuracy.depth[-1])
        return _depth_of_most(accuracy.sel(n_passes=own) - accuracy.sel(n_passes=1))


def facts(name: str) -> Facts:
    """Read what the card of a model says; neither weights nor torch are loaded.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the card is damaged.
    """
    folder = folder_of(name)
    with whole_card(folder) as card:
        return read_facts(folder.name, card)


def read_facts(name: str, card: dict[str, Any]) -> Facts:
    """Build the facts from the content of a card; what is missing raises KeyError or TypeError."""
    settings, accuracy = card["settings"], accuracy_from_json(card["accuracy"])
    weights = settings["n_passes_weights"]
    return Facts(
        name=name,
        summary=card["summary"],
        accuracy=accuracy,
        provenance=card["provenance"],
        task=settings["task"]["name"],
        task_options=json.loads(accuracy.attrs["task_options"]),
        sleep={key: settings["sleep"][key] for key in ("n_passes", "window_len", "eviction")},
        n_passes_weights=None if weights is None else tuple(weights),
    )


@contextlib.contextmanager
def whole_card(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the content of a card; whatever is found missing or wrong while it is read makes the card a damaged one.

    Raises:
        CheckpointError: if the card is damaged.
    """
    path = folder / "card.json"
    try:
        card = seals.json_data(path.read_bytes(), CARD_KEYS, source=path)
        if card["format"] != CARD_FORMAT:
            raise ValueError(f"format {card['format']!r}")
        yield card
    except (OSError, KeyError, ValueError, TypeError, StoreError) as error:
        raise CheckpointError(f"card: must be a whole sleepkit card ({one_line(error)}), got {str(path)!r}") from None


def accuracy_from_json(data: dict[str, Any]) -> xr.Dataset:
    """Return the Dataset whose ``to_dict`` stands in a card.

    Raises:
        StoreError: if it is no evaluation.
    """
    dataset = xr.Dataset.from_dict(data)
    for name in ("n_correct", "n_total", "n_exact", "n_examples"):
        dataset[name] = dataset[name].astype(np.int64)
    return results.check(dataset, "accuracy")


def accuracy_table(dataset: xr.Dataset) -> str:
    """Return an evaluation as a Markdown table, one row per N and one for the floor, percent."""
    depths = dataset.depth.values.tolist()
    lines = ["| N | " + " | ".join(f"depth {depth}" for depth in depths) + " |", "|---" * (len(depths) + 1) + "|"]
    for n_passes in dataset.n_passes.values:
        row = dataset.accuracy.sel(n_passes=n_passes).values
        lines.append(f"| {n_passes} | " + " | ".join(f"{100 * value:.1f}" for value in row) + " |")
    floor = " | ".join(f"{100 * value:.1f}" for value in dataset.floor.values)
    return "\n".join([*lines, f"| floor | {floor} |"])


def _depth_of_most(values: xr.DataArray) -> int:
    return int(values.depth[int(np.argmax(values.fillna(-np.inf).values))])


def _counted(data: xr.Dataset, n_passes: int, depth: int) -> str:
    at = data.sel(n_passes=n_passes, depth=depth)
    return (
        f"With N = {n_passes} this model answers depth-{depth} questions about evicted text right "
        f"{100 * float(at.accuracy):.1f} % of the time ({int(at.n_total):,} answers, 95 % interval "
        f"{100 * float(at.accuracy_low):.1f}-{100 * float(at.accuracy_high):.1f})"
    )


def _constant(data: xr.Dataset, depth: int) -> str:
    return f"the best constant answer, {100 * float(data.floor.sel(depth=depth)):.1f} %"
