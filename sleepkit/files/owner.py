"""Which process made something, and whether that process is gone."""

import contextlib
import os
import re
import socket
from pathlib import Path
from typing import NamedTuple


class Owner(NamedTuple):
    """A process, told apart from a later one that was given the same number.

    Attributes:
        host: name of the machine, with letters, digits and underscores only.
        space: number of the space that process numbers belong to, which containers of one host do not share; 0 if unknown.
        pid: its number.
        born: when it began, in ticks since the machine started; 0 if unknown.
    """

    host: str
    space: int
    pid: int
    born: int

    def __str__(self) -> str:
        return f"{self.host}-{self.space}-{self.pid}-{self.born}"

    @property
    def is_here(self) -> bool:
        """Whether its number means something on this machine."""
        return (self.host, self.space) == _place()

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended: never of a process elsewhere."""
        return self.is_here and _born(self.pid) != self.born


PATTERN = r"(\w+)-(\d+)-(\d+)-(\d+)"  # an Owner as text


def this_process() -> Owner:
    """Return the process that asks."""
    return process(os.getpid())


def process(pid: int) -> Owner:
    """Return a process of this machine."""
    return Owner(*_place(), pid, _born(pid) or 0)


def from_text(text: str) -> Owner | None:
    """Return the owner that was written as text; None if it is none."""
    found = re.fullmatch(PATTERN, text.strip(), re.ASCII)
    return Owner(found[1], *map(int, found.groups()[1:])) if found else None


def _place() -> tuple[str, int]:
    space = 0
    with contextlib.suppress(OSError):
        space = os.stat("/proc/self/ns/pid").st_ino
    return re.sub(r"\W", "_", socket.gethostname(), flags=re.ASCII)[:48] or "_", space


def _born(pid: int) -> int | None:
    """Return when a process began, 0 if that cannot be known; None if there is none, or one that has ended and waits."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, ValueError):
        return 0
    else:
        return None if state in "ZX" else int(numbers[18])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass
    return 0
