"""A figure in the making: plain dicts, which plotly checks once at the end.

Plotly checks its keys again each time that a figure is touched, some 20 ms a picture; checking a whole figure once takes 3.
"""

from typing import Any

import plotly.graph_objects as go


class Draft:
    """Collects traces and layout under plotly's own names; keys are nested, ``title={"text": ...}``, never ``title_text``."""

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {"xaxis": {}, "yaxis": {}, "annotations": [], "shapes": []}

    def done(self) -> go.Figure:
        """Return the figure.

        Raises:
            ValueError: if plotly knows no such key, or its value is none that plotly draws.
        """
        return go.Figure({"data": self.data, "layout": {k: v for k, v in self.layout.items() if v not in ({}, [])}})

    def add_scatter(self, **trace: Any) -> None:
        """Add points or a line."""
        self.data.append({"type": "scatter", **trace})

    def add_bar(self, **trace: Any) -> None:
        """Add bars."""
        self.data.append({"type": "bar", **trace})

    def add_heatmap(self, **trace: Any) -> None:
        """Add a heatmap."""
        self.data.append({"type": "heatmap", **trace})

    def add_annotation(self, **note: Any) -> None:
        """Write a text."""
        self.layout["annotations"].append(note)

    def add_shape(self, **shape: Any) -> None:
        """Draw a line or a box."""
        self.layout["shapes"].append(shape)

    def add_vline(self, x: float, **shape: Any) -> None:
        """Draw an upright line through the whole plot."""
        self.add_shape(type="line", x0=x, x1=x, xref="x", y0=0, y1=1, yref="y domain", **shape)

    def add_hline(self, y: float, text: str, **shape: Any) -> None:
        """Draw a level line through the whole plot, with a text above its right end."""
        self.add_shape(type="line", x0=0, x1=1, xref="x domain", y0=y, y1=y, yref="y", **shape)
        at = {"x": 1, "xref": "x domain", "xanchor": "right", "y": y, "yref": "y", "yanchor": "bottom"}
        self.add_annotation(text=text, showarrow=False, **at)

    def add_vband(self, x0: float, x1: float, text: str, **shape: Any) -> None:
        """Shade the whole plot from one x to another, with a text at the bottom left of it."""
        self.add_shape(type="rect", x0=x0, x1=x1, xref="x", y0=0, y1=1, yref="y domain", **shape)
        at = {"x": x0, "xref": "x", "xanchor": "left", "y": 0, "yref": "y domain", "yanchor": "bottom"}
        self.add_annotation(text=text, showarrow=False, **at)

    def update_layout(self, **layout: Any) -> None:
        """Set parts of the layout; what they do not name stays as it is."""
        _merge(self.layout, layout)

    def update_xaxes(self, **axis: Any) -> None:
        """Set parts of the x axis."""
        _merge(self.layout["xaxis"], axis)

    def update_yaxes(self, **axis: Any) -> None:
        """Set parts of the y axis."""
        _merge(self.layout["yaxis"], axis)


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        known = into.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            into[name] = dict(known)
            _merge(into[name], value)
        else:
            into[name] = value
