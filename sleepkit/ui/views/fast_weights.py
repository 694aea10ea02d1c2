"""Fast weights of one layer, head by head, what each pass does to them, and a player through all passes."""

from typing import Any

import panel as pn
import panel_material_ui as pmu
import plotly.graph_objects as go

from sleepkit import plots
from sleepkit.errors import require
from sleepkit.ui import html
from sleepkit.ui.choice import on_choice, on_release, toggle
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import CURVES, VIEWS, ExplorerState
from sleepkit.ui.views.base import View, fit, look_at_head, plot_pane

PLAYER_HEIGHT = 36
_ABOUT = (
    "Each square is one head's matrix S, all that is left of evicted text; a click on a square shows that head alone. "
    "Every pass rewrites S: play the passes, or look at the change that one pass makes."
)


class FastWeightsView(View):
    """The mosaic of heads or one head, a curve over the passes, and the player."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="fast-weights", about=_ABOUT, height=height, **params)
        plot_height = self.height - PLAYER_HEIGHT
        self._plot_height = plot_height
        self._plot, self._curve = plot_pane(plot_height, "fast-weights"), plot_pane(plot_height, "passes")
        self._plot.param.watch(lambda event: look_at_head(state, self._plot.shown, event), "click_data")
        view, curve = toggle(state, "view", VIEWS, margin=(0, 6, 0, 8)), toggle(state, "curve", CURVES, margin=(4, 0, 0, 8))
        self.player = pmu.Player(
            label="", variant="minimal", interval=700, start=0, end=1, show_value=False, sizing_mode="stretch_width", margin=0
        )
        self._moments, self._shown = [(0, 0), (0, 1)], (0, 0)
        self._drawn_curve: tuple[Any, ...] | None = None
        on_choice(self.player, self._moment, self._on_player)
        on_release(self.player, self._moment, self._on_player)
        plotted = pn.Row(
            pn.Column(self._plot, sizing_mode="stretch_width", margin=0, styles={"flex": "1.3 1 230px"}),
            pn.Column(self._curve, sizing_mode="stretch_width", margin=0, styles={"flex": "1 1 190px"}),
            sizing_mode="stretch_width",
            margin=0,
            styles={"flex-wrap": "wrap"},
        )
        play = pn.Row(self.player, curve, sizing_mode="stretch_width", margin=0, height=PLAYER_HEIGHT)
        self._view = self.framed(plotted, play, tools=(view,), grow=1.2)

    def draw(self, picture: Picture) -> None:
        """Draw everything: the picture is new."""
        self._moments = picture.moments()
        self.player.end = len(self._moments) - 1
        self._drawn_curve = None
        self.draw_moment(picture)

    def draw_moment(self, picture: Picture) -> None:
        """Draw what depends on window, pass, layer and head."""
        state = self.state
        shown, layer = picture.pass_shown(state), picture.layer_shown(state)
        if layer is None:
            self.entitle("Fast weights")
            for pane in (self._plot, self._curve):
                pane.draw(fit(html.empty_figure("This model has no fast weights.", state.colours), self._plot_height))
            return
        place: dict[str, Any] = {"window": state.window, "sleep_pass": shown, "layer": layer, "head": state.head}
        key = (self.css, self._plot_height, picture.request, *place.values(), state.colours)

        def build() -> go.Figure:
            figure = plots.fast_weights(picture.tree, **place, view=state.view, theme=state.colours)
            return fit(figure, self._plot_height, b=24)

        self._plot.draw_known((*key, state.view), build)
        summary = plots.fast_weights_summary(picture.tree, window=state.window, sleep_pass=shown, layer=layer, head=state.head)
        what = "Fast weights" if state.view == "value" else "Change of fast weights"
        curve = self._curve_summary(picture, layer, shown)
        self.entitle(what, html.place(picture, layer, state.window, shown), f"{summary} {curve}")
        asked = (state.window, layer, state.head, state.curve, None if state.curve == CURVES[0] else shown)
        if asked != self._drawn_curve:
            self._drawn_curve = asked
            curves = (*key, state.curve)
            self._curve.draw_known(curves, lambda: self._fitted_curve(picture, layer, shown))
        self._shown = (state.window, shown)
        moment = self._moment()
        if moment is not None:
            self.player.value = moment

    def _fitted_curve(self, picture: Picture, layer: int, shown: int) -> go.Figure:
        figure = fit(self._curve_figure(picture, layer, shown), self._plot_height, l=52, b=40)
        # Axes of one kind of curve, one of which is logarithmic, must not be kept for another.
        return figure.update_layout(uirevision=self.state.curve)

    def _curve_figure(self, picture: Picture, layer: int, shown: int) -> go.Figure:
        state, tree = self.state, picture.tree
        if state.curve == "spectrum":
            return plots.state_spectrum(
                tree, window=state.window, layer=layer, head=state.head, sleep_pass=shown, theme=state.colours
            )
        if state.curve == "norm":
            return plots.state_norm(
                tree, window=state.window, sleep_pass=shown, layer=layer, head=state.head, theme=state.colours
            )
        change = plots.fast_weight_change(tree, layer=layer, window=state.window, theme=state.colours)
        return change.update_xaxes(title_text="pass (1 reads)")

    def _curve_summary(self, picture: Picture, layer: int, shown: int) -> str:
        state, tree = self.state, picture.tree
        if state.curve == "spectrum":
            return plots.state_spectrum_summary(tree, window=state.window, sleep_pass=shown, layer=layer, head=state.head)
        if state.curve == "norm":
            return plots.state_norm_summary(tree, window=state.window, sleep_pass=shown, layer=layer, head=state.head)
        return plots.fast_weight_change_summary(tree, window=state.window, layer=layer)

    def _moment(self) -> int | None:
        """Return the number of the moment on show, None if the picture has no such moment."""
        return self._moments.index(self._shown) if self._shown in self._moments else None

    def _on_player(self, moment: Any) -> None:
        last = len(self._moments) - 1
        require(isinstance(moment, int) and 0 <= moment <= last, "moment", f"must be in [0, {last}]", moment)
        window, sleep_pass = self._moments[moment]
        at_end = (window, sleep_pass + 1) not in self._moments
        self.state.look_at(window, None if at_end else sleep_pass)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
