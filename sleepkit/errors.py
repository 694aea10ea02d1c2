"""The kinds of error sleepkit raises on purpose.

Every message is one line that names the argument, the rule it broke and the value received.
"""

from typing import NoReturn


class SleepkitError(Exception):
    """Base class of every error raised by sleepkit on purpose."""


class InvalidInputError(SleepkitError, ValueError):
    """An argument or a setting breaks a stated rule."""


class ImplUnavailableError(SleepkitError, RuntimeError):
    """An implementation was asked for by name and cannot serve this call."""


class CheckpointError(SleepkitError, RuntimeError):
    """A checkpoint or model folder is missing, damaged or of another kind."""


class StoreError(SleepkitError, RuntimeError):
    """A results file is missing, damaged or does not follow the schema."""


class NotebookError(SleepkitError, RuntimeError):
    """A notebook did not run to its end, or its result cannot be kept."""


def refuse(argument: str, rule: str, value: object) -> NoReturn:
    """Raise the one-line error for a value that breaks a rule.

    Raises:
        InvalidInputError: always.
    """
    raise InvalidInputError(f"{argument}: {rule}, got {value!r}")


def require(condition: bool, argument: str, rule: str, value: object) -> None:
    """Refuse ``value`` unless ``condition`` holds.

    Raises:
        InvalidInputError: if the condition is false.
    """
    if not condition:
        refuse(argument, rule, value)
