"""Attention maps of one window in one pass."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.moment import check_pass, pass_name, select_layer
from sleepkit.plots.mosaic import head_numbers, mosaic, name_heads, pick_head, pooled
from sleepkit.plots.theme import Theme, dress, palette
from sleepkit.results import group

_MOST_WRITTEN = 40


def attention(
    tree: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    theme: Theme = "light",
    title: str | None = None,
    height: int = 360,
) -> go.Figure:
    """Draw the softmax weights of every head of one layer in one pass over one window, as a mosaic.

    At the left edge of a head, from the second window on, a dotted line stands where all before was evicted; under sliding
    eviction a column before the line holds what goes to the tokens that were kept, all together. One head alone has its tokens
    written on the axes if they are few. Above 512 cells a side the largest of several weights stands for them, as the axis says.

    Args:
        tree: what ``trace`` returned.
        window: which window.
        sleep_pass: which pass, from 1; the last one if None. Pass 0 (before reading) has no attention.
        layer: layer number; the first one with attention if None.
        head: this head alone; all heads if None.
        theme: "light" or "dark".
        title: title; computed if None.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window, pass, layer or head.
    """
    weights, chosen_layer = select_layer(tree, "attention", "weights", layer)
    chosen = check_pass(tree, window, sleep_pass, first=1)
    tokens = group(tree, "tokens")
    start, stop = int(tokens["start"].values[window]), int(tokens["stop"].values[window])
    n = stop - start
    own, first = pick_head(weights.sel(sleep_pass=chosen).values[window][:, :n, :n], head)
    tiles, n_kept = own, 0
    if tree.attrs.get("eviction") == "sliding" and window > 0:
        carried = select_layer(tree, "attention", "carried", layer)[0].sel(sleep_pass=chosen).values[window][:, :n]
        tiles, n_kept = np.concatenate([pick_head(carried[..., None], head)[0], own], axis=2), 1
    tiles, k = pooled(tiles)
    texts = tokens["text"].values[start:stop].astype(str).tolist()
    picture, corners = mosaic(tiles)
    colours = palette(theme)
    hover = _hover(corners, picture.shape, texts, first, n_kept) if k == 1 else None
    figure = go.Figure(
        go.Heatmap(
            z=picture,
            zmin=0.0,
            zmax=1.0,
            colorscale=[list(stop) for stop in colours.sequential],
            text=hover,
            customdata=head_numbers(tiles.shape, corners, picture.shape, first=first),
            hovertemplate=("%{text}: " if k == 1 else "head %{customdata}: ") + "%{z:.3f}<extra></extra>",
            hoverongaps=False,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".1f"},
        )
    )
    default = f"Attention, layer {chosen_layer}, window {window}, {pass_name(tree, window, chosen)}"
    dress(figure, theme=theme, title=title or default, height=height)
    name_heads(figure, corners, colours.muted, first=first)
    if window > 0:
        _mark_eviction(figure, corners, tiles.shape[1], n_kept, colours.wrong)
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False}
    pooling = f", largest of {k} x {k}" if k > 1 else ""
    figure.update_xaxes(title_text=f"looked at (position in the window{pooling})", **axis)
    figure.update_yaxes(title_text="looking", autorange="reversed", **axis)
    if head is not None and k == 1 and n <= _MOST_WRITTEN:
        ticks = {"tickmode": "array", "showticklabels": True, "tickfont": {"size": 10}, "ticktext": texts}
        figure.update_xaxes(tickvals=[n_kept + position for position in range(n)], tickangle=0, **ticks)
        figure.update_yaxes(tickvals=list(range(n)), **ticks)
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


def _hover(corners: list[tuple[int, int]], shape: tuple[int, ...], texts: list[str], first: int, n_kept: int) -> np.ndarray:
    hover = np.full(shape, "", dtype=object)
    for head, (top, left) in enumerate(corners):
        for query, query_text in enumerate(texts):
            looks = f"head {first + head}: position {query} ({query_text}) looks at"
            if n_kept:
                hover[top + query, left] = f"{looks} tokens kept from before"
            for key in range(query + 1):
                hover[top + query, left + n_kept + key] = f"{looks} {key} ({texts[key]})"
    return hover


def _mark_eviction(figure: go.Figure, corners: list[tuple[int, int]], n_rows: int, n_kept: int, colour: str) -> None:
    """Draw a line at the edge of each head before which everything, or all but the kept column, was evicted."""
    for top, left in corners:
        at = left - 0.5 + n_kept
        line = {"color": colour, "width": 2, "dash": "dot"}
        figure.add_shape(type="line", x0=at, x1=at, y0=top - 0.5, y1=top + n_rows - 0.5, line=line)
