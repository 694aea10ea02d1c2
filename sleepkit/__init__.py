"""sleepkit: watch, train and speed up language models that sleep.

Public names load on first use, so that ``import sleepkit`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sleepkit import analysis, notation, ops, plots, results, tasks, ui, zoo
    from sleepkit.analysis.trace import trace
    from sleepkit.errors import CheckpointError, ImplUnavailableError, InvalidInputError, SleepkitError, StoreError
    from sleepkit.experiments import figures, presets
    from sleepkit.model import HybridLM, ModelConfig, ModelState
    from sleepkit.sleep import RolloutResult, Session, SleepConfig
    from sleepkit.sleep.rollout import rollout
    from sleepkit.training import OptimiserSettings, Run, Stage, TaskSettings, TrainSettings, train
    from sleepkit.training.evaluate import evaluate

__version__ = "0.1.0"

_MODULES = {
    "analysis": "sleepkit.analysis",
    "figures": "sleepkit.experiments.figures",
    "notation": "sleepkit.notation",
    "ops": "sleepkit.ops",
    "plots": "sleepkit.plots",
    "presets": "sleepkit.experiments.presets",
    "results": "sleepkit.results",
    "tasks": "sleepkit.tasks",
    "ui": "sleepkit.ui",
    "zoo": "sleepkit.zoo",
}
_NAMES = {
    "CheckpointError": "sleepkit.errors",
    "HybridLM": "sleepkit.model",
    "ImplUnavailableError": "sleepkit.errors",
    "InvalidInputError": "sleepkit.errors",
    "ModelConfig": "sleepkit.model",
    "ModelState": "sleepkit.model",
    "OptimiserSettings": "sleepkit.training",
    "RolloutResult": "sleepkit.sleep",
    "Run": "sleepkit.training",
    "Session": "sleepkit.sleep",
    "SleepConfig": "sleepkit.sleep",
    "SleepkitError": "sleepkit.errors",
    "Stage": "sleepkit.training",
    "StoreError": "sleepkit.errors",
    "TaskSettings": "sleepkit.training",
    "TrainSettings": "sleepkit.training",
    "evaluate": "sleepkit.training",
    "rollout": "sleepkit.sleep",
    "trace": "sleepkit.analysis",
    "train": "sleepkit.training",
}

__all__ = [
    "CheckpointError",
    "HybridLM",
    "ImplUnavailableError",
    "InvalidInputError",
    "ModelConfig",
    "ModelState",
    "OptimiserSettings",
    "RolloutResult",
    "Run",
    "Session",
    "SleepConfig",
    "SleepkitError",
    "Stage",
    "StoreError",
    "TaskSettings",
    "TrainSettings",
    "analysis",
    "evaluate",
    "figures",
    "notation",
    "ops",
    "plots",
    "presets",
    "results",
    "rollout",
    "tasks",
    "trace",
    "train",
    "ui",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module 'sleepkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
