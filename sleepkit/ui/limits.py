"""What visitors of this process may ask for: one set of limits, read by every session, set before the server starts.

Imports no Panel and no torch, so that whatever computes can ask.
"""

import dataclasses
from pathlib import Path

from sleepkit.errors import refuse, require

COUNTS = (
    "max_input_len",
    "max_passes",
    "max_work",
    "max_trace_mib",
    "max_figure_kib",
    "max_measured_work",
    "max_queue",
    "max_sessions",
)
_KIB, _MIB = 2**10, 2**20


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one process grants its visitors.

    Attributes:
        read_only: nothing may be written to this machine's disk and nothing trained; looking and downloading stay allowed.
        models: the folder that published models lie in; a read-only process shows no others, None: none at all.
        max_input_len: characters of a text of one's own.
        max_passes: the largest N.
        max_work: tokens x passes x layers of one request, those at the compared N included.
        max_trace_mib: MiB of the traces of one request.
        max_figure_kib: KiB of numbers in one figure, the attention of one layer in one pass.
        max_measured_work: tokens x passes x layers of one measurement of accuracy.
        max_queue: pieces of work, of all sessions together, that may wait for one thread or be in it.
        max_sessions: open pages.

    Raises:
        InvalidInputError: if a number is below 1.
    """

    read_only: bool = False
    models: Path | None = None
    max_input_len: int = 20_000
    max_passes: int = 16
    max_work: int = 100_000
    max_trace_mib: int = 48
    max_figure_kib: int = 2048
    max_measured_work: int = 10_000_000
    max_queue: int = 64
    max_sessions: int = 64

    def __post_init__(self) -> None:
        for name in COUNTS:
            value = getattr(self, name)
            require(value >= 1, name, "must be 1 or more", value)

    def describe(self) -> str:
        """Return the limits on one request in one line."""
        return (
            f"N up to {self.max_passes}, tokens x passes x layers up to {self.max_work:,}, "
            f"traces up to {self.max_trace_mib} MiB, figures up to {self.max_figure_kib} KiB, "
            f"own input up to {self.max_input_len:,} characters, {self.max_sessions} open pages"
        )


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


def require_work(work: int) -> None:
    """Refuse a request that takes too long.

    Args:
        work: tokens x passes x layers.

    Raises:
        InvalidInputError: if it does; the line names the limit, the price and what raises the limit.
    """
    most = current().max_work
    rule = f"must take {most:,} tokens x passes x layers or less on this server (sleepkit dashboard --max-work)"
    require(work <= most, "context, window_len, n_passes, compare", rule, work)


def require_measured_work(work: int) -> None:
    """Refuse a measurement of accuracy that takes too long.

    Args:
        work: tokens x passes x layers.

    Raises:
        InvalidInputError: as ``require_work``.
    """
    most = current().max_measured_work
    rule = f"must take {most:,} tokens x passes x layers or less on this server (sleepkit dashboard --max-measured-work)"
    require(work <= most, "accuracy at these settings", rule, work)


def require_memory(trace_bytes: int, figure_bytes: int) -> None:
    """Refuse a request whose traces, or one of whose figures, are too large.

    Args:
        trace_bytes: of the traces at both N.
        figure_bytes: of the largest figure.

    Raises:
        InvalidInputError: as ``require_work``.
    """
    most, given = current().max_trace_mib, -(-trace_bytes // _MIB)
    rule = f"must have traces of {most} MiB or less on this server (sleepkit dashboard --max-trace-mib)"
    require(trace_bytes <= most * _MIB, "context, window_len, n_passes, compare", rule, f"{given} MiB")
    most, given = current().max_figure_kib, -(-figure_bytes // _KIB)
    rule = f"must have figures of {most} KiB or less on this server (sleepkit dashboard --max-figure-kib)"
    require(figure_bytes <= most * _KIB, "window_len", rule, f"{given} KiB")


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
        InvalidInputError: if no file system can have such a name, or if the process is read-only and the folder does not lie in
            ``models``.
    """
    given = current()
    try:
        place, models = folder.resolve(), None if given.models is None else given.models.resolve()
        folder.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL in it, links in a circle
        refuse("model", f"must be bundled or a folder ({error.__class__.__name__})", str(folder))
    if given.read_only:
        inside = models is not None and place.is_relative_to(models)
        require(inside, "model", "must be bundled or published in this server's folder of runs", str(folder))
