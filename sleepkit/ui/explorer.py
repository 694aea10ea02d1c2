"""The explorer as a Panel component: the last line of a notebook cell, or part of an application of one's own."""

from collections.abc import Iterable
from typing import Any

import panel as pn
import xarray as xr

from sleepkit.plots import Theme
from sleepkit.ui.scene import PLAY_MS, VIEWS, Look, Scene


class SleepExplorer(pn.viewable.Viewer):
    """Scrub through the passes of one trace.

    Widgets are Panel's plain ones: in a cell, Material ones would dress every figure around them anew in the browser.
    Panel's scripts travel in the first cell that shows an explorer, some megabytes, so that it needs no network unless
    ``panel.extension`` was called before, which decides for itself; ``SleepWidgets`` needs no scripts.

    Args:
        tree: what ``sleepkit.trace`` returned.
        theme: "light" or "dark".
        height: pixels of each figure.

    Raises:
        InvalidInputError: if the trace has no fast weights.
    """

    def __init__(self, tree: xr.DataTree, *, theme: Theme = "light", height: int = 340, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        scene = self._scene = Scene(tree, theme=theme, height=height)
        last = scene.last_pass(0)
        self.window: Any = pn.widgets.IntSlider(label="window", start=0, end=scene.n_windows - 1, value=0)
        self.sleep_pass: Any = pn.widgets.IntSlider(label="pass", start=0, end=last, value=last)
        self.layer = pn.widgets.Select(label="layer", options=scene.layers, value=scene.layers[0])
        self.head = pn.widgets.Select(label="head", options=scene.heads, value=scene.heads[0])
        self.view = pn.widgets.RadioButtonGroup(label="show", options=list(VIEWS), value=VIEWS[0])
        self.play = pn.widgets.Player(
            label="play all passes",
            start=0,
            end=len(scene.moments) - 1,
            value=scene.moment_of(0, last),
            interval=PLAY_MS,
            show_loop_controls=False,
        )
        self.timeline = pn.pane.Plotly(None, link_figure=False, height=84, sizing_mode="stretch_width")
        self.fast_weights, self.change, self.attention = (
            pn.pane.Plotly(
                None,
                link_figure=False,
                height=height,
                min_width=330,
                sizing_mode="stretch_width",
                styles={"flex": "1 1 400px"},
            )
            for _ in range(3)
        )
        self.text, self.summary = pn.pane.HTML(""), pn.pane.HTML("")
        self._moving = False
        self._drawn_layer: int | None = None
        self.window.param.watch(self._on_window, "value")
        self.timeline.param.watch(self._on_click, "click_data")
        self.play.param.watch(self._on_play, "value")
        for widget in (self.sleep_pass, self.layer, self.head, self.view):
            widget.param.watch(self._draw, "value")
        controls = _wrapped((self.play, self.window, self.sleep_pass, self.layer, self.head, self.view))
        figures = _wrapped((self.fast_weights, self.change, self.attention))
        self._view = pn.Column(controls, self.timeline, self.summary, figures, self.text, sizing_mode="stretch_width")
        self._draw()

    @property
    def look(self) -> Look:
        """Where the controls look."""
        return Look(self.window.value, self.sleep_pass.value, self.layer.value, self.head.value, self.view.value)

    def _on_window(self, event: Any) -> None:
        if not self._moving:
            self._move(int(event.new), self._scene.last_pass(int(event.new)))

    def _on_play(self, event: Any) -> None:
        if not self._moving:
            self._move(*self._scene.moments[int(event.new)])

    def _on_click(self, event: Any) -> None:
        points = (event.new or {}).get("points") or [{}]
        block = points[0].get("customdata")
        if block is not None:
            self._move(int(block[0]), int(block[1]))

    def _move(self, window: int, sleep_pass: int) -> None:
        """Set window and pass together, so that no pass is drawn that the window does not have."""
        self._moving = True
        try:
            self.window.value = window
            self.sleep_pass.param.update(end=self._scene.last_pass(window), value=sleep_pass)
        finally:
            self._moving = False
        self._draw()

    def _draw(self, _: Any = None) -> None:
        if self._moving:
            return
        scene, look = self._scene, self.look
        self.timeline.object = scene.timeline(look)
        self.fast_weights.object = scene.fast_weights(look)
        if look.layer != self._drawn_layer:  # how much each pass writes depends on nothing else
            self._drawn_layer = look.layer
            self.change.object = scene.change(look)
        self.attention.object = scene.attention(look)
        self.text.object, self.summary.object = scene.text(look), scene.summary(look)
        self._moving = True
        self.play.value = scene.moment_of(look.window, look.sleep_pass)
        self._moving = False

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if not pn.extension._loaded:
            pn.extension("plotly", inline=True)
        return super()._repr_mimebundle_(include, exclude)  # type: ignore[no-untyped-call]

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


def _wrapped(objects: Iterable[Any]) -> pn.FlexBox:
    return pn.FlexBox(*objects, sizing_mode="stretch_width", gap="8px")
