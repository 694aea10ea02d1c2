"""Messages of a table that no browser sends: one line on the page or in the log, and nothing is done."""

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

from sleepkit.errors import InvalidInputError
from sleepkit.ui.lab.launch import Launcher
from sleepkit.ui.lab.session import LabSession
from sleepkit.ui.lab.state import LabState
from sleepkit.ui.lab.store import RunStore
from tests.robustness.made_up import TEXTS, judged_line, try_all

_ACTIONS = ("stop", "resume", "publish", "open", "delete", "__class__")


def try_messages(n_tries: int, *, seed: int) -> dict[str, Any]:
    """Send made-up messages to the table of the lab page."""
    draw = random.Random(f"{seed} messages")
    with tempfile.TemporaryDirectory() as root:
        return {"table": try_all([(root, _made_up(draw)) for _ in range(n_tries)], _judge)}


def _made_up(draw: random.Random) -> Any:
    values: tuple[Any, ...] = (*TEXTS, *_ACTIONS, None, True, 3, -1.5, [], {}, ["stop"], {"action": "stop"}, 10**400)
    kind = draw.random()
    if kind < 0.25:
        return draw.choice(values)
    if kind < 0.5:
        return {draw.choice(("action", "key", "x")): draw.choice(values)}
    return {"action": draw.choice(values), "key": draw.choice((*values, "tiny/../..", "/", "."))}


def _judge(tried: tuple[str, Any]) -> tuple[str, str]:
    root, message = tried
    session = _session(root)
    session._say("")
    try:
        session.table._handle_msg(message)
    except InvalidInputError as error:  # one line in the log
        return judged_line(str(error))
    if list(Path(root).iterdir()):
        return "accepted_wrong", "it wrote something"
    if not session.refusal:
        return "accepted_wrong", "nothing was said"
    return judged_line(session.refusal)


@functools.cache
def _session(root: str) -> LabSession:
    """Return the one session of a process: to build its widgets takes longer than a hundred messages."""
    return LabSession(LabState(), RunStore(Path(root)), Launcher(Path(root)))
