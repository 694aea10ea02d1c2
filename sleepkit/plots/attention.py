"""Attention maps of one window in one pass."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.draft import Draft
from sleepkit.plots.moment import check_pass, eviction_words, first_kept, pass_name, select_layer
from sleepkit.plots.mosaic import head_numbers, mosaic, name_heads, pick_head, pooled, pooling_words
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
    eviction a first column, before the line, holds what goes to the tokens that were kept, all together ("carried"). A dashed
    line stands where this window's own eviction will cut: tokens left of it leave the KV cache after the window (a window that
    is answered has none). One head alone has its tokens written on the axes if they are 40 at most. Above 512 cells a side the
    strongest of several weights stands for them, as the title says. Customdata of a cell: its head.

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
    figure = Draft()
    figure.add_heatmap(
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
    default = f"Attention, layer {chosen_layer}, window {window}, {pass_name(tree, window, chosen)}{pooling_words(k)}"
    dress(figure, theme=theme, title=title or default, height=height)
    name_heads(figure, corners, colours.muted, first=first)
    if window > 0:
        _draw_line(figure, corners, tiles.shape[1], n_kept / k - 0.5, "dot", colours.wrong)
    asleep = bool(tokens["asleep"].values[window])
    if asleep:
        cut = (n_kept + first_kept(tree, window) - start) / k - 0.5
        _draw_line(figure, corners, tiles.shape[1], cut, "dash", colours.wrong)
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False}
    words = f"looked at; left of the dashes: {eviction_words(tree, window).partition(',')[0]} after this window"
    figure.update_xaxes(title={"text": words if asleep else "looked at"}, **axis)
    figure.update_yaxes(title={"text": "looking"}, autorange="reversed", **axis)
    if head is not None and k == 1 and n <= _MOST_WRITTEN:
        _write_tokens(figure, texts, n_kept)
    return figure.done()


def attention_summary(tree: xr.DataTree, *, window: int, sleep_pass: int, layer: int | None = None) -> str:
    """Say the figure in words: how far back each head looks on average, what it gives to kept tokens, what is evicted."""
    weights, chosen = select_layer(tree, "attention", "weights", layer)
    check_pass(tree, window, sleep_pass, first=1)
    maps = weights.sel(sleep_pass=sleep_pass).values[window]
    position = np.arange(maps.shape[-1])
    distance = (position[:, None] - position[None, :])[None]
    reach = np.nansum(maps * distance, axis=-1)
    heads = ", ".join(f"head {head} {np.nanmean(row[~np.isnan(maps[head, :, 0])]):.1f}" for head, row in enumerate(reach))
    moment = pass_name(tree, window, sleep_pass)
    said = f"Attention of layer {chosen} in window {window}, {moment}; mean tokens looked back inside the window: {heads}."
    if tree.attrs.get("eviction") == "sliding" and window > 0:
        carried = select_layer(tree, "attention", "carried", layer)[0].sel(sleep_pass=sleep_pass).values[window]
        said += f" {float(np.nanmean(carried)):.0%} of it goes to tokens kept from before."
    asleep = bool(group(tree, "tokens")["asleep"].values[window])
    return f"{said} After the window: {eviction_words(tree, window)}." if asleep else said


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


def _draw_line(figure: Draft, corners: list[tuple[int, int]], n_rows: int, after: float, dash: str, colour: str) -> None:
    """Draw an upright line through each head, ``after`` cells right of the middle of its first one."""
    for top, left in corners:
        line = {"color": colour, "width": 2, "dash": dash}
        at = left + after
        figure.add_shape(type="line", x0=at, x1=at, y0=top - 0.5, y1=top + n_rows - 0.5, line=line)


def _write_tokens(figure: Draft, texts: list[str], n_kept: int) -> None:
    """Write the tokens on both axes; where they would overlap plotly leaves some out, so every one keeps its tick."""
    ticks = {"tickmode": "array", "showticklabels": True, "tickfont": {"size": 9}, "ticks": "outside", "ticklen": 3}
    carried = ["kept"] * n_kept
    figure.update_xaxes(tickvals=list(range(n_kept + len(texts))), ticktext=[*carried, *texts], tickangle=0, **ticks)
    figure.update_yaxes(tickvals=list(range(len(texts))), ticktext=texts, **ticks)
