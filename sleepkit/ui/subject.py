"""A bundled model as the explorer sees it: plain facts, read without torch, and what may be turned about its task."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import xarray as xr

from sleepkit import zoo
from sleepkit.errors import InvalidInputError, require
from sleepkit.ui import limits


@dataclasses.dataclass(frozen=True)
class Dial:
    """The option of a task that sets the length of its context.

    Attributes:
        option: name of the option, e.g. "n_strings".
        noun: what is counted, in the singular.
        most: largest value the explorer offers.
        least: smallest value.
    """

    option: str
    noun: str
    most: int
    least: int = 1

    def options(self, value: int, own: dict[str, Any]) -> dict[str, Any]:
        """Return the task options that set the context to a value; ``own`` are the task's own options."""
        changed: dict[str, Any] = {self.option: value}
        if self.option == "n_nodes":  # a small cycle cannot be asked about more start nodes than it has
            changed |= {"n_nodes_min": min(own["n_nodes_min"], value), "n_queries": min(own["n_queries"], value)}
        return changed


# Tasks whose context has one length, and what is counted there: the vocabulary or the answers change with it.
_FIXED = {
    "gsm": ("context_len", "token"),
    "affine": ("n_maps", "map"),
    "circuit": ("n_gates", "gate"),
    "permutations": ("n_permutations", "permutation"),
    "pointer-chasing": ("n_nodes", "node"),
}
_TASKS = ("rule110", "depo", *_FIXED)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model and its task, without weights.

    Attributes:
        name: name in the zoo, or the folder of a published model, as it was asked for.
        facts: what the model's card says.
        dial: the option that sets the length of the context.
    """

    name: str
    facts: zoo.Facts
    dial: Dial

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.facts.task

    @property
    def accuracy(self) -> xr.Dataset:
        """Evaluated accuracies over n_passes and depth."""
        return self.facts.accuracy

    @property
    def n_passes(self) -> int:
        """The N the card stands for."""
        return int(self.facts.sleep["n_passes"])

    @property
    def window_len(self) -> int:
        """L the model was trained with, tokens."""
        return int(self.facts.sleep["window_len"])

    @property
    def eviction(self) -> str:
        """What left the KV cache in training, "hard" or "sliding"."""
        return str(self.facts.sleep.get("eviction", "hard"))

    @property
    def context(self) -> int:
        """The context length the model was trained with, in the unit of the dial."""
        return int(self.facts.task_options[self.dial.option])

    @property
    def depths(self) -> list[int]:
        """Reasoning depths the card has accuracies of."""
        return [int(depth) for depth in self.accuracy.depth.values]

    @property
    def known_passes(self) -> list[int]:
        """The N the card has accuracies of."""
        return [int(n_passes) for n_passes in self.accuracy.n_passes.values]

    @property
    def trained_passes(self) -> list[int]:
        """The N that training drew."""
        return list(self.facts.trained_passes)

    @property
    def best_depth(self) -> int:
        """The depth at which the card's own N beats N = 1 by most."""
        return self.facts.best_depth

    def finding(self, n_passes: int, compare: int, measured: xr.Dataset | None = None) -> str:
        """Return the sentence that compares two N at the depth where they differ most; one N alone if the other is unknown.

        Args:
            n_passes: N; if it was not evaluated, the sentence is about the model's own.
            compare: the N it is compared with.
            measured: accuracies to read instead of the card's.
        """
        facts = self.facts if measured is None else dataclasses.replace(self.facts, accuracy=measured)
        known = facts.accuracy.n_passes.values.tolist()
        low, high = sorted((n_passes, compare))
        if low != high and {low, high} <= set(known):
            return facts.finding(low, high)
        return facts.finding_of(n_passes if n_passes in known else self.n_passes)

    def as_trained(self) -> str:
        """Return the settings the model was trained with, in words."""
        passes = self.trained_passes
        drawn = f"N = {passes[0]}" if len(passes) == 1 else f"N from {passes[0]} to {passes[-1]}"
        sliding = ", sliding eviction" if self.eviction == "sliding" else ""
        return (
            f"As trained: {count(self.context, self.dial.noun)}, windows of {count(self.window_len, 'token')}, {drawn}{sliding}."
        )


def subject(name: str) -> Subject:
    """Return a bundled model, or the folder of a published one, as the explorer sees it.

    Every way to a model leads through here, so that a process that only shows what is there opens no other folder.

    Raises:
        InvalidInputError: for an unknown name, a task the explorer cannot show, or a folder this process does not grant.
        CheckpointError: if the card is damaged.
    """
    if name not in zoo.names():
        limits.require_model_folder(Path(name))
    return _read(name)


@functools.cache
def _read(name: str) -> Subject:
    facts = zoo.facts(name)
    require(facts.task in _TASKS, "model", f"must be trained on one of {', '.join(_TASKS)}", facts.task)
    return Subject(name, facts, _dial(facts.task, facts.task_options))


def names() -> list[str]:
    """Return the names of the bundled models the explorer can show."""
    return [name for name in zoo.names() if _shown(name)]


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _dial(task: str, own: dict[str, Any]) -> Dial:
    """Return what sets the context length of a task with these options."""
    if task == "rule110":
        return Dial("n_strings", "string", 8)
    if task == "depo":
        return Dial("n_nodes", "node", min(16, own["n_symbols"]) if own["names"] == "single" else own["n_nodes"], least=3)
    option, noun = _FIXED[task]
    return Dial(option, noun, own[option], least=own[option])


def _shown(name: str) -> bool:
    try:
        return bool(subject(name))
    except InvalidInputError:
        return False
