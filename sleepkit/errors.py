"""The kinds of error sleepkit raises on purpose, and what the operating system says, each in one line.

Every message is one line that names the argument, the rule it broke and the value received.
"""

import contextlib
import errno
import os
import re
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

MOST_CHARACTERS = 200
MOST_OF_A_RULE = 800

_OS_RULES = {
    errno.EACCES: "must be open to this user (permission denied)",
    errno.EBUSY: "must not be in use by the system",
    errno.EDQUOT: "must fit into the disk quota, which is used up",
    errno.EEXIST: "must not exist already",
    errno.EFBIG: "must not be larger than its file system allows",
    errno.EINVAL: "must be a file of a kind that allows this (invalid argument)",
    errno.EIO: "must be on a device that works (input or output failed)",
    errno.EISDIR: "must be a file, not a folder",
    errno.ELOOP: "must not be a link that leads in a circle",
    errno.EMFILE: "must not be one file too many (this process has its limit of files open)",
    errno.ENAMETOOLONG: "must have a shorter name",
    errno.ENFILE: "must not be one file too many (this machine has its limit of files open)",
    errno.ENODEV: "must be a device that is there",
    errno.ENOENT: "must exist",
    errno.ENOLCK: "must be on a file system with locks",
    errno.ENOSPC: "must be on a device with space left, which is full",
    errno.ENOTDIR: "must not lead through a file as if it were a folder",
    errno.ENOTEMPTY: "must be an empty folder",
    errno.ENXIO: "must be a device or pipe that somebody serves",
    errno.EPERM: "must be open to this user (operation not permitted)",
    errno.EROFS: "must not be on a read-only file system",
    errno.ESTALE: "must still be there (the network file system has lost it)",
    errno.ETXTBSY: "must not be a program that is running",
    errno.EXDEV: "must stay on one file system",
}
_WRAPPED = re.compile(r"(?:errno = |os error |\[Errno )(\d+)")  # as HDF5, safetensors and Python write it


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


class MissingPackageError(SleepkitError, ImportError):
    """A package that an extra of the installation brings is not there."""


def refuse(argument: str, rule: str, value: object) -> NoReturn:
    """Raise the one-line error for a value that breaks a rule; a long value is shortened.

    Raises:
        InvalidInputError: always.
    """
    raise InvalidInputError(f"{one_line(argument)}: {one_line(rule, most=MOST_OF_A_RULE)}, got {shortened(value)}")


def require(condition: bool, argument: str, rule: str, value: object) -> None:
    """Refuse ``value`` unless ``condition`` holds.

    Raises:
        InvalidInputError: if the condition is false.
    """
    if not condition:
        refuse(argument, rule, value)


def require_known(argument: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known; the message lists those that are, and the nearest one first where one is near.

    Raises:
        InvalidInputError: naming the argument.
    """
    names = list(known)
    if name not in names:
        refuse(argument, f"must be one of {', '.join(names)}{nearest(name, names)}", name)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the known name that a mistyped one is nearest to; "" if none is near."""
    import difflib

    near = difflib.get_close_matches(name[:MOST_CHARACTERS], list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def require_count(argument: str, value: object, *, least: int = 1, or_none: bool = False) -> None:
    """Refuse anything but an integer of at least ``least``, a boolean too; None where that may stand for all or for any.

    Raises:
        InvalidInputError: naming the argument.
    """
    good = (or_none and value is None) or (isinstance(value, int) and not isinstance(value, bool) and value >= least)
    require(good, argument, f"must be {'None or ' if or_none else ''}an integer >= {least}", value)


def one_line(said: object, *, most: int = MOST_CHARACTERS) -> str:
    """Return what an error (or anything else) says as one printable line of at most ``most`` characters.

    Control characters and halves of surrogate pairs are written as escapes, so that neither a terminal nor a file chokes on them.
    """
    text = str(said)[: 50 * most]  # no message is read further than that
    line = " ".join(text.split()) or type(said).__name__
    return _cut("".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in line), most)


def shortened(value: object) -> str:
    """Return the ``repr`` of a value as one line of at most 200 characters, whatever the value is."""
    if isinstance(value, str):
        return _cut(repr(value[: MOST_CHARACTERS + 1]), MOST_CHARACTERS)
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, lists in lists in lists
        text = _OUTLINE.repr(value)
    return one_line(text)


class _Outline(reprlib.Repr):
    """Draws the outermost levels alone, and of an integer with thousands of digits how long it is."""

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 - the library's signature
        n_bits = x.bit_length()
        return repr(x) if n_bits < 1000 else f"<an integer of about {n_bits * 30103 // 100000 + 1} digits>"


_OUTLINE = _Outline()


def os_error(error: BaseException, path: str | Path) -> OSError | None:
    """Return what the operating system said, where that is behind an error: its own, or one of HDF5's or safetensors'.

    Args:
        error: as caught.
        path: what was read or written; named where the error names nothing.

    Returns:
        An OSError with number and path, or None if the error is of another kind.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        found = _WRAPPED.search(str(error))
        if found is None:
            return None
        number = int(found[1])
    named = error.filename if isinstance(error, OSError) else None
    return OSError(number, os.strerror(number), str(path) if named is None else named)


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Have whatever the operating system says meanwhile name a path, also where a library has wrapped it.

    Raises:
        OSError: of the kind that its number means, e.g. FileNotFoundError.
    """
    try:
        yield
    except Exception as error:
        found = os_error(error, path)
        if found is None:
            raise
        raise found from error


def os_rule(error: OSError) -> str:
    """Return the rule that was broken where the operating system raised an error, e.g. "must have a shorter name"."""
    known = _OS_RULES.get(error.errno or 0)
    return known or f"must be readable or writable here ({one_line(error.strerror or error)})"


def os_line(error: OSError) -> str:
    """Return an error of the operating system as one line that names the path and the rule."""
    if error.filename is None and error.errno is None:
        return one_line(error)
    named = error.filename if error.filename2 is None else error.filename2
    where = "the file" if named is None else shortened(named if isinstance(named, int) else os.fsdecode(named))
    return f"path: {os_rule(error)}, got {where}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
