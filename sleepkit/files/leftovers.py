"""What writers make beside their place, and what is left of it when they are killed.

    .NAME.HOST-SPACE-PID-BORN-RANDOM.part    a file or folder on its way
    .NAME.HOST-SPACE-PID-BORN-RANDOM.old     a folder while another takes its place in two steps

The name tells whose it is. A sweep removes what belongs to a process that is gone, and, of other machines, what is older than a
day; what a living process makes is never touched. An ".old" whose place is empty is read in its stead and goes back there with
the next writer: nothing is lost between the two steps.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from sleepkit.files import owner

_LONGEST_NAME = 100  # bytes; names may have 255, and this one gets company
_OLD_S = 24 * 3600.0
_NAME = re.compile(rf"\.(?P<name>.+)\.(?P<owner>{owner.PATTERN})-[0-9a-f]{{8}}\.(?P<kind>part|old)", re.ASCII | re.DOTALL)


def beside(target: Path, kind: str) -> Path:
    """Return a new name beside a file or folder, for what this process makes; kind: "part" or "old"."""
    return target.with_name(f".{_short(target.name)}.{owner.this_process()}-{secrets.token_hex(4)}.{kind}")


def retired(target: Path) -> Path | None:
    """Return the older folder that was put aside for a newer one which has not arrived; None if there is none."""
    return next((path for path, found in _leftovers(target.parent) if _is_retired(found, target.name)), None)


def settle(target: Path) -> None:
    """Put a folder back that was put aside by a writer that is gone, if its place is empty; else remove it."""
    for path, found in _leftovers(target.parent):
        if _is_retired(found, target.name) and _is_dead(path, found):
            if os.path.lexists(target):
                shutil.rmtree(path)
            else:
                path.rename(target)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder; what cannot be removed stays, and so does an ".old" whose place is empty."""
    for path, found in _leftovers(folder):
        with contextlib.suppress(OSError):
            if not _is_dead(path, found) or (found["kind"] == "old" and not os.path.lexists(folder / found["name"])):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _leftovers(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in sorted(names):
        if found := _NAME.fullmatch(name):
            yield folder / name, found


def _is_retired(found: re.Match[str], name: str) -> bool:
    return found["kind"] == "old" and found["name"] == _short(name)


def _is_dead(path: Path, found: re.Match[str]) -> bool:
    made_by = owner.from_text(found["owner"])
    if made_by is None or made_by.is_here:
        return made_by is not None and made_by.is_gone
    return time.time() - path.lstat().st_mtime > _OLD_S


def _short(name: str) -> str:
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else hashlib.sha256(encoded).hexdigest()[:32]
