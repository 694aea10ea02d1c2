"""Work in a forked process, where a crash and a hang are results like any other.

A fork costs milliseconds where a new interpreter costs the seconds that torch takes to be imported. The parent itself never
reads, trains or computes: what it does not hold, a child cannot inherit broken.
"""

import dataclasses
import gc
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import torch

from sleepkit.errors import SleepkitError

Ending = Literal["returned", "refused", "raised", "died", "hung"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the work of a child ended.

    Attributes:
        ending: returned; refused, with an error of the project's own; raised any other error; died; hung.
        value: what was returned, the message of an error, or the signal.
    """

    ending: Ending
    value: Any


def in_child(work: Callable[[], Any], *, timeout_s: float = 30.0) -> Outcome:
    """Run work in a forked process and return how it ended; what it returns travels as JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work_and_tell(work, writer)
    os.close(writer)
    try:
        told = _read(reader, timeout_s)
    finally:
        os.close(reader)
        if told_nothing_yet(child):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if told is None:
        return Outcome("hung", f"{timeout_s} s")
    if not told:
        return Outcome("died", "it told nothing")
    ending, value = json.loads(told)
    return Outcome(ending, value)


def made_whole(outcome: Outcome) -> None:
    """Refuse to go on from anything but work that came to its end.

    Raises:
        RuntimeError: telling how it ended.
    """
    if outcome.ending != "returned":
        raise RuntimeError(f"{outcome.ending}: {outcome.value}")


def quiet() -> None:
    """Send what this process prints, and what C code in it prints, nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nowhere, handle)


def told_nothing_yet(child: int) -> bool:
    """Return whether a child still runs, after giving it a moment to end."""
    for _ in range(50):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    return True


def _work_and_tell(work: Callable[[], Any], writer: int) -> NoReturn:
    try:
        quiet()
        try:
            told: tuple[Ending, Any] = ("returned", work())
        except SleepkitError as error:
            told = ("refused", str(error))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            told = ("raised", f"{type(error).__name__}: {error}")
        data = json.dumps(told).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _read(reader: int, timeout_s: float) -> bytes | None:
    """Read until the other side closes; None if it does not in time."""
    until, parts = time.monotonic() + timeout_s, []
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        part = os.read(reader, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def warm_up(*works: Callable[[], object]) -> None:
    """Import here, once, what children would each import for themselves, and give every process one thread.

    Args:
        works: what imports it by doing it; no gradients, which no child could compute after that.
    """
    torch.set_num_threads(1)
    for work in works:
        work()
    gc.collect()
    gc.freeze()  # a child that collects would write into every page it shares with this process
