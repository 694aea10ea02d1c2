"""The views of the dashboard inside a notebook cell: ipywidgets sliders over the same figures, no server, no model."""

from typing import Any

import ipywidgets
import plotly.graph_objects as go
import xarray as xr
from IPython.display import display

from sleepkit import plots
from sleepkit.plots import Theme, last_pass

_VIEWS = ("value", "change")


class SleepExplorer:
    """Scrub through the passes of one trace; the last line of a notebook cell shows it.

    Figures are drawn into an output cell with plotly's own renderer, so that it works offline and without anywidget.

    Args:
        tree: what ``sleepkit.trace`` returned.
        theme: "light" or "dark".
        height: pixels of each figure.

    Raises:
        InvalidInputError: if the trace has no fast weights.
    """

    def __init__(self, tree: xr.DataTree, *, theme: Theme = "light", height: int = 340) -> None:
        self._tree, self._theme, self._height = tree, theme, height
        layers = [int(layer) for layer in tree["fast_weights"].to_dataset()["layer"].values]
        n_windows = int(tree["tokens"].sizes["window"])
        self.window = ipywidgets.IntSlider(value=0, min=0, max=n_windows - 1, description="window")
        self.sleep_pass = ipywidgets.IntSlider(value=last_pass(tree, 0), min=0, max=last_pass(tree, 0), description="pass")
        self.layer = ipywidgets.Dropdown(options=layers, description="layer")
        self.view = ipywidgets.ToggleButtons(options=_VIEWS, description="show")
        self._text, self._output = ipywidgets.HTML(), ipywidgets.Output()
        self.window.observe(self._on_window, "value")
        for widget in (self.sleep_pass, self.layer, self.view):
            widget.observe(self._draw, "value")
        # Refuses a trace without fast weights here rather than inside the output cell.
        self.figures()

    def figures(self) -> list[go.Figure]:
        """Return the figures at the chosen place: fast weights and, where the pass has one, attention."""
        window, sleep_pass = int(self.window.value), int(self.sleep_pass.value)
        drawn = [
            plots.fast_weights(
                self._tree,
                window=window,
                sleep_pass=sleep_pass,
                layer=self.layer.value,
                view=self.view.value,
                theme=self._theme,
                height=self._height,
            )
        ]
        if sleep_pass > 0 and self._tree["attention"]["layer"].size:
            drawn.append(
                plots.attention(self._tree, window=window, sleep_pass=sleep_pass, theme=self._theme, height=self._height)
            )
        return drawn

    def _on_window(self, change: Any) -> None:
        last = last_pass(self._tree, int(change["new"]))
        self.sleep_pass.max = last
        self.sleep_pass.value = last
        self._draw()

    def _draw(self, _: Any = None) -> None:
        tokens = plots.token_text(self._tree, window=int(self.window.value), theme=self._theme)
        self._text.value = tokens + plots.answer_line(self._tree, theme=self._theme)
        with self._output:
            self._output.clear_output(wait=True)
            display(*self.figures())

    def _ipython_display_(self) -> None:
        controls = ipywidgets.HBox([self.window, self.sleep_pass, self.layer, self.view])
        display(ipywidgets.VBox([controls, self._output, self._text]))
        self._draw()
