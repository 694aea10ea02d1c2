"""A plotly figure on a page.

Panel's own pane draws every figure about four times in a Material page: an empty one first, again when the theme has written its
colours and margins into the layout in the browser, again with ours, and again for each resizing. This one draws a figure once,
when it is there, and nothing dresses it but its builder. Plotly's own classes, which load for a tenth of a second, come with the
first figure: the types below are quoted.
"""

from collections.abc import Callable, Hashable, Mapping
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import param
import plotly.graph_objects as go
import plotly.io
from panel.custom import JSComponent

from sleepkit.errors import require
from sleepkit.ui.recent import Recent

_TITLE_HEIGHT = 56
_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["toImage", "select2d", "lasso2d", "autoScale2d"]}

_POINT = {"x", "y", "curveNumber", "pointNumber", "customdata"}

# Building figures takes most of the time that looking elsewhere takes, and visitors look at the same places: sessions share them,
# as JSON, some 30 KB each, and together as much as a thousand of those.
_DRAWN: Recent[str] = Recent(1024, most=32 * 2**20, weigh=len)


class FigurePane(JSComponent):
    """The figure last given, as wide as its pane; the page must load plotly's script: ``pn.extension("plotly")``.

    Args:
        height: pixels.
        name: the camera in the tool bar saves a PNG of that name, with the caption, the settings and an opaque ground.
    """

    figure = param.String(default="", doc="The figure as JSON.")
    config = param.Dict(default={}, doc="Plotly's configuration.")
    height_px = param.Integer(default=300, bounds=(1, None), doc="Height in pixels.")
    caption = param.String(default="", doc="What the figure shows: the title of a saved picture.")
    settings = param.String(default="", doc="The settings it was made with: the line below that title.")
    legend = param.Boolean(default=False, doc="Whether a saved picture names the lines, which the page names elsewhere.")
    click_data = param.Dict(default=None, allow_None=True, doc="The point that was clicked last: x, y, customdata and numbers.")

    _esm = Path(__file__).with_name("figure.js")
    _rename: ClassVar = {"click_data": None}

    def __init__(self, *, height: int, name: str = "sleepkit", **params: Any) -> None:
        self._build: Callable[[], go.Figure] | None = None
        config = {**_CONFIG, "toImageButtonOptions": {"filename": name, "scale": 2}}
        size = {"height": height, "height_px": height, "sizing_mode": "stretch_width", "margin": 0}
        super().__init__(**{**size, "config": config, **params})  # type: ignore[no-untyped-call]

    @property
    def shown(self) -> "go.Figure | None":
        """The figure on show; None before there is one."""
        return None if self._build is None else self._build()

    @property
    def captioned(self) -> "go.Figure | None":
        """The figure on show with its caption and settings as title, to be shown outside the page; None before there is one."""
        shown = self.shown
        if shown is None or not self.caption:
            return shown
        lines = [
            f"<b>{escape(self.caption)}</b>",
            *([f'<span style="font-size:12px">{escape(self.settings)}</span>'] * bool(self.settings)),
        ]
        title = {"text": "<br>".join(lines), "font": {"size": 15}, "x": 0, "xref": "paper", "xanchor": "left"}
        made = go.Figure(shown)
        height, top = made.layout.height or self.height_px, made.layout.margin.t or 0
        return made.update_layout(title=title, height=height + _TITLE_HEIGHT, margin_t=top + _TITLE_HEIGHT)

    def draw(self, figure: "go.Figure") -> None:
        """Show a figure, which nobody may change afterwards."""
        self._build = lambda: figure
        self.figure = _json(figure)

    def draw_known(self, key: Hashable, build: "Callable[[], go.Figure]") -> None:
        """Show the figure that a key stands for; it is built if no session has shown it lately.

        Args:
            key: all that the figure depends on.
            build: returns it.
        """
        self._build = build
        self.figure = _DRAWN.get(key) or _DRAWN.put(key, _json(build()))

    def _handle_msg(self, data: Any) -> None:
        points = data.get("points") if isinstance(data, Mapping) else None
        good = isinstance(points, list) and len(points) == 1 and isinstance(points[0], Mapping) and _POINT.issuperset(points[0])
        require(good, "message", f"must hold one point of {', '.join(sorted(_POINT))}", data)
        self.click_data = None  # the same point may be clicked twice
        self.click_data = dict(data)


def _json(figure: "go.Figure") -> str:
    text: str = plotly.io.to_json(figure, validate=False)
    return text
