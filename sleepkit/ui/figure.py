"""A plotly figure on a page.

Panel's own pane draws every figure about four times in a Material page: an empty one first, again when the theme has written its
colours and margins into the layout in the browser, again with ours, and again for each resizing. This one draws a figure once,
when it is there, and nothing dresses it but its builder; measured, the page is full in less than half the time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import param
import plotly.graph_objects as go
import plotly.io
from panel.custom import JSComponent

_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


class FigurePane(JSComponent):
    """The figure last given, as wide as its pane; the page must load plotly's script: ``pn.extension("plotly")``.

    Args:
        height: pixels.
        name: the camera in the tool bar saves a PNG of that name.
    """

    object: Any = param.ClassSelector(class_=go.Figure, default=None, allow_None=True, doc="The figure.")
    figure = param.String(default="", doc="The figure as JSON.")
    config = param.Dict(default={}, doc="Plotly's configuration.")
    height_px = param.Integer(default=300, bounds=(1, None), doc="Height in pixels.")
    click_data = param.Dict(default=None, allow_None=True, doc="The point that was clicked last: x, y, customdata and numbers.")

    _esm = Path(__file__).with_name("figure.js")
    _rename: ClassVar = {"object": None, "click_data": None}

    def __init__(self, *, height: int, name: str = "sleepkit", **params: Any) -> None:
        config = {**_CONFIG, "toImageButtonOptions": {"filename": name, "scale": 2}}
        size = {"height": height, "height_px": height, "sizing_mode": "stretch_width", "margin": 0}
        super().__init__(**{**size, "config": config, **params})  # type: ignore[no-untyped-call]

    @param.depends("object", watch=True)
    def _write(self) -> None:
        self.figure = "" if self.object is None else plotly.io.to_json(self.object, validate=False)

    def _handle_msg(self, data: Mapping[str, Any]) -> None:
        self.click_data = None  # the same point may be clicked twice
        self.click_data = dict(data)
