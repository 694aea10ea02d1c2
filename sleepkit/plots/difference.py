"""Two traces of one example, one less the other: what more passes write, and where else they look."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.moment import check_pass, select_layer
from sleepkit.plots.mosaic import head_numbers, labels, mosaic, name_heads, pick_head
from sleepkit.plots.theme import Theme, dress, palette
from sleepkit.results import group


def fast_weights_difference(
    left: xr.DataTree,
    right: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    theme: Theme = "light",
    title: str | None = None,
    height: int = 360,
) -> go.Figure:
    """Draw S of one trace less S of another, as a mosaic of heads.

    Args:
        left: what ``trace`` returned.
        right: a trace of the same windows by a model of the same shape, e.g. of the same example at another N.
        window: which window.
        sleep_pass: after which pass; after the last one of each if None.
        layer: layer number; the first one with fast weights if None.
        head: head number; all heads if None.
        theme: "light" or "dark".
        title: title; computed if None.
        height: pixels.

    Raises:
        InvalidInputError: if the traces differ in windows or shapes, or have no such window, pass, layer or head.
    """
    return _difference(
        (left, right), ("fast_weights", "state"), window, sleep_pass, layer, head, theme=theme, title=title, height=height
    )


def attention_difference(
    left: xr.DataTree,
    right: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    theme: Theme = "light",
    title: str | None = None,
    height: int = 360,
) -> go.Figure:
    """Draw the attention of one trace less that of another, as a mosaic of heads; ``fast_weights_difference`` has the rest.

    Raises:
        InvalidInputError: if the traces differ in windows or shapes, or have no such window, pass, layer or head.
    """
    return _difference(
        (left, right), ("attention", "weights"), window, sleep_pass, layer, head, theme=theme, title=title, height=height
    )


def _difference(
    trees: tuple[xr.DataTree, xr.DataTree],
    what: tuple[str, str],
    window: int,
    sleep_pass: int | None,
    layer: int | None,
    head: int | None,
    *,
    theme: Theme,
    title: str | None,
    height: int,
) -> go.Figure:
    starts = [group(tree, "tokens")["start"].values.tolist() for tree in trees]
    require(starts[0] == starts[1], "right", f"must have the windows of left, which start at {starts[0]}", starts[1])
    tiles, numbers = [], []
    for tree in trees:
        values, numbers_layer = select_layer(tree, *what, layer)
        chosen = check_pass(tree, window, sleep_pass, first=1)
        tiles.append(values.sel(sleep_pass=chosen).values[window].astype(np.float32))
        numbers.append(numbers_layer)
    require(tiles[0].shape == tiles[1].shape, "right", f"must have the shape of left, {tiles[0].shape}", tiles[1].shape)
    shown, first = pick_head(tiles[0] - tiles[1], head)
    if what[0] == "attention":
        n = int(group(trees[0], "tokens")["stop"].values[window]) - starts[0][window]
        shown = shown[:, :n, :n]
    return _draw(shown, first, what[0], numbers[0], window, theme=theme, title=title, height=height)


def _draw(
    shown: np.ndarray,
    first: int,
    what: str,
    layer: int,
    window: int,
    *,
    theme: Theme,
    title: str | None,
    height: int,
) -> go.Figure:
    picture, corners = mosaic(shown)
    limit, colours = float(np.nanmax(np.abs(shown))) or 1.0, palette(theme)
    axes = ("key", "value") if what == "fast_weights" else ("query", "position")
    figure = go.Figure(
        go.Heatmap(
            z=picture,
            zmin=-limit,
            zmax=limit,
            colorscale=[list(stop) for stop in colours.diverging],
            text=labels(shown.shape, corners, picture.shape, *axes, first=first),
            customdata=head_numbers(shown.shape, corners, picture.shape, first=first),
            hovertemplate="%{text}: %{z:+.3f}<extra></extra>",
            hoverongaps=False,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": "+.2f"},
        )
    )
    name = "Fast weights" if what == "fast_weights" else "Attention"
    dress(figure, theme=theme, title=title or f"{name}: difference, layer {layer}, window {window}", height=height)
    name_heads(figure, corners, colours.muted, first=first)
    figure.update_xaxes(title_text=f"{axes[1]}, head by head", showticklabels=False, showgrid=False, zeroline=False)
    figure.update_yaxes(title_text=axes[0], showticklabels=False, showgrid=False, zeroline=False, autorange="reversed")
    return figure
