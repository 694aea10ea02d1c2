"""The dashboard: controls at the left, one computed sentence on top, timeline and panes, all of it driven by one state."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmu
import plotly.graph_objects as go
from bokeh.document import Document
from panel_material_ui.template.base import Page

from sleepkit.errors import SleepkitError
from sleepkit.ui import query
from sleepkit.ui.address import address_bar, search_asked_for
from sleepkit.ui.choice import toggle
from sleepkit.ui.compute import Workshop, shared_workshop
from sleepkit.ui.copy_link import CopyLink
from sleepkit.ui.door import OPENING, open_frame
from sleepkit.ui.line import Line
from sleepkit.ui.opening import OnPlace, opening_of
from sleepkit.ui.page import filling, follow_theme
from sleepkit.ui.session import ExplorerSession
from sleepkit.ui.state import TABS, URL_NAMES, ExplorerState, opening_request, opening_values
from sleepkit.ui.subject import Subject, subject
from sleepkit.ui.tour import Tour

# Pages are furnished one after the other, each in small steps: whoever comes with many keeps nobody else waiting.
ENTRANCE = Line()
_REST_S = 0.01
_DONE = object()
_BAR = {"flex-wrap": "wrap", "row-gap": "4px", "align-items": "center"}
_SMALL = {"padding": "1px 8px", "textTransform": "none", "whiteSpace": "nowrap"}


def build_app(model_name: str = OPENING, *, workshop: Workshop | None = None) -> Page:
    """Build the dashboard of one session.

    Args:
        model_name: name of a bundled model, or the folder of a published one; the address may name another one.
        workshop: where traces and accuracies are computed; shared by all sessions of the process if None.

    Raises:
        InvalidInputError: if there is no such model, or the explorer cannot show it.
    """
    page, workshop = open_frame(), shared_workshop() if workshop is None else workshop
    state, refused = _asked_for(model_name)
    for _ in _furnishing(page, model_name, refused, lambda: ExplorerSession(state, workshop)):
        pass
    return page


async def furnish(page: Page, model_name: str = OPENING, *, on_place: OnPlace | None = None) -> None:
    """Put the dashboard of one session into the frame of its page; its picture is computed outside the event loop.

    Args:
        page: what ``door.open_frame`` returned.
        model_name: as for ``build_app``.
        on_place: called with how many pieces of work are done before this page's.

    Raises:
        InvalidInputError: as ``build_app``.
    """
    workshop = shared_workshop()
    state, refused = _asked_for(model_name)
    document = pn.state.curdoc
    opening = await opening_of(state, workshop, on_place=on_place)
    async with ENTRANCE.turn(on_place):
        steps = _furnishing(page, model_name, refused, lambda: ExplorerSession(state, workshop, opening))
        going = True
        while going and not _has_left(document):
            with pn.io.hold():
                going = next(steps, _DONE) is not _DONE
            await asyncio.sleep(_REST_S)  # who asks for something else meanwhile is answered


def _has_left(document: Document | None) -> bool:
    """Return whether the visitor of a page has left."""
    context: Any = None if document is None else document.session_context
    return context is not None and bool(context.destroyed)


def _asked_for(model_name: str) -> tuple[ExplorerState, str]:
    """Return the settings that the address asks for, and the line about what it asks for in vain."""
    state = ExplorerState()
    refused = _adopt(state, search_asked_for(), subject(model_name))
    return state, refused


def _furnishing(page: Page, model_name: str, refused: str, begin: Callable[[], ExplorerSession]) -> Iterator[None]:
    """Begin a session and put it on a page, in steps of a tenth of a second or two."""
    session = begin()
    yield
    state = session.state
    if refused:
        session.status.refuse(refused, "address")

    def visit(search: str) -> None:
        session.status.accept("address")
        refused = _adopt(state, search, subject(model_name), leave=("theme",))
        if refused:
            session.status.refuse(refused, "address")

    follow_theme(page, state)
    bar = address_bar(state, URL_NAMES, on_visit=visit)
    yield from filling(page, [*_body(session), bar], sidebar=session.controls)
    pn.state.onload(session.start)


def prepare(model_name: str = OPENING) -> None:
    """Read, and keep for all sessions, what the first picture of a model needs; outside the event loop."""
    source, asked = shared_workshop().source, opening_request(subject(model_name))
    for n_passes in (asked.n_passes, 1):
        source.known(asked.at(n_passes))
    go.Figure({"data": [{"type": "heatmap"}, {"type": "bar"}, {"type": "scatter"}]})  # plotly loads its parts when they are used


def _adopt(state: ExplorerState, search: str, opening: Subject, *, leave: Sequence[str] = ()) -> str:
    """Take over what an address asks for, all at once, and return the line about what was refused; "" if nothing was.

    What it does not name is as the model is first shown.

    Args:
        state: changed.
        search: what follows the path.
        opening: the model if the address names none.
        leave: settings that stay as they are.
    """
    names = [name for name in URL_NAMES if name not in leave]
    asked, refusals = query.read(search, state, names), list[str]()
    about = opening
    if "model" in asked.values:
        try:
            about = subject(asked.values.pop("model"))
        except SleepkitError as error:
            refusals.append(str(error))
    unnamed = {name: state.param[name].default for name in names}
    state.param.update(unnamed | opening_values(about) | asked.values)
    if asked.refused:
        refusals.append(query.refusal(asked.refused))
    return "; ".join(refusals)


def _body(session: ExplorerSession) -> list[Any]:
    state, tour = session.state, Tour(session.state)
    tabs = toggle(state, "tab", TABS, margin=(0, 8, 0, 0))
    guide = pmu.Button(label="Tour", variant="outlined", size="small", height=30, margin=(0, 8, 0, 0), sx=_SMALL)
    guide.on_click(lambda _: tour.start())
    bar = pn.Row(tabs, CopyLink(), guide, session.status, sizing_mode="stretch_width", margin=(4, 0, 0, 0), styles=_BAR)
    return [session.finding, bar, tour, session.screen]
