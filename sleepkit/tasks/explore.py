"""What the explorer asks of a task: one depth for every question, own examples as text, the way to every answer.

    at_depth(task, 3)                  the same task and vocabulary; every question of every split takes 3 steps
    read(task, text, depth=3)          a batch of one example from a text that a person wrote; ``write`` gives one to edit
    reasoning(task, batch)             the states, nodes or equations on the way to each answer

A task takes part by having the methods of ``Explorable``.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from sleepkit.errors import InvalidInputError, refuse, require
from sleepkit.tasks.audit import unsolved
from sleepkit.tasks.base import Batch, Task
from sleepkit.tasks.own_input import TEXT, Reasoning, tidied

LONGEST_TEXT = 20_000
_AROUND_A_WORD = 3  # a space and, in some tasks, two signs
_CAPABILITIES = ("depth_in_text", "known_depths", "input_help", "depth_options", "write", "read", "reasoning")


@runtime_checkable
class Explorable(Protocol):
    """What a task has beside ``Task`` so that the explorer can show it.

    Attributes:
        depth_in_text: whether the text of an example settles the depth of its questions; if not, depths are given beside it.
    """

    depth_in_text: bool

    @property
    def known_depths(self) -> tuple[int, ...]:
        """The depths that can be asked, rising."""
        ...

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        ...

    def depth_options(self, depth: int) -> dict[str, Any]:
        """Return the settings under which every question of every split asks one of the known depths."""
        ...

    def write(self, example: Batch) -> str:
        """Return an example (a batch of one) as a text that ``read`` takes; depths stand in it only if they differ."""
        ...

    def read(self, text: str, depth: int | None) -> Batch:
        """Return the example that a text describes; every refusal is one line that says what is wrong and where."""
        ...

    def reasoning(self, example: Batch) -> Reasoning:
        """Return the way to each answer of an example (a batch of one) that is asked."""
        ...


def at_depth(task: Task, depth: int | None, **options: Any) -> Task:
    """Return a task whose questions all ask one depth, in every split, at other sizes if wanted; the vocabulary stays.

    Args:
        task: where it comes from; a model trained on it fits what comes back.
        depth: one of its ``known_depths``; None leaves the mixture of depths as it is.
        options: settings of the task to change, such as ``n_strings``.

    Raises:
        InvalidInputError: for an unknown depth or option, a value that breaks a rule, a setting that ``depth`` decides, or an
            option that changes the vocabulary, by name.
    """
    able = explorable(task)
    if depth is not None:
        for name in able.depth_options(_known(able, depth)):
            require(name not in options, name, f"must be left to depth, which is {depth}", options.get(name))
    sized = _changed(task, options)
    if sized.vocab != task.vocab:
        blamed = [name for name, value in options.items() if _speaks_otherwise(task, name, value)] or list(options)
        rule = "must keep the vocabulary, or no model trained on it fits"
        refuse(", ".join(blamed), rule, options[blamed[0]] if len(blamed) == 1 else [options[name] for name in blamed])
    if depth is None:
        return sized
    able = explorable(sized)
    return _changed(sized, able.depth_options(_known(able, depth)))


def write(task: Task, batch: Batch) -> str:
    """Return a batch of one example as a text that a person can edit and ``read`` takes.

    Depths of questions stand in it only if they differ, so that another depth can be asked of the same text.

    Raises:
        InvalidInputError: if the batch does not hold exactly one example, or the task has no own input.
    """
    return explorable(task).write(_one(batch))


def read(task: Task, text: str, *, depth: int | None = None) -> Batch:
    """Return a batch of one example from a text; its targets are what the task's oracle finds.

    Args:
        task: whose rules the text follows (``input_help``).
        text: at most ``longest_text`` characters; spaces, tabs and line ends part its words, other white space is refused.
        depth: reasoning depth of every question; None where the text settles it (always if ``depth_in_text``). Given where the
            text settles it, it must be the same.

    Raises:
        InvalidInputError: one line that says what is wrong and where, for whatever is no example of this task.
    """
    able = explorable(task)
    require(isinstance(text, str), TEXT, "must be a string", type(text).__name__)
    most = longest_text(task)
    require(len(text) <= most, TEXT, f"must have at most {most} characters", len(text))
    if depth is not None:
        _known(able, depth)
    example = able.read(tidied(text, task.vocab), depth).map(lambda tensor: tensor.long().contiguous())
    assert not unsolved(task, example).any()
    return example


def longest_text(task: Task) -> int:
    """Return the most characters of a text of this task: 20,000, or as many as its longest example can take."""
    return max(LONGEST_TEXT, task.seq_len * (max(map(len, task.vocab)) + _AROUND_A_WORD))


def input_help(task: Task) -> str:
    """Return the rule of own input in one sentence, with an example."""
    return explorable(task).input_help


def known_depths(task: Task) -> tuple[int, ...]:
    """Return the depths that can be asked, rising."""
    return explorable(task).known_depths


def depth_in_text(task: Task) -> bool:
    """Return whether a text settles the depth of its questions, so that none is to be given beside it."""
    return explorable(task).depth_in_text


def reasoning(task: Task, batch: Batch) -> xr.Dataset:
    """Return the way to every answer of one example.

    Returns:
        ``text`` [answer, step]: where the way has come to, "" beyond its end; step 0 is the start, the last step
            the answer, spelled as answers are.
        ``position`` [answer, step]: position in the sequence of the first token that the step reads, -1 for none.
        attrs: ``form`` ("automaton", "walk" or "chain", see ``Reasoning``), and ``asked_cell`` of an automaton. Answers that the
        example does not ask are left out.

    Raises:
        InvalidInputError: if the batch does not hold exactly one example, or the task shows no reasoning.
    """
    found = explorable(task).reasoning(_one(batch))
    shape = (len(found.ways), max(map(len, found.ways)))
    position = np.full(shape, -1)
    text = np.full(shape, "", dtype=f"<U{max(len(step.text) for way in found.ways for step in way)}")
    for answer, way in enumerate(found.ways):
        text[answer, : len(way)] = [step.text for step in way]
        position[answer, : len(way)] = [step.position for step in way]
    attrs: dict[str, str | int] = {"form": found.form}
    if found.asked_cell is not None:
        attrs["asked_cell"] = found.asked_cell
    return xr.Dataset({"text": (("answer", "step"), text), "position": (("answer", "step"), position)}, attrs=attrs)


def explorable(task: Task) -> Explorable:
    """Return the task as one that the explorer can show.

    Raises:
        InvalidInputError: naming the methods that it lacks.
    """
    if isinstance(task, Explorable):
        return task
    lacks = sorted(name for name in _CAPABILITIES if not hasattr(task, name))
    return refuse("task", f"must have {', '.join(lacks)} to be explored (see sleepkit.tasks.explore.Explorable)", task.name)


def _known(task: Explorable, depth: int) -> int:
    known = task.known_depths
    together = len(known) > 2 and known == tuple(range(known[0], known[-1] + 1))
    rule = f"must be {known[0]} to {known[-1]}" if together else f"must be one of {', '.join(map(str, known))}"
    require(isinstance(depth, int) and not isinstance(depth, bool) and depth in known, "depth", rule, depth)
    return depth


def _changed(task: Task, changes: dict[str, Any]) -> Task:
    make: Any = type(task)
    made: Task = make(task.config.replace(**changes))
    return made


def _speaks_otherwise(task: Task, name: str, value: object) -> bool:
    """Whether one option alone changes the vocabulary; not known where it is impossible alone."""
    try:
        return _changed(task, {name: value}).vocab != task.vocab
    except InvalidInputError:
        return False


def _one(batch: Batch) -> Batch:
    require(batch.size == 1, "batch", "must hold one example", batch.size)
    return batch
