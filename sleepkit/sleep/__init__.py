"""Sleep: the schedule of windows, Algorithm 1 (``rollout``) and its streaming twin (``Session``)."""

from sleepkit.sleep.rollout import Checkpointing, RolloutResult, correct_answers, predicted_answers, rollout
from sleepkit.sleep.schedule import Eviction, SleepConfig, Window, schedule
from sleepkit.sleep.session import Session

__all__ = [
    "Checkpointing",
    "Eviction",
    "RolloutResult",
    "Session",
    "SleepConfig",
    "Window",
    "correct_answers",
    "predicted_answers",
    "rollout",
    "schedule",
]
