"""How many pages may be open at once: one too many gets a page that says so."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import panel as pn
from panel_material_ui.template.base import Page

from sleepkit.ui import limits
from sleepkit.ui.page import framed
from sleepkit.ui.upkeep import UPKEEP

_FULL = (
    '<div class="sk-full" role="alert" style="max-width:40em;margin:3em auto;font-size:16px;line-height:1.5">'
    '<h1 style="font-size:22px">All seats are taken</h1>'
    "<p>This server shows {most} open pages at once, and as many are open. Close one of yours, or reload in a minute.</p></div>"
)


class Seats:
    """The sessions that hold a seat; safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, session: str) -> bool:
        """Give a seat to a session and return whether there was one."""
        with self._lock:
            if len(self._taken) >= limits.current().max_sessions:
                return False
            self._taken.add(session)
            return True

    def leave(self, session: str) -> None:
        """Take back the seat of a session, if it holds one."""
        with self._lock:
            self._taken.discard(session)


SEATS = Seats()


def seated(build: Callable[[], Page]) -> Callable[[], Page]:
    """Return a builder that takes a seat for the session it builds a page for; without a free one it builds a page that says so.

    The seat is free again when the session is destroyed, or at once if the page cannot be built. A page built outside a server
    needs none.
    """

    @functools.wraps(build)
    def page() -> Page:
        document = pn.state.curdoc
        if document is None or document.session_context is None:
            return build()
        session = str(document.session_context.id)
        if not SEATS.take(session):
            return _full()

        def leave(_context: Any) -> None:
            SEATS.leave(session)
            UPKEEP.plan(lambda: len(SEATS) > 0)

        document.on_session_destroyed(leave)
        try:
            return build()
        except BaseException:
            SEATS.leave(session)
            raise

    return page


def _full() -> Page:
    message = pn.pane.HTML(_FULL.format(most=limits.current().max_sessions), sizing_mode="stretch_width")
    return framed("sleepkit", [message])
