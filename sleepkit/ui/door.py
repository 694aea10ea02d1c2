"""The way into the dashboard: a visitor gets the frame of the page at once, and it is furnished when the browser is ready for it.

A browser reads the page's scripts for about a second. A server that has just started loads its own modules meanwhile, in a
thread, instead of before it answers; nothing of them is imported here but the components that run in the browser: it is told of
those that there are when it takes the frame, and could not show others that come later. The thread begins when the page's script
has run: Panel looks at what that imported, module by module, and must not find one that came and went meanwhile.
"""

import asyncio
import contextlib
import functools
import importlib
import threading
from concurrent.futures import Future
from html import escape
from typing import Any

import panel as pn
from panel_material_ui.template.base import Page

from sleepkit.errors import SleepkitError
from sleepkit.ui.address import AddressBar, theme_asked_for
from sleepkit.ui.copy_link import CopyLink
from sleepkit.ui.figure import FigurePane
from sleepkit.ui.page import fill, frame

TITLE = "sleepkit: what a sleeping language model writes into its fast weights"
OPENING = "rule110-explorer"
# What the dashboard brings that runs in the browser, beside what every page has.
COMPONENTS = (AddressBar, CopyLink, FigurePane)
_WAIT = '<p class="sk-wait" role="status" style="margin:24px 4px;font-size:15px">{}</p>'


def open_app() -> Page:
    """Return the frame of the dashboard, which fills as soon as the browser has it."""
    page = open_frame()
    with contextlib.suppress(RuntimeError):  # of a script that no event loop runs
        asyncio.get_running_loop().call_soon(_load)
    wait = _words("Opening the explorer.")
    fill(page, [wait])

    def tell(n_before: int) -> None:
        wait.object = _WAIT.format(f"Opening the explorer. {n_before} before you.")

    async def enter() -> None:
        try:
            app = await asyncio.shield(asyncio.wrap_future(_load()))  # of all visitors: it goes on when this one leaves
            await app.furnish(page, on_place=tell)
        except Exception as error:  # whatever it is, the page must not wait for ever; it is raised again for the log
            reason = str(error) if isinstance(error, SleepkitError) else "an error, which the server's log tells"
            fill(page, [_words(f"The explorer cannot open: {reason}")])
            raise

    pn.state.onload(enter)
    return page


def _words(text: str) -> pn.pane.HTML:
    return pn.pane.HTML(_WAIT.format(escape(text)), sizing_mode="stretch_width")


def open_frame() -> Page:
    """Return the page of the dashboard with nothing but its bar, in the colours that the address asks for."""
    pn.extension("plotly", notifications=False)
    return frame(TITLE, with_controls=True, theme=theme_asked_for())


@functools.cache
def _load() -> "Future[Any]":
    """Begin to load the dashboard in a thread, once in a process, and return what will be its module."""
    loaded: Future[Any] = Future()

    def load() -> None:
        try:
            app = importlib.import_module("sleepkit.ui.app")
            app.prepare()
            loaded.set_result(app)
        except BaseException as error:
            loaded.set_exception(error)
            raise

    threading.Thread(target=load, name="load", daemon=True).start()
    return loaded
