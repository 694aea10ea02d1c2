"""The explorer as ipywidgets: it works in JupyterLab without a network and without any setting.

Figures travel as data in output widgets; what draws them there is the extension of JupyterLab that comes with plotly.
"""

import json
from typing import Any

import ipywidgets
import plotly.graph_objects as go
import xarray as xr
from IPython.display import display

from sleepkit.plots import Theme
from sleepkit.ui.scene import PLAY_MS, VIEWS, Look, Scene

PLOTLY = "application/vnd.plotly.v1+json"


class SleepWidgets:
    """Scrub through the passes of one trace; the last line of a notebook cell shows it.

    Args:
        tree: what ``sleepkit.trace`` returned.
        theme: "light" or "dark".
        height: pixels of each figure.

    Raises:
        InvalidInputError: if the trace has no fast weights.
    """

    def __init__(self, tree: xr.DataTree, *, theme: Theme = "light", height: int = 340) -> None:
        scene = self._scene = Scene(tree, theme=theme, height=height)
        last = scene.last_pass(0)
        self.window = ipywidgets.IntSlider(value=0, min=0, max=scene.n_windows - 1, description="window")
        self.sleep_pass = ipywidgets.IntSlider(value=last, min=0, max=last, description="pass")
        self.layer = ipywidgets.Dropdown(options=scene.layers, description="layer")
        self.view = ipywidgets.ToggleButtons(options=VIEWS, description="show")
        self.play = ipywidgets.Play(
            value=scene.moment_of(0, last), min=0, max=len(scene.moments) - 1, interval=PLAY_MS, description="play all passes"
        )
        self.fast_weights, self.change, self.attention = ipywidgets.Output(), ipywidgets.Output(), ipywidgets.Output()
        self.text, self.summary = ipywidgets.HTML(), ipywidgets.HTML()
        self._moving = False
        self._drawn_layer: int | None = None
        self.window.observe(self._on_window, "value")
        self.play.observe(self._on_play, "value")
        for widget in (self.sleep_pass, self.layer, self.view):
            widget.observe(self._draw, "value")
        controls = ipywidgets.HBox([self.play, self.window, self.sleep_pass, self.layer, self.view])
        controls.layout.flex_flow = "row wrap"
        figures = ipywidgets.HBox([self.fast_weights, self.change, self.attention])
        figures.layout.flex_flow = "row wrap"
        self.box = ipywidgets.VBox([controls, self.summary, figures, self.text])
        self._draw()

    @property
    def look(self) -> Look:
        """Where the controls look."""
        return Look(int(self.window.value), int(self.sleep_pass.value), int(self.layer.value), self.view.value)

    def _on_window(self, change: Any) -> None:
        if not self._moving:
            self._move(int(change["new"]), self._scene.last_pass(int(change["new"])))

    def _on_play(self, change: Any) -> None:
        if not self._moving:
            self._move(*self._scene.moments[int(change["new"])])

    def _move(self, window: int, sleep_pass: int) -> None:
        """Set window and pass together, so that no pass is drawn that the window does not have."""
        self._moving = True
        try:
            self.window.value = window
            self.sleep_pass.max = self._scene.last_pass(window)
            self.sleep_pass.value = sleep_pass
        finally:
            self._moving = False
        self._draw()

    def _draw(self, _: Any = None) -> None:
        if self._moving:
            return
        scene, look = self._scene, self.look
        self.fast_weights.outputs = _shown(scene.fast_weights(look))
        if look.layer != self._drawn_layer:  # how much each pass writes depends on nothing else
            self._drawn_layer = look.layer
            self.change.outputs = _shown(scene.change(look))
        self.attention.outputs = _shown(scene.attention(look))
        self.text.value, self.summary.value = scene.text(look), scene.summary(look)
        self._moving = True
        self.play.value = scene.moment_of(look.window, look.sleep_pass)
        self._moving = False

    def _ipython_display_(self) -> None:
        display(self.box)


def _shown(figure: go.Figure | None) -> tuple[dict[str, Any], ...]:
    """Return a figure as what an output widget holds."""
    if figure is None:
        return ()
    data = {PLOTLY: json.loads(figure.to_json()), "text/plain": figure.layout.title.text or ""}
    return ({"output_type": "display_data", "data": data, "metadata": {}},)
