"""Texts of one's own for every task: refused in one line, or an example that is written and read again to the same bits."""

import functools
import random
from typing import Any

from sleepkit.errors import InvalidInputError
from sleepkit.tasks import Task, explore
from tests.robustness.made_up import TEXTS, judged_line, mutated, try_all
from tests.support.explored import CASES, assert_same_batch, depth_beside, make

_LONGEST = 600


def try_texts(n_tries: int, *, seed: int) -> dict[str, Any]:
    """Let every task read made-up texts; most are small changes of right ones."""
    told = {}
    for number, case in enumerate(CASES):
        draw = random.Random(f"{seed} {case}")
        n_own = n_tries // len(CASES) + (number < n_tries % len(CASES))
        told[case] = try_all([(case, *_made_up(_task(case), draw)) for _ in range(n_own)], _judge)
    return told


@functools.cache
def _task(case: str) -> Task:
    return make(case)


def _made_up(task: Task, draw: random.Random) -> tuple[str, int | None]:
    batch = task.batch("test", draw.randrange(50), 1)
    right, depth = explore.write(task, batch), depth_beside(task, batch)
    kind = draw.random()
    if kind < 0.1:
        text = draw.choice((*TEXTS, "x" * 20_001, "? " * 9_000, "0" * 20_000, " " * 20_000, right * 40))
    else:
        text = mutated(right, draw)
    return text, depth if draw.random() < 0.8 else draw.choice((None, 0, -1, 1, 2, 99, 10**30))


def _judge(tried: tuple[str, str, int | None]) -> tuple[str, str]:
    case, text, depth = tried
    task = _task(case)
    try:
        batch = explore.read(task, text, depth=depth)
    except InvalidInputError as error:
        return judged_line(str(error), most=_LONGEST)
    if not text.isascii():
        return "accepted_wrong", "a character that no task knows"
    again = explore.read(task, explore.write(task, batch), depth=depth_beside(task, batch))
    try:
        assert_same_batch(again, batch)
    except AssertionError as error:
        return "accepted_wrong", f"read again it is another example: {error}"
    return "accepted", ""
