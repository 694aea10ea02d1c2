"""One example at N and at the compared N: side by side, and what differs."""

from typing import Any

import panel as pn
import plotly.graph_objects as go
import xarray as xr

from sleepkit import plots
from sleepkit.errors import InvalidInputError, require
from sleepkit.results.shares import gain_by_depth
from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.base import View, fit, plot_pane

_SIDE = (
    "The same example, window and pass at one N; where this N has fewer passes, its last one. "
    "Colours have the same range in both halves."
)
_DIFFERENCE = (
    "What is written at N, less what is written at the compared N, each after its own last pass over the window. "
    "White is where both agree."
)
_UNKNOWN = "Not measured at both N yet."


class _Half(View):
    """Fast weights, attention and answers at one N."""

    def __init__(self, state: ExplorerState, *, height: int, name: str, **params: Any) -> None:
        super().__init__(state, name=name, about=_SIDE, height=height, **params)
        each = (self.height - 90) // 2
        self._each = each
        self._weights, self._attention = plot_pane(each, f"{name}-fast-weights"), plot_pane(each, f"{name}-attention")
        self._answers = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, height=90)
        self._view = self.framed(self._answers, self._weights, self._attention)

    def show_one(self, picture: Picture, tree: xr.DataTree, n_passes: int, limit: float | None, *, same: bool = False) -> None:
        """Draw one N; ``limit`` is the colour range of the fast weights, ``same`` says that the other half has this N too."""
        state = self.state
        last = plots.last_pass(tree, state.window)
        shown = last if state.sleep_pass is None else min(state.sleep_pass, last)
        layer, looking = picture.layer_shown(state), picture.attention_layer_shown(state)
        self._weights.draw(
            fit(
                html.empty_figure("This model has no fast weights.", state.colours)
                if layer is None
                else plots.fast_weights(
                    tree,
                    window=state.window,
                    sleep_pass=shown,
                    layer=layer,
                    head=state.head,
                    view=state.view,
                    limit=limit,
                    theme=state.colours,
                ),
                self._each,
                b=24,
            )
        )
        self._attention.draw(
            fit(
                html.empty_figure("Nothing to attend to here.", state.colours)
                if looking is None or shown == 0
                else plots.attention(
                    tree, window=state.window, sleep_pass=shown, layer=looking, head=state.head, theme=state.colours
                ),
                self._each,
                b=24,
            )
        )
        self._answers.object = html.answers_of(tree, n_passes, state.colours)
        summary = "" if layer is None else plots.fast_weights_summary(tree, window=state.window, sleep_pass=shown, layer=layer)
        no_sleep = ", no sleep" if n_passes == 1 else ""
        words = ", the same N as at the left" if same else ""
        self.entitle(f"N = {n_passes}{no_sleep}{words}", plots.pass_name(tree, state.window, shown), summary)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class SideBySideView(pn.viewable.Viewer):
    """N at the left, the compared N at the right."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state = state
        self._halves = (_Half(state, height=height, name="left"), _Half(state, height=height, name="right"))
        self._view = pn.Row(*self._halves, sizing_mode="stretch_width", margin=0, styles=html.WRAPPING)

    def draw(self, picture: Picture) -> None:
        """Draw both halves."""
        left, right = self._halves
        layer = picture.layer_shown(self._state)
        limits = [
            plots.colour_limit(tree, layer=layer, view=self._state.view)
            for tree in (picture.tree, picture.other)
            if layer is not None
        ]
        limit = max(limits, default=None)
        left.show_one(picture, picture.tree, picture.request.n_passes, limit)
        right.show_one(picture, picture.other, picture.compare, limit, same=picture.request.n_passes == picture.compare)

    draw_moment = draw

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class _Difference(View):
    """One figure of differences, or why there is none."""

    def __init__(self, state: ExplorerState, *, height: int, name: str, **params: Any) -> None:
        super().__init__(state, name=name, about=_DIFFERENCE, height=height, **params)
        self._plot = plot_pane(self.height, name)
        self._view = self.framed(self._plot)

    def show_figure(self, figure: go.Figure, title: str, detail: str, summary: str) -> None:
        """Show a figure and say it in words."""
        self._plot.draw(fit(figure, self.height, b=30))
        self.entitle(title, detail, summary)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class DifferenceView(pn.viewable.Viewer):
    """N less the compared N: fast weights, attention, accuracy."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, half = state, height // 2 - 5
        self._weights = _Difference(state, height=half, name="weights-difference")
        self._attention = _Difference(state, height=half, name="attention-difference")
        self._gain = _Difference(state, height=half, name="accuracy-difference")
        self._panes = (self._weights, self._attention, self._gain)
        self._answers = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 10), styles={"flex": "1 1 330px"})
        row = {"sizing_mode": "stretch_width", "margin": 0, "styles": html.WRAPPING}
        self._view = pn.Column(
            pn.Row(self._weights, self._gain, **row),
            pn.Row(self._attention, self._answers, **{**row, "margin": (10, 0, 0, 0)}),
            sizing_mode="stretch_width",
            margin=0,
        )

    def draw(self, picture: Picture) -> None:
        """Draw all differences; of an N with itself there are none."""
        state, theme = self._state, self._state.colours
        if picture.request.n_passes == picture.compare:
            self._say_same(picture)
            return
        names = f"N = {picture.request.n_passes} less N = {picture.compare}"
        layer, looking = picture.layer_shown(state), picture.attention_layer_shown(state)
        trees = (picture.tree, picture.other)
        weights = (plots.fast_weights_difference, plots.fast_weights_difference_summary)
        looks = (plots.attention_difference, plots.attention_difference_summary)
        for view, chosen, (build, say), title in (
            (self._weights, layer, weights, "Fast weights"),
            (self._attention, looking, looks, "Attention"),
        ):
            place: dict[str, Any] = {"window": state.window, "layer": chosen, "head": state.head}
            try:
                require(chosen is not None, "layer", "must be of a kind this model has", title)
                figure, summary = build(*trees, **place, theme=theme), say(*trees, **place)
            except InvalidInputError as why:
                figure, summary = html.empty_figure(str(why), theme), str(why)
            view.show_figure(figure, f"{title}: difference", f"{names}, window {state.window}, after the last pass", summary)
        gains = _gained(picture)
        figure = html.empty_figure(_UNKNOWN, theme) if gains is None else plots.accuracy_gain(gains, theme=theme)
        said = _UNKNOWN if gains is None else plots.accuracy_gain_summary(gains)
        self._gain.show_figure(figure, "Accuracy gained, by depth", f"{names}, 95 %, all depths at once", said)
        self._answers.object = html.answers(picture, theme)

    draw_moment = draw

    def _say_same(self, picture: Picture) -> None:
        """Say in every pane that there is nothing to compare."""
        theme, same = self._state.colours, f"Both are N = {picture.compare}: nothing to compare. Choose another N."
        titles = ("Fast weights: difference", "Attention: difference", "Accuracy gained, by depth")
        for view, title in zip(self._panes, titles, strict=True):
            view.show_figure(html.empty_figure(same, theme), title, "", same)
        self._answers.object = html.answers(picture, theme)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


def _gained(picture: Picture) -> xr.Dataset | None:
    """Return the accuracy at N less that at the compared N, by depth, counted at the settings shown."""
    counted, asked = picture.counted, (picture.request.n_passes, picture.compare)
    if counted is None or not set(asked) <= set(counted.n_passes.values.tolist()):
        return None
    return gain_by_depth(counted, *asked)
