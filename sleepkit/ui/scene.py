"""A trace at one moment, as the figures and the text that both explorers of notebooks show. No widgets here."""

import dataclasses
from typing import Any, Literal

import plotly.graph_objects as go
import xarray as xr

from sleepkit import plots
from sleepkit.errors import require
from sleepkit.plots import Theme, last_pass
from sleepkit.results import group

VIEWS = ("value", "change")
PLAY_MS = 700


@dataclasses.dataclass(frozen=True)
class Look:
    """Where one looks.

    Attributes:
        window: which window.
        sleep_pass: after which pass over it; 0 is before reading.
        layer: a layer with fast weights.
        view: fast weights as they are, or their change in the pass.
    """

    window: int
    sleep_pass: int
    layer: int
    view: Literal["value", "change"] = "value"


class Scene:
    """What is to be seen in a trace.

    Args:
        tree: what ``sleepkit.trace`` returned.
        theme: "light" or "dark".
        height: pixels of each figure.

    Raises:
        InvalidInputError: if the trace has no fast weights.
    """

    def __init__(self, tree: xr.DataTree, *, theme: Theme, height: int) -> None:
        self.tree, self._theme, self._height = tree, theme, height
        self.layers = [int(layer) for layer in group(tree, "fast_weights")["layer"].values]
        require(len(self.layers) > 0, "trace", "must be of a model with fast weights", self.layers)
        self._has_attention = bool(group(tree, "attention")["layer"].size)
        self.n_windows = int(group(tree, "tokens").sizes["window"])
        later = [(window, each) for window in range(self.n_windows) for each in range(1, self.last_pass(window) + 1)]
        self.moments = [(0, 0), *later]

    def last_pass(self, window: int) -> int:
        """Return the number of passes made over a window."""
        return last_pass(self.tree, window)

    def moment_of(self, window: int, sleep_pass: int) -> int:
        """Return the moment in the order of the model's way; before a window is after the last pass over the one before."""
        if sleep_pass == 0 and window > 0:
            window, sleep_pass = window - 1, self.last_pass(window - 1)
        return self.moments.index((window, sleep_pass))

    def fast_weights(self, look: Look) -> go.Figure:
        """Draw the fast weights of every head, or what the pass changed in them."""
        return plots.fast_weights(
            self.tree, window=look.window, sleep_pass=look.sleep_pass, layer=look.layer, view=look.view, **self._dress
        )

    def change(self, look: Look) -> go.Figure:
        """Draw how much each pass writes."""
        return plots.fast_weight_change(self.tree, layer=look.layer, **self._dress)

    def attention(self, look: Look) -> go.Figure | None:
        """Draw the attention of the pass; None before reading and for a model without attention."""
        if look.sleep_pass == 0 or not self._has_attention:
            return None
        return plots.attention(self.tree, window=look.window, sleep_pass=look.sleep_pass, **self._dress)

    def text(self, look: Look) -> str:
        """Return the tokens with the window looked at standing out, and the answers, as HTML."""
        tokens = plots.token_text(self.tree, window=look.window, theme=self._theme)
        return tokens + plots.answer_line(self.tree, theme=self._theme)

    def summary(self, look: Look) -> str:
        """Say the moment in words."""
        return plots.fast_weights_summary(self.tree, window=look.window, sleep_pass=look.sleep_pass, layer=look.layer)

    @property
    def _dress(self) -> dict[str, Any]:
        return {"theme": self._theme, "height": self._height}
