"""The dashboard: controls at the left, one computed sentence on top, timeline and panes, all of it driven by one state."""

from typing import Any

import panel as pn
import panel_material_ui as pmu
import plotly.graph_objects as go
from panel_material_ui.template.base import Page

from sleepkit.errors import SleepkitError
from sleepkit.ui.compute import Workshop, shared_workshop
from sleepkit.ui.door import OPENING, open_frame
from sleepkit.ui.page import fill
from sleepkit.ui.session import ExplorerSession
from sleepkit.ui.state import TABS, URL_NAMES, ExplorerState, opening_request
from sleepkit.ui.status import StatusLine
from sleepkit.ui.subject import subject
from sleepkit.ui.tour import Tour
from sleepkit.ui.views.base import SMALL_TOGGLE

_BAR = {"flex-wrap": "wrap", "row-gap": "4px", "align-items": "center"}
_SMALL = {"padding": "1px 8px", "textTransform": "none", "whiteSpace": "nowrap"}


class Refusals:
    """What the address asked for in vain: kept until there is a line to show it on, shown at once from then on."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._status: StatusLine | None = None

    def add(self, message: str) -> None:
        """Show a refusal as soon as possible."""
        self._waiting.append(message)
        if self._status is not None:
            self.show_on(self._status)

    def show_on(self, status: StatusLine) -> None:
        """Show what waits, and everything later, on a status line."""
        self._status = status
        while self._waiting:
            status.refuse(self._waiting.pop(0), "address")


def build_app(model_name: str = OPENING, *, workshop: Workshop | None = None) -> Page:
    """Build the dashboard of one session.

    Args:
        model_name: name of a bundled model, or the folder of a published one; the address may name another one.
        workshop: where traces and accuracies are computed; shared by all sessions of the process if None.

    Raises:
        InvalidInputError: if there is no such model, or the explorer cannot show it.
    """
    page = open_frame()
    furnish(page, model_name, workshop=workshop)
    return page


def furnish(page: Page, model_name: str = OPENING, *, workshop: Workshop | None = None) -> None:
    """Put the dashboard of one session into the frame of its page.

    Args:
        page: what ``door.open_frame`` returned.
        model_name: as for ``build_app``.
        workshop: as for ``build_app``.

    Raises:
        InvalidInputError: as ``build_app``.
    """
    workshop = shared_workshop() if workshop is None else workshop
    state, refused = ExplorerState(), Refusals()
    state.adopt(subject(_model_asked_for(model_name, refused)))
    location = pn.state.location
    if location is not None:
        location.sync(state, list(URL_NAMES), on_error=lambda values: refused.add(_address_error(values)))
        # The model is read once, above: a name nobody knows must not stay in the state.
        # It is written into the address after all else that changed with it: the address is read back whenever it changes.
        state.param.watch(lambda event: location.update_query(model=event.new), "model", precedence=1)
    session = ExplorerSession(state, workshop)
    refused.show_on(session.status)
    page.dark_theme = state.theme == "dark"
    page.param.watch(lambda event: state.param.update(theme="dark" if event.new else "light"), "dark_theme")
    fill(page, _body(session), sidebar=session.controls)
    pn.state.onload(session.start)


def prepare(model_name: str = OPENING) -> None:
    """Read, and keep for all sessions, what the first picture of a model needs; outside the event loop."""
    source, asked = shared_workshop().source, opening_request(subject(model_name))
    for n_passes in (asked.n_passes, 1):
        source.known(asked.at(n_passes))
    go.Figure({"data": [{"type": "heatmap"}, {"type": "bar"}, {"type": "scatter"}]})  # plotly loads its parts when they are used


def _model_asked_for(default: str, refused: Refusals) -> str:
    """Return the model the address names, if it names a good one."""
    location = pn.state.location
    asked = location.query_params.get("model", default) if location is not None else default
    try:
        subject(asked)
    except SleepkitError as error:
        if asked == default:
            raise
        refused.add(str(error))
        return default
    return str(asked)


def _address_error(values: dict[str, Any]) -> str:
    text = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"address: must hold settings within their bounds, got {text}"


def _body(session: ExplorerSession) -> list[Any]:
    state, tour = session.state, Tour(session.state)
    tabs = pmu.RadioButtonGroup.from_param(
        state.param.tab, options=TABS, label="", size="small", margin=(0, 8, 0, 0), sx=SMALL_TOGGLE
    )
    copy = pmu.Button(label="Copy link", variant="outlined", size="small", height=30, margin=(0, 8, 0, 0), sx=_SMALL)
    copy.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
    guide = pmu.Button(label="Tour", variant="outlined", size="small", height=30, margin=(0, 8, 0, 0), sx=_SMALL)
    guide.on_click(lambda _: tour.start())
    bar = pn.Row(tabs, copy, guide, session.status, sizing_mode="stretch_width", margin=(4, 0, 0, 0), styles=_BAR)
    return [session.finding, bar, tour, session.screen]
