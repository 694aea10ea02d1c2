"""Passes against layers: accuracy over the number of blocks applied to a window."""

import math

import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.draft import Draft
from sleepkit.plots.learning import shade
from sleepkit.plots.theme import Theme, dress, palette
from sleepkit.results import check

_LABELLED = ("top left", "top right", "bottom left", "bottom right")
_SYMBOLS = ("circle", "square", "diamond")


def accuracy_by_blocks(
    figure: xr.Dataset,
    *,
    theme: Theme = "light",
    title: str | None = "Is a pass worth a layer?",
    height: int = 380,
) -> go.Figure:
    """Draw accuracy over all depths against N x layers, a line for each number of layers, a point for each N.

    Args:
        figure: Dataset of kind "figure" with a dimension layers.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        StoreError: if the dataset is no figure.
    """
    check(figure, "figure")
    drawn, all_layers = Draft(), sorted(figure.layers.values.tolist(), key=len)
    for place, layers in enumerate(all_layers):
        row = figure.accuracy.sel(layers=layers).mean(["seed", "depth"]).dropna("n_passes")
        n_layers, passes = len(layers.split()), row.n_passes.values.tolist()
        drawn.add_scatter(
            x=[n_layers * n for n in passes],
            y=row.values.tolist(),
            text=[f"N = {n}" for n in passes],
            mode="lines+markers+text",
            textposition=_LABELLED[place % len(_LABELLED)],
            name=f"{n_layers} layers",
            line={"color": shade(place, len(all_layers)), "width": 2.5},
            # Where points fall together, the later and smaller one leaves the earlier to be seen.
            marker={"size": max(15 - 3 * place, 8), "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
            hovertemplate=f"{n_layers} layers, %{{text}}: %{{y:.1%}}<extra></extra>",
        )
    floor = float(figure.floor.mean())
    drawn.add_hline(floor, "floor (best constant)", line={"color": palette(theme).floor, "dash": "dot", "width": 2})
    dress(drawn, theme=theme, title=title, height=height)
    applied = sorted({blocks for line in drawn.data for blocks in line["x"]})
    drawn.update_xaxes(
        title={"text": "blocks applied to a window, N x layers"},
        type="log",
        tickvals=applied,
        ticktext=list(map(str, applied)),
        range=[math.log10(applied[0]) - 0.08, math.log10(applied[-1]) + 0.08],  # room for the labels at the sides
    )
    drawn.update_yaxes(title={"text": "accuracy of one answer, all depths"}, tickformat=".0%")
    return drawn.done()
