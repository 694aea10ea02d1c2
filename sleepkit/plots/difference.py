"""Two traces of one example, one less the other: what more passes write, and where else they look."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.draft import Draft
from sleepkit.plots.moment import check_pass, pass_name, select_layer
from sleepkit.plots.mosaic import head_numbers, labels, mosaic, name_heads, pick_head, pooled, pooling_words
from sleepkit.plots.theme import Theme, dress, palette
from sleepkit.results import group


class _Difference(NamedTuple):
    """One quantity of two traces: tiles [H, R, C] left less right, of the heads from ``first`` on."""

    tiles: np.ndarray
    first: int
    size: float  # norm of the right one
    layer: int
    moments: tuple[str, str]


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
    """Draw S of one trace less S of another, as a mosaic of heads. Customdata of a cell: its head.

    Args:
        left: what ``trace`` returned.
        right: a trace of the same windows by a model of the same shape, e.g. of the same example at another N.
        window: which window.
        sleep_pass: after which pass (0 = before the window); after the last one of each if None.
        layer: layer number; the first one with fast weights if None.
        head: head number; all heads if None.
        theme: "light" or "dark".
        title: title; computed if None.
        height: pixels.

    Raises:
        InvalidInputError: if the traces differ in windows or shapes, or have no such window, pass, layer or head.
    """
    found = _weights(left, right, window, sleep_pass, layer, head)
    axes = ("key channel", "value channel")
    return _draw(found, "Fast weights", axes, window, alone=head is not None, theme=theme, title=title, height=height)


def fast_weights_difference_summary(
    left: xr.DataTree,
    right: xr.DataTree,
    *,
    window: int,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> str:
    """Say the figure in words: the norm of the difference, against that of the right one.

    Raises:
        InvalidInputError: as ``fast_weights_difference``.
    """
    found = _weights(left, right, window, sleep_pass, layer, head)
    return (
        f"Fast weights of layer {found.layer} in window {window}, left {found.moments[0]}, right {found.moments[1]}: the "
        f"difference has norm {np.linalg.norm(found.tiles):.2f}, the right one {found.size:.2f}."
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
        InvalidInputError: if the traces differ in windows or shapes, or have no such window, pass (from 1), layer or head.
    """
    found = _looks(left, right, window, sleep_pass, layer, head)
    axes = ("looking", "looked at")
    return _draw(found, "Attention", axes, window, alone=head is not None, theme=theme, title=title, height=height)


def attention_difference_summary(
    left: xr.DataTree,
    right: xr.DataTree,
    *,
    window: int,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> str:
    """Say the figure in words: how much of its attention a token gives elsewhere on average.

    Raises:
        InvalidInputError: as ``attention_difference``.
    """
    found = _looks(left, right, window, sleep_pass, layer, head)
    moved = float(np.nansum(np.abs(found.tiles), axis=-1).mean()) / 2
    return (
        f"Attention of layer {found.layer} in window {window}, left {found.moments[0]}, right {found.moments[1]}: a token gives "
        f"{moved:.0%} of its attention elsewhere on average."
    )


def _weights(
    left: xr.DataTree, right: xr.DataTree, window: int, sleep_pass: int | None, layer: int | None, head: int | None
) -> _Difference:
    return _difference((left, right), ("fast_weights", "state"), window, sleep_pass, layer, head, first=0)


def _looks(
    left: xr.DataTree, right: xr.DataTree, window: int, sleep_pass: int | None, layer: int | None, head: int | None
) -> _Difference:
    return _difference((left, right), ("attention", "weights"), window, sleep_pass, layer, head, first=1)


def _difference(
    trees: tuple[xr.DataTree, xr.DataTree],
    what: tuple[str, str],
    window: int,
    sleep_pass: int | None,
    layer: int | None,
    head: int | None,
    *,
    first: int,
) -> _Difference:
    windows = [[group(tree, "tokens")[name].values.tolist() for name in ("start", "stop")] for tree in trees]
    require(windows[0] == windows[1], "right", f"must have the windows of left (starts, stops) {windows[0]}", windows[1])
    known = [group(tree, what[0]).layer.values.tolist() for tree in trees]
    require(known[0] == known[1], "right", f"must have {what[0].replace('_', ' ')} in the layers of left, {known[0]}", known[1])
    tiles, moments = [], []
    for tree in trees:
        values, number = select_layer(tree, *what, layer)
        chosen = check_pass(tree, window, sleep_pass, first=first)
        tiles.append(values.sel(sleep_pass=chosen).values[window].astype(np.float32))
        moments.append(pass_name(tree, window, chosen))
    require(tiles[0].shape == tiles[1].shape, "right", f"must have the shape of left, {tiles[0].shape}", tiles[1].shape)
    if what[0] == "attention":
        n = windows[0][1][window] - windows[0][0][window]
        tiles = [each[:, :n, :n] for each in tiles]
    shown, number_of_first = pick_head(tiles[0] - tiles[1], head)
    size = float(np.linalg.norm(pick_head(tiles[1], head)[0]))
    return _Difference(shown, number_of_first, size, number, (moments[0], moments[1]))


def _draw(
    found: _Difference,
    name: str,
    axes: tuple[str, str],
    window: int,
    *,
    alone: bool,
    theme: Theme,
    title: str | None,
    height: int,
) -> go.Figure:
    tiles, k = pooled(found.tiles)
    picture, corners = mosaic(tiles)
    limit, colours = float(np.nanmax(np.abs(tiles))) or 1.0, palette(theme)
    figure = Draft()
    figure.add_heatmap(
        z=picture,
        zmin=-limit,
        zmax=limit,
        colorscale=[list(stop) for stop in colours.diverging],
        text=labels(tiles.shape, corners, picture.shape, *axes, first=found.first) if k == 1 else None,
        customdata=head_numbers(tiles.shape, corners, picture.shape, first=found.first),
        hovertemplate=("%{text}: " if k == 1 else "head %{customdata}: ") + "%{z:+.3f}<extra></extra>",
        hoverongaps=False,
        colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": "+.2f", "nticks": 5},
    )
    default = f"{name}, left less right, layer {found.layer}, window {window}{pooling_words(k)}"
    dress(figure, theme=theme, title=title or default, height=height)
    name_heads(figure, corners, colours.muted, first=found.first)
    quiet = {"showticklabels": False, "showgrid": False, "zeroline": False}
    figure.update_xaxes(title={"text": axes[1] if alone else f"{axes[1]}, head by head"}, **quiet)
    figure.update_yaxes(title={"text": axes[0]}, autorange="reversed", **quiet)
    return figure.done()
