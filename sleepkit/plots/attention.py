"""Attention maps of one window in one pass."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.moment import check_pass, pass_name, select_layer
from sleepkit.plots.mosaic import mosaic, name_heads
from sleepkit.plots.theme import Theme, dress, palette
from sleepkit.results import group


def attention(
    tree: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
    layer: int | None = None,
    theme: Theme = "light",
    title: str | None = None,
    height: int = 360,
) -> go.Figure:
    """Draw the softmax weights of every head of one layer in one pass over one window, as a mosaic.

    Args:
        tree: what ``trace`` returned.
        window: which window.
        sleep_pass: which pass, from 1; the last one if None. Pass 0 (before reading) has no attention.
        layer: layer number; the first one with attention if None.
        theme: "light" or "dark".
        title: title; computed if None.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window, pass or layer.
    """
    weights, chosen_layer = select_layer(tree, "attention", "weights", layer)
    chosen = check_pass(tree, window, sleep_pass, first=1)
    tokens = group(tree, "tokens")
    start, stop = int(tokens["start"].values[window]), int(tokens["stop"].values[window])
    n = stop - start
    tiles = weights.sel(sleep_pass=chosen).values[window][:, :n, :n]
    texts = tokens["text"].values[start:stop].tolist()
    picture, corners = mosaic(tiles)
    colours = palette(theme)
    figure = go.Figure(
        go.Heatmap(
            z=picture,
            zmin=0.0,
            zmax=1.0,
            colorscale=[list(stop) for stop in colours.sequential],
            text=_hover(corners, picture.shape, texts),
            hovertemplate="%{text}: %{z:.3f}<extra></extra>",
            hoverongaps=False,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".1f"},
        )
    )
    default = f"Attention, layer {chosen_layer}, window {window}, {pass_name(tree, window, chosen)}"
    dress(figure, theme=theme, title=title or default, height=height)
    name_heads(figure, corners, colours.muted)
    figure.update_xaxes(title_text="looked at (position in the window)", showticklabels=False, showgrid=False, zeroline=False)
    figure.update_yaxes(title_text="looking", showticklabels=False, showgrid=False, zeroline=False, autorange="reversed")
    return figure


def attention_summary(tree: xr.DataTree, *, window: int, sleep_pass: int, layer: int | None = None) -> str:
    """Say the figure in words: how far back each head looks on average."""
    weights, chosen = select_layer(tree, "attention", "weights", layer)
    check_pass(tree, window, sleep_pass, first=1)
    maps = weights.sel(sleep_pass=sleep_pass).values[window]
    position = np.arange(maps.shape[-1])
    distance = (position[:, None] - position[None, :])[None]
    reach = np.nansum(maps * distance, axis=-1)
    heads = ", ".join(f"head {head} {np.nanmean(row[~np.isnan(maps[head, :, 0])]):.1f}" for head, row in enumerate(reach))
    moment = pass_name(tree, window, sleep_pass)
    return f"Attention of layer {chosen} in window {window}, {moment}; mean tokens looked back: {heads}."


def _hover(corners: list[tuple[int, int]], shape: tuple[int, ...], texts: list[str]) -> np.ndarray:
    hover = np.full(shape, "", dtype=object)
    for head, (top, left) in enumerate(corners):
        for query, query_text in enumerate(texts):
            for key in range(query + 1):
                hover[top + query, left + key] = f"head {head}: position {query} ({query_text}) looks at {key} ({texts[key]})"
    return hover
