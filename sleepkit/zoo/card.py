"""The card of a bundled model: what it was trained on, how, and what it can do."""

import dataclasses

from sleepkit.sleep import SleepConfig
from sleepkit.tasks import Task
from sleepkit.training import TrainSettings
from sleepkit.zoo.record import Measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Measured):
    """Everything known about a bundled model; ``Facts`` is what of it needs no torch.

    Attributes:
        task: the Task it was trained on (all depths, without the curriculum's weights).
        sleep: its SleepConfig.
        settings: the TrainSettings of its run.
    """

    task: Task
    sleep: SleepConfig
    settings: TrainSettings
