"""What visitors of this process may ask for: one set of limits, read by every session, set before the server starts.

Imports no Panel and no torch, so that whatever computes can ask.
"""

import dataclasses

from sleepkit.errors import require


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one process grants its visitors.

    Attributes:
        read_only: nothing may be written to this machine's disk and nothing trained; looking and downloading stay allowed.
        max_input_len: tokens of a text of one's own.
        max_passes: the largest N.
        max_queue: pieces of work, of all sessions together, that may wait for one thread or be in it.
        max_sessions: open pages.

    Raises:
        InvalidInputError: if a number is below 1.
    """

    read_only: bool = False
    max_input_len: int = 4096
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


def require_input_len(n_tokens: int) -> None:
    """Refuse a text of one's own that is too long.

    Raises:
        InvalidInputError: if it is.
    """
    most = current().max_input_len
    require(n_tokens <= most, "text", f"must have {most} tokens or fewer on this server", n_tokens)


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
