"""Fast weights before, between and after the passes of a sleep."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.draft import Draft
from sleepkit.plots.moment import check_pass, last_pass, pass_name, select_layer
from sleepkit.plots.mosaic import head_numbers, labels, mosaic, name_heads, pick_head, pooled, pooling_words
from sleepkit.plots.theme import Theme, dress, palette, pass_colour
from sleepkit.results import group

View = Literal["value", "change"]
_COLOURED_SHARE = 0.995


def fast_weights(
    tree: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    view: View = "value",
    limit: float | None = None,
    theme: Theme = "light",
    title: str | None = None,
    height: int = 360,
) -> go.Figure:
    """Draw S of every head of one layer after one pass, as a mosaic; the colour range is the same for all passes and heads.

    The largest half percent of the entries of the whole trace saturate; the hover text has every value. Above 512 cells a side
    the strongest of several entries stands for them, as the title says. Customdata of a cell: its head.

    Args:
        tree: what ``trace`` returned.
        window: which window.
        sleep_pass: after which pass (0 = before the window, 1 = after reading); the last one if None.
        layer: layer number; the first one with fast weights if None.
        head: this head alone; all heads if None.
        view: "value", or "change" from the pass before.
        limit: the colour range is [-limit, limit]; that of ``colour_limit`` if None.
        theme: "light" or "dark".
        title: title; computed if None.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window, pass, layer or head.
    """
    states, layer = select_layer(tree, "fast_weights", "state", layer)
    chosen = check_pass(tree, window, sleep_pass, first=0)
    require(view in ("value", "change"), "view", "must be 'value' or 'change'", view)
    shown = _shown(states.values, view)
    limit = _colour_limit(shown) if limit is None else limit
    tiles, first = pick_head(shown[window, chosen], head)
    tiles, k = pooled(tiles)
    picture, corners = mosaic(tiles)
    colours = palette(theme)
    figure = Draft()
    figure.add_heatmap(
        z=picture,
        zmin=-limit,
        zmax=limit,
        colorscale=[list(stop) for stop in colours.diverging],
        text=labels(tiles.shape, corners, picture.shape, "key", "value", first=first) if k == 1 else None,
        customdata=head_numbers(tiles.shape, corners, picture.shape, first=first),
        hovertemplate=("%{text}: " if k == 1 else "head %{customdata}: ") + "%{z:.3f}<extra></extra>",
        hoverongaps=False,
        colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".2f"},
    )
    what = "Fast weights" if view == "value" else "Change of fast weights"
    moment = pass_name(tree, window, chosen)
    default = f"{what}, layer {layer}, window {window}, {moment}{pooling_words(k)}"
    dress(figure, theme=theme, title=title or default, height=height)
    name_heads(figure, corners, colours.muted, first=first)
    figure.update_xaxes(
        title={"text": "value channel, head by head" if head is None else "value channel"},
        showticklabels=False,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title={"text": "key channel"}, showticklabels=False, showgrid=False, zeroline=False, autorange="reversed")
    if head is not None and k == 1:
        figure.update_xaxes(showticklabels=True)
        figure.update_yaxes(showticklabels=True)
    return figure.done()


def colour_limit(tree: xr.DataTree, *, layer: int | None = None, view: View = "value") -> float:
    """Return the colour range of a layer over all windows and passes; the larger of two makes two pictures comparable.

    Raises:
        InvalidInputError: if the trace has no such layer.
    """
    states, _ = select_layer(tree, "fast_weights", "state", layer)
    return _colour_limit(_shown(states.values, view))


def fast_weight_change(
    tree: xr.DataTree,
    *,
    layer: int | None = None,
    window: int | None = None,
    theme: Theme = "light",
    title: str | None = "How much each pass writes",
    height: int = 300,
) -> go.Figure:
    """Draw the norm of the change of S by pass, |S_after - S_before| over all heads, one line per window slept on.

    Args:
        tree: what ``trace`` returned.
        layer: layer number; the first one with fast weights if None.
        window: drawn strong before the others in grey; all in colours of their own, with a legend, if None.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such layer or window.
    """
    states, layer = select_layer(tree, "fast_weights", "state", layer)
    change = np.sqrt((np.diff(states.values, axis=1) ** 2).sum(axis=(2, 3, 4)))
    if window is not None:
        check_pass(tree, window, None, first=0)
    figure, colours = Draft(), palette(theme)
    for number in sorted(range(change.shape[0]), key=lambda number: number == window):
        asleep, at = bool(group(tree, "tokens")["asleep"].values[number]), number == window
        if window is None:
            colour = pass_colour(number + 2, theme) if asleep else colours.accent
        else:
            colour = colours.accent if at else colours.floor
        n_passes = last_pass(tree, number)
        figure.add_scatter(
            x=list(range(1, n_passes + 1)),
            y=change[number, :n_passes].tolist(),
            mode="lines+markers",
            name=f"window {number}" if asleep else "answering",
            line={"color": colour, "width": 2 if window is None else 3 if at else 1.5},
            marker={"size": 7 if window is None else 8 if at else 5},
            opacity=1.0 if window is None or at else 0.6,
            hovertemplate=f"window {number}, pass %{{x}}: |dS| = %{{y:.2f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_xaxes(title={"text": "pass (1 reads, later ones are asleep)"}, dtick=1 if change.shape[1] <= 9 else 4)
    figure.update_yaxes(title={"text": "norm of the change, |dS|"}, rangemode="tozero")
    if window is not None:
        figure.update_layout(showlegend=False)
        place = {"x": 0.98, "y": 0.98, "xref": "paper", "yref": "paper", "xanchor": "right", "yanchor": "top"}
        words, font = f"<b>window {window}</b>, others grey", {"size": 11, "color": colours.accent}
        figure.add_annotation(text=words, showarrow=False, font=font, **place)
    return figure.done()


def fast_weight_change_summary(tree: xr.DataTree, *, window: int, layer: int | None = None) -> str:
    """Say the figure in words: which pass over a window writes most, and what the last one still writes."""
    states, layer = select_layer(tree, "fast_weights", "state", layer)
    passes = states.values[window, : last_pass(tree, window) + 1]
    change = np.sqrt((np.diff(passes, axis=0) ** 2).sum(axis=(1, 2, 3)))
    most = int(change.argmax()) + 1
    return (
        f"Fast weights of layer {layer}, window {window}: pass {most} of {len(change)} writes most (norm of the change "
        f"{change[most - 1]:.2f}), the last one {change[-1]:.2f}."
    )


def fast_weights_summary(
    tree: xr.DataTree, *, window: int, sleep_pass: int, layer: int | None = None, head: int | None = None
) -> str:
    """Say the figure in words: norm of S and of its change, of one head or of all together."""
    states, layer = select_layer(tree, "fast_weights", "state", layer)
    check_pass(tree, window, sleep_pass, first=0)
    now, _ = pick_head(states.values[window, sleep_pass], head)
    before, _ = pick_head(states.values[window, max(sleep_pass - 1, 0)], head)
    whose = f"layer {layer}" if head is None else f"layer {layer}, head {head},"
    return (
        f"Fast weights of {whose} in window {window}, {pass_name(tree, window, sleep_pass)}: norm "
        f"{float(np.linalg.norm(now)):.2f}, changed by {float(np.linalg.norm(now - before)):.2f} in this pass."
    )


def _shown(states: np.ndarray, view: View) -> np.ndarray:
    return states if view == "value" else np.diff(states, axis=1, prepend=states[:, :1])


def _colour_limit(shown: np.ndarray) -> float:
    """Return the colour range: all but the largest half percent of the entries, so that one outlier does not bleach the rest."""
    return float(np.nanquantile(np.abs(shown), _COLOURED_SHARE)) or float(np.nanmax(np.abs(shown))) or 1.0
