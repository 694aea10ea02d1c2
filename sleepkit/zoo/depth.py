"""A task with every question at one depth, in the vocabulary a model was trained with."""

from typing import Any

from sleepkit.errors import require
from sleepkit.tasks import DepoConfig, GsmConfig, Rule110Config, Task
from sleepkit.tasks.questions import QuestionConfig


def at_depth(task: Task, depth: int) -> Task:
    """Return the task with every question of every split at one depth.

    Raises:
        InvalidInputError: if the task does not ask this depth.
    """
    config: Any = task.config
    known = _known(config)
    changes: dict[str, Any] = {}
    require(depth in known, "depth", f"must be one of {known}", depth)
    if isinstance(config, DepoConfig):
        changes = {"train_hops": (depth,), "hop_weights": None, "test_hops": (depth,)}
    elif isinstance(config, GsmConfig):
        changes = {"train_ops": (depth,), "ops_weights": None, "test_ops": (depth,)}
    elif isinstance(config, QuestionConfig) or config.mixed:
        # One-hot weights keep the vocabulary, and with it the model, as they are.
        changes = {"depth_weights": tuple(float(each == depth) for each in known)}
    made: Task = type(task)(config.replace(**changes))  # type: ignore[call-arg]
    return made


def _known(config: Any) -> tuple[int, ...]:
    if isinstance(config, Rule110Config):
        return config.depths
    if isinstance(config, QuestionConfig):
        return config.all_depths
    return tuple(config.grid)
