"""The panes of the explorer. Each draws a Picture at the position its state looks at."""

from typing import Any

import panel as pn
import panel_material_ui as pmu
import plotly.graph_objects as go

from sleepkit import plots
from sleepkit.plots import palette
from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState, lines_shown

PADDING = 8
TITLE_HEIGHT = 32
PLAYER_HEIGHT = 40
_AROUND = TITLE_HEIGHT + 2 * PADDING + 2
_FRAME = {"overflow": "hidden", "border": "1px solid rgba(128,128,128,0.28)", "border-radius": "8px"}
_QUIET = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def pane(title: pn.viewable.Viewable, *body: Any, tools: Any = None, height: int, name: str) -> pn.Column:
    """Frame a view: a title line with optional tools at its right, and the body below."""
    head = pn.Row(title, *([tools] if tools is not None else []), sizing_mode="stretch_width", height=TITLE_HEIGHT, margin=0)
    return pn.Column(
        head,
        *body,
        height=height,
        sizing_mode="stretch_width",
        margin=0,
        css_classes=[f"sk-{name}"],
        styles={**_FRAME, "padding": f"{PADDING}px 12px"},
    )


def title_pane() -> pn.pane.HTML:
    """Return the title line of a pane."""
    return pn.pane.HTML("", sizing_mode="stretch_width", margin=0, height=TITLE_HEIGHT)


class FigurePane(pn.pane.Plotly):
    """Panel's pane for plotly figures, whose figures nobody but their builder dresses.

    The Material page writes colours and margins of its own into every figure's layout in the browser, whenever its theme
    changes and after whatever the server has drawn meanwhile; such a layout is answered with ours. The original also asks
    whether the figure is a FigureWidget, and with that spends seconds on importing nbformat, jsonschema and grammars.
    """

    _drawing = False

    def _to_figure(self, obj: go.Figure) -> go.Figure:
        return obj

    def _get_model(self, doc: Any, root: Any = None, parent: Any = None, comm: Any = None) -> Any:
        model = super()._get_model(doc, root, parent, comm)
        ref = (root or model).ref["id"]

        def answer(attr: str, old: Any, new: Any) -> None:  # noqa: ARG001  (bokeh demands these names)
            if not self._drawing:
                self._update(ref, model)

        model.on_change("layout", answer)
        return model

    def _update(self, ref: str, model: Any) -> None:
        self._drawing = True
        try:
            super()._update(ref, model)
        finally:
            self._drawing = False


def plot_pane(height: int) -> FigurePane:
    """Return a pane for figures of one height."""
    return FigurePane(
        html.empty_figure("Drawing", "light"),
        config=_QUIET,
        height=height,
        sizing_mode="stretch_width",
        margin=0,
        link_figure=False,
    )


def fit(figure: go.Figure, height: int, **margin: int) -> go.Figure:
    """Take the title out of a figure, which its pane shows, and give the room to the plot."""
    figure.update_layout(title_text="", height=height, autosize=True, margin={"l": 44, "r": 8, "t": 18, "b": 30, **margin})
    return figure


