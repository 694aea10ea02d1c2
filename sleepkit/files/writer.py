"""One writer for everything that is saved: files and folders that are whole or not there.

Written beside their place, flushed to disk, then renamed. Modes follow the umask, or those of what was there. Symbolic links
stay, and what they point to is replaced. Devices, pipes and handles ("/dev/stdout") are written into, once all is ready.
"""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sleepkit.errors import refuse, require
from sleepkit.files.leftovers import beside, settle, sweep

_MOST_LINKS = 40
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2
_NO_SUCH_CALL = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@contextlib.contextmanager
def whole_file(path: Path | str, *, mode: int | None = None) -> Iterator[Path]:
    """Yield the path of an empty file to write; on success it takes the place of ``path`` in one step.

    Args:
        path: the file, a symbolic link to it, or a device or pipe to write into; folders on the way are made.
        mode: its permissions; None: those of the file that was there, or as the umask says.

    Raises:
        InvalidInputError: if the path is a folder or a ring of links.
        OSError: if the disk refuses; the file that was there stays as it was.
    """
    target = _follow(path)
    if _is_handle(target) or (target.exists() and not target.is_file()):
        require(not target.is_dir(), "path", "must be a file, not a folder", str(path))
        with tempfile.TemporaryDirectory(prefix="sleepkit-") as folder:
            temporary = Path(folder) / target.name
            temporary.touch()
            yield temporary
            _pour(temporary, target)
        return
    make_folder(target.parent)
    sweep(target.parent)
    temporary = beside(target, "part")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode))
        usual = stat.S_IMODE((target if target.exists() else temporary).stat().st_mode)
        yield temporary
        temporary.chmod(usual if mode is None else mode)
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    except OSError as error:
        raise _told_of(error, temporary, target) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path | str, *parts: bytes | memoryview | str, mode: int | None = None) -> None:
    """Write parts, one after the other, as one file; see ``whole_file``. Texts are UTF-8."""
    with whole_file(path, mode=mode) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part.encode() if isinstance(part, str) else part)


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield the path of an empty folder to fill; on success it takes the place of ``path``, and an older one is removed.

    Where the system can exchange two folders in one step, a folder is at the place all the time; where not, the older one is
    put aside for a moment, and ``read_folder`` finds it there.

    Raises:
        InvalidInputError: if the path is no folder, or a ring of links.
        OSError: if the disk refuses; the folder that was there stays as it was.
    """
    target = _follow(path)
    require(target.is_dir() or not os.path.lexists(target), "path", "must be a folder", str(path))
    make_folder(target.parent)
    settle(target)
    sweep(target.parent)
    temporary = beside(target, "part")
    try:
        temporary.mkdir()
        usual = stat.S_IMODE((target if target.exists() else temporary).stat().st_mode)
        yield temporary
        for inner in sorted(temporary.rglob("*"), reverse=True):
            inner.chmod(usual if inner.is_dir() else usual & 0o666)  # some libraries make files that only their owner can read
            sync(inner)
        temporary.chmod(usual)
        sync(temporary)
        _put_in_place(temporary, target)
        sync(target.parent)
    except OSError as error:
        raise _told_of(error, temporary, target) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as the umask says, and flush what is new to disk."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)


def sync(path: Path) -> None:
    """Flush a file or folder to disk; a folder only where the file system can do that."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)):
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from None


def _told_of(error: OSError, temporary: Path, target: Path) -> OSError:
    """Return an error that names the place and not what is made beside it, of which nobody knows."""
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    if error.errno is None or not (named is None or Path(named) == temporary or temporary in Path(named).parents):
        return error
    return OSError(error.errno, error.strerror, str(target))


def _put_in_place(temporary: Path, target: Path) -> None:
    """Let a folder take its place; what was there is removed, or lies where the new one was made."""
    if not target.exists():
        temporary.rename(target)
    elif not _exchange(temporary, target):
        aside = beside(target, "old")
        target.rename(aside)
        try:
            temporary.rename(target)
        except OSError:
            aside.rename(target)
            raise
        shutil.rmtree(aside)


def _exchange(left: Path, right: Path) -> bool:
    """Exchange two folders in one step; return False, with nothing done, where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(left), _HERE, os.fsencode(right), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_SUCH_CALL:
        return False
    raise OSError(number, os.strerror(number), str(right))


def _follow(path: Path | str) -> Path:
    """Return where symbolic links lead, the first of them that is a handle of a process, or the missing file at their end."""
    require("\0" not in str(path), "path", "must hold no NUL character", str(path))
    place = Path(path)
    for _ in range(_MOST_LINKS):
        if _is_handle(place) or not place.is_symlink():
            return place
        place = place.parent / place.readlink()
    return refuse("path", "must not be a ring of symbolic links", str(path))


def _is_handle(place: Path) -> bool:
    """Whether a path names an open file of a process: a new file there would take the wrong place, or none."""
    return bool(re.fullmatch(r"/proc/\d+(/task/\d+)?/fd|/dev/fd", os.path.realpath(place.parent)))


def _pour(source: Path, target: Path) -> None:
    flags = os.O_WRONLY | (os.O_APPEND if _is_handle(target) else 0)
    with source.open("rb") as data, os.fdopen(os.open(target, flags), "wb") as stream:
        shutil.copyfileobj(data, stream)
