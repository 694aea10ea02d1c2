"""Training: settings, optimisers, the loop with checkpoints, evaluation."""

from sleepkit.results.shares import wilson_interval
from sleepkit.training.evaluate import evaluate
from sleepkit.training.loop import Run, build_model, passes_at, passes_range, train
from sleepkit.training.optimiser import Optimiser, describe_split, split_parameters
from sleepkit.training.settings import OptimiserSettings, Stage, TaskSettings, TrainSettings

__all__ = [
    "Optimiser",
    "OptimiserSettings",
    "Run",
    "Stage",
    "TaskSettings",
    "TrainSettings",
    "build_model",
    "describe_split",
    "evaluate",
    "passes_at",
    "passes_range",
    "split_parameters",
    "train",
    "wilson_interval",
]