class FastWeightsView(pn.viewable.Viewer):
    """Fast weights of one layer as a mosaic of heads, how much each pass writes, and a player through all passes."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._height = state, height - _AROUND - PLAYER_HEIGHT
        self._title = title_pane()
        self._mosaic, self._change = plot_pane(self._height), plot_pane(self._height)
        self._toggle = pmu.RadioButtonGroup.from_param(
            state.param.view,
            options={"value": "value", "change": "change"},
            label="",
            size="small",
            margin=(0, 0, 0, 8),
        )
        self.player = pmu.Player(
            label="",
            variant="minimal",
            interval=700,
            start=0,
            end=1,
            show_value=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._caption = pn.pane.HTML("", width=150, margin=(8, 0, 0, 10))
        self._moments, self._shown = [(0, 0), (0, 1)], (0, 0)
        self._drawn_change: tuple[int, int | None] | None = None
        self.player.param.watch(self._on_player, "value")
        self._view = pane(
            self._title,
            pn.Row(
                pn.Column(self._mosaic, sizing_mode="stretch_width", margin=0, styles={"flex": "1.3"}),
                pn.Column(self._change, sizing_mode="stretch_width", margin=0, styles={"flex": "1"}),
                sizing_mode="stretch_width",
                margin=0,
            ),
            pn.Row(self.player, self._caption, sizing_mode="stretch_width", margin=0, height=PLAYER_HEIGHT),
            tools=self._toggle,
            height=height,
            name="fast-weights",
        )

    def draw(self, picture: Picture) -> None:
        """Draw everything: the picture is new."""
        self._moments = picture.moments()
        self.player.end = len(self._moments) - 1
        self._drawn_change = None
        self._caption.object = html.note("all windows, pass by pass", self._state.colours)
        self.draw_moment(picture)

    def draw_moment(self, picture: Picture) -> None:
        """Draw what depends on window, pass and layer."""
        state, shown = self._state, picture.pass_shown(self._state)
        figure = plots.fast_weights(
            picture.tree, window=state.window, sleep_pass=shown, layer=state.layer, view=state.view, theme=state.colours
        )
        self._mosaic.object = fit(figure, self._height, b=24)
        self._title.object = html.title(
            "Fast weights" if state.view == "value" else "Change of fast weights",
            state.colours,
            html.place(picture, state.layer if state.layer is not None else picture.layers[0], state.window, shown),
        )
        if (state.window, state.layer) != self._drawn_change:
            self._drawn_change = (state.window, state.layer)
            self._draw_change(picture)
        self._shown = (state.window, shown)
        if self._shown in self._moments:
            self.player.value = self._moments.index(self._shown)

    def _draw_change(self, picture: Picture) -> None:
        """Draw how much each pass writes, the window looked at in colour before the others in grey."""
        state = self._state
        change = plots.fast_weight_change(picture.tree, layer=state.layer, theme=state.colours)
        colours, name = palette(state.colours), f"window {state.window}"
        for window, line in enumerate(change.data):
            here = window == state.window
            line.update(
                line={"color": colours.accent if here else colours.floor, "width": 3 if here else 1.5},
                marker={"size": 8 if here else 5},
                opacity=1.0 if here else 0.6,
            )
        change.data = [
            *(line for window, line in enumerate(change.data) if window != state.window),
            change.data[state.window],
        ]
        change.update_layout(showlegend=False)
        change.add_annotation(
            text=f"<b>{name}</b>, others grey",
            x=0.98,
            y=0.98,
            xref="paper",
            yref="paper",
            xanchor="right",
            yanchor="top",
            showarrow=False,
            font={"size": 11, "color": colours.accent},
        )
        change.update_xaxes(title_text="pass (1 reads)")
        change.update_yaxes(title_text="change written, |dS|")
        self._change.object = fit(change, self._height, b=42)

    def _on_player(self, event: Any) -> None:
        window, sleep_pass = self._moments[event.new]
        if (window, sleep_pass) == self._shown:
            return
        at_end = (window, sleep_pass + 1) not in self._moments
        self._state.look_at(window, None if at_end else sleep_pass)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class AccuracyView(pn.viewable.Viewer):
    """Accuracy by reasoning depth: the card's lines, what was measured now, and where the explorer stands."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._height = state, height - _AROUND
        self._title, self._plot = title_pane(), plot_pane(self._height)
        self._view = pane(self._title, self._plot, height=height, name="accuracy")

    def draw(self, picture: Picture) -> None:
        """Draw the accuracy; the marker waits until its value is known."""
        request = picture.request
        figure = plots.accuracy_by_depth(
            picture.card.accuracy.sel(n_passes=lines_shown(picture.card, request.n_passes)),
            here=None if picture.waiting else (request.n_passes, request.depth),
            measured=picture.measured,
            theme=self._state.colours,
        )
        figure.update_layout(legend={"font": {"size": 12}, "tracegroupgap": 0})
        self._plot.object = fit(figure, self._height, l=56, b=42, t=8)
        self._title.object = html.title("Accuracy by reasoning depth", self._state.colours, "one answer, evicted strings")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class AttentionView(pn.viewable.Viewer):
    """Attention of every head in one pass over one window."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._height = state, height - _AROUND
        self._title, self._plot = title_pane(), plot_pane(self._height)
        self._view = pane(self._title, self._plot, height=height, name="attention")

    def draw(self, picture: Picture) -> None:
        """Draw the maps, or say why there are none."""
        state, shown = self._state, picture.pass_shown(self._state)
        detail = ""
        if not picture.attention_layers:
            figure = html.empty_figure("This model has no attention layer.", state.colours)
        elif shown == 0:
            figure = html.empty_figure("Nothing has been read yet: attention starts with pass 1.", state.colours)
        else:
            layer = picture.attention_layers[0] if state.attention_layer is None else state.attention_layer
            figure = plots.attention(picture.tree, window=state.window, sleep_pass=shown, layer=layer, theme=state.colours)
            detail = html.place(picture, layer, state.window, shown)
        self._plot.object = fit(figure, self._height, b=24)
        self._title.object = html.title("Attention", state.colours, detail)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class TextView(pn.viewable.Viewer):
    """What the model reads, what is evicted, and its answers at N and at N = 1."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state = state
        self._title = title_pane()
        self._body = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
        scroll = pn.Column(self._body, sizing_mode="stretch_width", height=height - _AROUND, margin=0, scroll="y-auto")
        self._view = pane(self._title, scroll, height=height, name="text")

    def draw(self, picture: Picture) -> None:
        """Write the tokens and the answers."""
        theme, request = self._state.colours, picture.request
        depth = f"the first cell of each ring after {request.depth} {'step' if request.depth == 1 else 'steps'}"
        self._title.object = html.title("Text and answers", theme, f"asked: {depth}")
        tokens = plots.token_text(picture.tree, window=self._state.window, theme=theme)
        # The answers come first: with many strings the text is longer than the pane.
        self._body.object = html.answers(picture, theme) + tokens

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
