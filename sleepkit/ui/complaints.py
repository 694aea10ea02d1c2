"""The log of a server: what a visitor sent in vain is one line; what went wrong in code of ours keeps its traceback.

Bokeh and Tornado log a traceback, with the whole message, for whatever a websocket brings that they do not understand: bytes cut
short, unknown events, models that are not there, numbers where texts belong. Whoever writes such messages by hand would fill the
log. What tells the two apart is whether a line of sleepkit was reached: the libraries refuse messages before any of ours is, and
ours refuse what they cannot use by errors of sleepkit's own.
"""

import logging
from pathlib import Path
from types import TracebackType

from sleepkit.errors import SleepkitError, one_line

_LOGGERS = (
    "asyncio",
    "bokeh.server.protocol_handler",
    "bokeh.server.views.ws",
    "panel",
    "tornado.access",
    "tornado.application",
    "tornado.general",
)
_OURS = str(Path(__file__).resolve().parents[1])
_LONGEST = 400


class OneLine(logging.Filter):
    """Turns the record of a message that was refused into one line, and leaves faults of ours as they are."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record if it tells of a visitor's message; every record is logged."""
        error, trace = (None, None) if not record.exc_info else record.exc_info[1:]
        if error is not None and not isinstance(error, SleepkitError) and _reached_ours(trace):
            return True
        said = record.getMessage() if error is None else f"refused: {type(error).__name__}: {error}"
        record.msg, record.args = one_line(said, most=_LONGEST), ()
        record.exc_info = record.exc_text = None
        return True


def tell_of_visitors_in_one_line() -> None:
    """Put the filter on the loggers through which a visitor's messages are told; once in a process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, OneLine) for each in logger.filters):
            logger.addFilter(OneLine())


def _reached_ours(trace: TracebackType | None) -> bool:
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(_OURS):
            return True
        trace = trace.tb_next
    return False
