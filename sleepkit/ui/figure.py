"""A plotly figure on a page.

Panel's own pane draws every figure about four times in a Material page: an empty one first, again when the theme has written its
colours and margins into the layout in the browser, again with ours, and again for each resizing. This one draws a figure once,
when it is there, and nothing dresses it but its builder.
"""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import param
import plotly.graph_objects as go
import plotly.io
from panel.custom import JSComponent

from sleepkit.ui.compute import Recent

_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


# Building figures takes most of the time that looking elsewhere takes, and visitors look at the same places: sessions share them,
# as JSON, some 30 KB each.
_DRAWN: Recent[str] = Recent(1024)


class FigurePane(JSComponent):
    """The figure last given, as wide as its pane; the page must load plotly's script: ``pn.extension("plotly")``.

    Args:
        height: pixels.
        name: the camera in the tool bar saves a PNG of that name.
    """

    figure = param.String(default="", doc="The figure as JSON.")
    config = param.Dict(default={}, doc="Plotly's configuration.")
    height_px = param.Integer(default=300, bounds=(1, None), doc="Height in pixels.")
    click_data = param.Dict(default=None, allow_None=True, doc="The point that was clicked last: x, y, customdata and numbers.")

    _esm = Path(__file__).with_name("figure.js")
    _rename: ClassVar = {"click_data": None}

    def __init__(self, *, height: int, name: str = "sleepkit", **params: Any) -> None:
        self._build: Callable[[], go.Figure] | None = None
        config = {**_CONFIG, "toImageButtonOptions": {"filename": name, "scale": 2}}
        size = {"height": height, "height_px": height, "sizing_mode": "stretch_width", "margin": 0}
        super().__init__(**{**size, "config": config, **params})  # type: ignore[no-untyped-call]

    @property
    def shown(self) -> go.Figure | None:
        """The figure on show; None before there is one."""
        return None if self._build is None else self._build()

    def draw(self, figure: go.Figure) -> None:
        """Show a figure, which nobody may change afterwards."""
        self._build = lambda: figure
        self.figure = _json(figure)

    def draw_known(self, key: Hashable, build: Callable[[], go.Figure]) -> None:
        """Show the figure that a key stands for; it is built if no session has shown it lately.

        Args:
            key: all that the figure depends on.
            build: returns it.
        """
        self._build = build
        self.figure = _DRAWN.get(key) or _DRAWN.put(key, _json(build()))

    def _handle_msg(self, data: Mapping[str, Any]) -> None:
        self.click_data = None  # the same point may be clicked twice
        self.click_data = dict(data)


def _json(figure: go.Figure) -> str:
    text: str = plotly.io.to_json(figure, validate=False)
    return text
