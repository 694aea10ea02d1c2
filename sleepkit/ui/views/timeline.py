"""The wake and sleep of one example on one line."""

from typing import Any

import panel as pn
import plotly.graph_objects as go

from sleepkit import plots
from sleepkit.errors import require
from sleepkit.plots import pass_name
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.base import View, clicked, fit, plot_pane

_ABOUT = (
    "All passes from left to right: each window is read, looped over asleep, then evicted; the question is answered in one pass. "
    "Click a pass to look at it."
)


class TimelineView(View):
    """Every pass as a block; a click looks at it."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="timeline", about=_ABOUT, height=height, **params)
        self._plot = plot_pane(self.height, "timeline")
        self._plot.param.watch(self._on_click, "click_data")
        self._picture: Picture | None = None
        self._view = self.framed(self._plot, grow=None)

    def draw(self, picture: Picture) -> None:
        """Draw all blocks."""
        self._picture = picture
        self.draw_moment(picture)

    def draw_moment(self, picture: Picture) -> None:
        """Draw the blocks with the one looked at marked."""
        state, shown = self.state, picture.pass_shown(self.state)

        def build() -> go.Figure:
            place: dict[str, Any] = {"window": state.window, "sleep_pass": shown}
            figure = plots.timeline(picture.tree, **place, theme=state.colours, height=self.height)
            return fit(figure, self.height, l=4, r=4, t=2, b=2)

        self._plot.draw_known((self.css, self.height, picture.request, state.window, shown, state.colours), build)
        where = f"window {state.window}, {pass_name(picture.tree, state.window, shown)}"
        summary = plots.timeline_summary(picture.tree, window=state.window, sleep_pass=shown)
        self.entitle("Wake and sleep", where, summary)

    def _on_click(self, event: Any) -> None:
        place = clicked(event)
        if place is None or self._picture is None:
            return
        moments = [list(moment) for moment in self._picture.moments()]
        require(place in moments, "message", "must be about a pass of this example", place)
        window, sleep_pass = place
        last = plots.last_pass(self._picture.tree, window)
        self.state.look_at(window, None if sleep_pass == last else sleep_pass)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
