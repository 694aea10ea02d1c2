"""Who works on a file: one process at a time, until it lets go or ends, however it dies.

Where the file system has locks (``flock``), the file itself is locked. Where it has none (some NFS, Lustre, FUSE), a file beside
it, NAME.held, made by one process alone, names host and process; one whose process is gone holds nothing. Both are always
looked at, because a folder may be seen from machines of either kind.
"""

import contextlib
import errno
import fcntl
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from sleepkit.files import owner

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_PAUSE_S = 0.02
_WRITING_S = 10.0
_warned: set[Path] = set()


class Hold:
    """A file that this process holds.

    Args:
        path: the file; it is made if it is not there, and never removed.
        handle: its open handle; a process that inherits it shares the hold.
    """

    def __init__(self, path: Path, handle: int, held: Path | None) -> None:
        self.path, self.handle, self._held = path, handle, held

    def hand_over(self, pid: int) -> None:
        """Let a process of this machine hold the file instead, which has inherited the handle."""
        if self._held is not None:
            self._held.write_text(f"{owner.process(pid)}\n")
        self._held = None
        os.close(self.handle)

    def release(self) -> None:
        """Let the file go."""
        if self._held is not None:
            self._held.unlink(missing_ok=True)
        self._held = None
        os.close(self.handle)


def take(path: Path, *, patience_s: float | None = 0.0) -> Hold | None:
    """Hold a file, or return None if another process does.

    Args:
        path: the file; its folder must be there.
        patience_s: how long to wait for another process, seconds; None: until it lets go.

    Raises:
        OSError: if the file cannot be made or opened.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    end = None if patience_s is None else time.monotonic() + patience_s
    try:
        while True:
            hold = _try(path, handle)
            if hold is not None:
                return hold
            if end is not None and time.monotonic() >= end:
                os.close(handle)
                return None
            time.sleep(_PAUSE_S)
    except BaseException:
        os.close(handle)
        raise


def is_held(path: Path) -> bool:
    """Return whether a process holds a file."""
    if _is_living(_beside(path)):
        return True
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return _lock(handle, fcntl.LOCK_SH) is False
    finally:
        os.close(handle)


@contextlib.contextmanager
def turn(path: Path) -> Iterator[int]:
    """Hold a file while the work inside is done, after waiting for whoever holds it; yield its handle, open for appending."""
    hold = take(path, patience_s=None)
    assert hold is not None
    try:
        yield hold.handle
    finally:
        hold.release()


def _try(path: Path, handle: int) -> Hold | None:
    held = _beside(path)
    locked = _lock(handle, fcntl.LOCK_EX)
    if locked:
        if not _is_living(held):
            return Hold(path, handle, None)
        fcntl.flock(handle, fcntl.LOCK_UN)
        return None
    if locked is None and _make(held):
        _warn(path, held)
        return Hold(path, handle, held)
    return None


def _lock(handle: int, kind: int) -> bool | None:
    """Lock an open file; return False if another process has it, None where there are no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")


def _is_living(held: Path) -> bool:
    """Whether a file names a process that is not known to be gone; one that says nothing yet is being written."""
    try:
        found = owner.from_text(held.read_text(errors="replace"))
        return time.time() - held.stat().st_mtime < _WRITING_S if found is None else not found.is_gone
    except OSError:
        return False


def _make(held: Path) -> bool:
    """Make the file that names this process; return False if another living one is named."""
    for _ in range(2):
        with contextlib.suppress(FileExistsError):
            handle = os.open(held, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "w") as file:
                file.write(f"{owner.this_process()}\n")
            return True
        if _is_living(held):
            return False
        _discard(held)
    return False


def _discard(held: Path) -> None:
    """Remove the file of a process that is gone, and never the one that a living process has put in its place meanwhile."""
    aside = held.with_name(f".{held.name}.{owner.this_process()}.stale")
    with contextlib.suppress(FileNotFoundError):
        held.rename(aside)
        if _is_living(aside) and not held.exists():
            aside.rename(held)
        else:
            aside.unlink()


def _warn(path: Path, held: Path) -> None:
    if path not in _warned:
        _warned.add(path)
        warnings.warn(f"{path}: this file system has no locks; {held.name} beside it says who works there", stacklevel=4)
