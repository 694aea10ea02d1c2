"""Reading a folder that somebody may be replacing: old or new, never a mixture and never half of it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sleepkit.errors import SleepkitError
from sleepkit.files.leftovers import retired

_MOST_TRIES = 20
Found = TypeVar("Found")


def read_folder(path: Path, read: Callable[[Path], Found]) -> Found:
    """Return what ``read`` finds in a folder, read again if the folder was replaced meanwhile.

    Args:
        path: the folder.
        read: called with the place of the folder, which is another one while a writer is between two steps.
    """
    for _ in range(_MOST_TRIES):
        place = path if path.exists() else retired(path) or path
        before = _identity(place)
        try:
            found = read(place)
        except (SleepkitError, OSError):
            if _identity(place) == before and (before is not None or retired(path) is None):
                raise
        else:
            if _identity(place) == before:
                return found
    return read(path)


def _identity(place: Path) -> tuple[int, int, int] | None:
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
