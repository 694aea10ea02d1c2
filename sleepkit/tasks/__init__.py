"""Task generators and their oracles. A task is data: it cannot see a model."""

import inspect
from collections.abc import Callable
from typing import Any

from sleepkit.errors import require_known
from sleepkit.settings import Settings
from sleepkit.tasks.affine import Affine, AffineConfig
from sleepkit.tasks.base import ANSWER, CONTEXT, NOTHING_ASKED, PAD, QUERY, Batch, Floor, Split, Task
from sleepkit.tasks.circuit import Circuit, CircuitConfig
from sleepkit.tasks.depo import Depo
from sleepkit.tasks.depo_config import DepoConfig
from sleepkit.tasks.gsm import Gsm
from sleepkit.tasks.gsm_config import GsmConfig
from sleepkit.tasks.permutations import Permutations, PermutationsConfig
from sleepkit.tasks.pointers import Pointers, PointersConfig
from sleepkit.tasks.rule110 import Rule110, Rule110Config

__all__ = [
    "ANSWER",
    "CONTEXT",
    "NOTHING_ASKED",
    "PAD",
    "QUERY",
    "Affine",
    "AffineConfig",
    "Batch",
    "Circuit",
    "CircuitConfig",
    "Depo",
    "DepoConfig",
    "Floor",
    "Gsm",
    "GsmConfig",
    "Permutations",
    "PermutationsConfig",
    "Pointers",
    "PointersConfig",
    "Rule110",
    "Rule110Config",
    "Split",
    "Task",
    "create",
    "describe",
    "names",
]

_REGISTRY: dict[str, tuple[type[Settings], Callable[[Any], Task]]] = {
    "affine": (AffineConfig, Affine),
    "circuit": (CircuitConfig, Circuit),
    "depo": (DepoConfig, Depo),
    "permutations": (PermutationsConfig, Permutations),
    "pointer-chasing": (PointersConfig, Pointers),
    "gsm": (GsmConfig, Gsm),
    "rule110": (Rule110Config, Rule110),
}


def names() -> list[str]:
    """Return the names ``create`` knows."""
    return sorted(_REGISTRY)


def describe(name: str) -> str:
    """Return the first line of a task's description.

    Raises:
        InvalidInputError: for an unknown name.
    """
    return (inspect.getdoc(type(create(name))) or "").partition("\n")[0]


def create(name: str, **options: Any) -> Task:
    """Make a task by name; the options are the fields of its config class.

    Raises:
        InvalidInputError: for an unknown name, an unknown option or a value that breaks a rule.
    """
    require_known("task name", name, names())
    config_class, task_class = _REGISTRY[name]
    return task_class(config_class.from_dict(options))
