"""What visitors of this process may ask for: one set of limits, read by every session, set before the server starts.

Imports no Panel and no torch, so that whatever computes can ask.
"""

import dataclasses
from pathlib import Path

from sleepkit.errors import require


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one process grants its visitors.

    Attributes:
        read_only: nothing may be written to this machine's disk and nothing trained; looking and downloading stay allowed.
        models: the folder that published models lie in; a read-only process shows no others, None: none at all.
        max_input_len: characters of a text of one's own.
        max_passes: the largest N.
        max_queue: pieces of work, of all sessions together, that may wait for one thread or be in it.
        max_sessions: open pages.

    Raises:
        InvalidInputError: if a number is below 1.
    """

    read_only: bool = False
    models: Path | None = None
    max_input_len: int = 20_000
    max_passes: int = 16
    max_queue: int = 32
    max_sessions: int = 64

    def __post_init__(self) -> None:
        for name in ("max_input_len", "max_passes", "max_queue", "max_sessions"):
            value = getattr(self, name)
            require(value >= 1, name, "must be 1 or more", value)


class _Holder:
    """Where the limits of the process are."""

    limits = Limits()


def current() -> Limits:
    """Return the limits of this process."""
    return _Holder.limits


def impose(limits: Limits) -> Limits:
    """Set the limits of this process and return those that held before."""
    before, _Holder.limits = _Holder.limits, limits
    return before


def require_room(n_waiting: int) -> None:
    """Refuse more work if the queue is full.

    Args:
        n_waiting: pieces of work that wait or are being done.

    Raises:
        InvalidInputError: if it is.
    """
    most = current().max_queue
    require(n_waiting < most, "queue", f"must be shorter than {most} (this server is busy: try again in a moment)", n_waiting)


def require_input_len(text: str) -> None:
    """Refuse a text of one's own that is too long, before anything reads it.

    Raises:
        InvalidInputError: if it is.
    """
    most = current().max_input_len
    require(len(text) <= most, "text", f"must have {most} characters or fewer on this server", len(text))


def require_passes(n_passes: int) -> None:
    """Refuse an N above what this process grants.

    Raises:
        InvalidInputError: if it is above.
    """
    most = current().max_passes
    require(n_passes <= most, "n_passes", f"must be {most} or less on this server", n_passes)


def require_writable(wanted: str) -> None:
    """Refuse what would write files or train.

    Args:
        wanted: what was asked for, e.g. "start a run".

    Raises:
        InvalidInputError: if the process is read-only.
    """
    require(not current().read_only, "read-only", "this server only shows what is there", wanted)


def require_model_folder(folder: Path) -> None:
    """Refuse a folder of a model that is not bundled, where the process only shows what its own runs have published.

    Raises:
        InvalidInputError: if the process is read-only and the folder does not lie in ``models``.
    """
    given = current()
    if given.read_only:
        inside = given.models is not None and folder.resolve().is_relative_to(given.models.resolve())
        require(inside, "model", "must be bundled or published in this server's folder of runs", str(folder))
