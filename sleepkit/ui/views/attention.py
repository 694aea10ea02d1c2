"""Attention of one pass over one window."""

from typing import Any

import panel as pn
import plotly.graph_objects as go

from sleepkit import plots
from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.base import View, fit, look_at_head, plot_pane

_ABOUT = (
    "Rows look at columns: where each token of the window looks in this pass, head by head; a click shows one head alone. "
    "Attention sees this window alone (under sliding eviction also the last L - 1 tokens): what was evicted it never sees again."
)


class AttentionView(View):
    """Attention of every head, or of one."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="attention", about=_ABOUT, height=height, **params)
        self._plot = plot_pane(self.height, "attention")
        self._plot.param.watch(lambda event: look_at_head(state, self._plot.shown, event), "click_data")
        self._view = self.framed(self._plot)

    def draw_moment(self, picture: Picture) -> None:
        """Draw the maps, or say why there are none."""
        state, shown = self.state, picture.pass_shown(self.state)
        layer = picture.attention_layer_shown(state)
        if layer is None or shown == 0:
            reason = "This model has no attention layer."
            if layer is not None:
                reason = "Nothing has been read yet: attention starts with pass 1."
            self._plot.draw(fit(html.empty_figure(reason, state.colours), self.height))
            self.entitle("Attention", "", reason)
            return
        place: dict[str, Any] = {"window": state.window, "sleep_pass": shown, "layer": layer}

        def build() -> go.Figure:
            return fit(plots.attention(picture.tree, **place, head=state.head, theme=state.colours), self.height, b=24)

        self._plot.draw_known((self.css, self.height, picture.request, *place.values(), state.head, state.colours), build)
        summary = plots.attention_summary(picture.tree, **place)
        self.entitle("Attention", html.place(picture, layer, state.window, shown), summary)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
