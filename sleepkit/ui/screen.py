"""The main area: the timeline and the panes of the tab that is open; the others are built when first asked for."""

import functools
import io
from collections.abc import Callable
from typing import Any

import panel as pn
import plotly.graph_objects as go

from sleepkit.ui import export
from sleepkit.ui.figure import FigurePane
from sleepkit.ui.html import WRAPPING
from sleepkit.ui.page import Folded
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views import (
    AccuracyView,
    AttentionView,
    DataView,
    DifferenceView,
    FastWeightsView,
    MemoryView,
    PathView,
    SideBySideView,
    TextView,
    TimelineView,
    View,
)

ROW_HEIGHT, TIMELINE_HEIGHT, GAP = 306, 114, 8
_ALL_ROWS = 2 * ROW_HEIGHT + GAP


class Screen(pn.viewable.Viewer, Folded):
    """All panes over one state.

    Args:
        state: the settings.
        picture: gives the picture on show.
    """

    def __init__(self, state: ExplorerState, picture: Callable[[], Picture], **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._picture = state, picture
        self.timeline = TimelineView(state, height=TIMELINE_HEIGHT)
        self.fast_weights = FastWeightsView(state, height=ROW_HEIGHT)
        self.accuracy = AccuracyView(state, height=ROW_HEIGHT)
        self.attention = AttentionView(state, height=ROW_HEIGHT)
        self.text = TextView(state, height=ROW_HEIGHT)
        self.memory = MemoryView(state, height=ROW_HEIGHT)
        self.path = PathView(state, height=ROW_HEIGHT)
        self._single = (self.fast_weights, self.accuracy, self.attention, self.text, self.memory, self.path)
        row = {"sizing_mode": "stretch_width", "margin": (GAP, 0, 0, 0), "styles": WRAPPING}
        single = pn.Column(sizing_mode="stretch_width", margin=0)
        self._tabs: dict[str, Any] = {"single": single}
        self.fold(single, [[pn.Row(*self._single[start : start + 2], **row)] for start in (0, 2, 4)])
        self._others: dict[str, Any] = {}
        self._open = pn.Column(self._tabs["single"], sizing_mode="stretch_width", margin=0)
        self._view = pn.Column(self.timeline, self._open, sizing_mode="stretch_width", margin=(GAP, 0, 0, 0))

    def draw(self, picture: Picture) -> None:
        """Draw everything that is to be seen: the picture, the theme or the tab is new."""
        tab = self._state.tab
        for view in (self.timeline, *self._views(tab)):
            view.draw(picture)
        for view in (self.timeline, *self._views(tab)):
            for pane in view.__panel__().select(FigurePane):
                pane.settings = picture.settings
        if self._open[0] is not self._tabs[tab]:
            self._open[:] = [self._tabs[tab]]

    def draw_moment(self, picture: Picture) -> None:
        """Draw what depends on the place looked at."""
        for view in (self.timeline, *self._views(self._state.tab)):
            view.draw_moment(picture)

    def draw_accuracy(self, picture: Picture) -> None:
        """Draw what depends on accuracies."""
        tab = self._state.tab
        for view in (self.accuracy,) if tab == "single" else self._views(tab):
            view.draw(picture)

    def files(self) -> dict[str, Callable[[], io.BytesIO]]:
        """Return by file name what makes each file that can be taken away."""
        named = {view.css[3:]: view for view in (self.timeline, *self._single) if view is not self.text}
        figures = {name: functools.partial(self._drawn, view) for name, view in named.items()}
        return export.exports(self._picture, self._state, figures)

    def _views(self, tab: str) -> tuple[Any, ...]:
        if tab == "single":
            return self._single
        if tab not in self._others:
            self._others[tab] = self._made(tab)
            self._tabs[tab] = pn.Column(self._others[tab], sizing_mode="stretch_width", margin=(GAP, 0, 0, 0))
        return (self._others[tab],)

    def _made(self, tab: str) -> Any:
        if tab == "side by side":
            return SideBySideView(self._state, height=_ALL_ROWS)
        if tab == "difference":
            return DifferenceView(self._state, height=_ALL_ROWS)
        return DataView(self._state, exports=self.files(), height=_ALL_ROWS)

    def _drawn(self, view: View) -> go.Figure | None:
        """Return a view's figure of the picture on show: a view of a closed tab is not drawn otherwise."""
        picture = self._picture()
        view.draw(picture)
        for pane in view.figure_panes:
            pane.settings = picture.settings
        return view.captioned

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
