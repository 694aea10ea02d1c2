"""Fast weights before, between and after the passes of a sleep."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.moment import check_pass, last_pass, pass_name, select_layer
from sleepkit.plots.mosaic import head_numbers, labels, mosaic, name_heads, pick_head
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

    The largest half percent of the entries of the whole trace saturate; the hover text has every value.

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
    picture, corners = mosaic(tiles)
    colours = palette(theme)
    figure = go.Figure(
        go.Heatmap(
            z=picture,
            zmin=-limit,
            zmax=limit,
            colorscale=[list(stop) for stop in colours.diverging],
            text=labels(tiles.shape, corners, picture.shape, "key", "value", first=first),
            customdata=head_numbers(tiles.shape, corners, picture.shape, first=first),
            hovertemplate="%{text}: %{z:.3f}<extra></extra>",
            hoverongaps=False,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".2f"},
        )
    )
    what = "Fast weights" if view == "value" else "Change of fast weights"
    moment = pass_name(tree, window, chosen)
    dress(figure, theme=theme, title=title or f"{what}, layer {layer}, window {window}, {moment}", height=height)
    name_heads(figure, corners, colours.muted, first=first)
    figure.update_xaxes(
        title_text="value channel, head by head" if head is None else "value channel",
        showticklabels=False,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title_text="key channel", showticklabels=False, showgrid=False, zeroline=False, autorange="reversed")
    return figure


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
    theme: Theme = "light",
    title: str | None = "How much each pass writes",
    height: int = 300,
) -> go.Figure:
    """Draw the norm of the change of S by pass, |S_after - S_before| over all heads, one line per window slept on.

    Raises:
        InvalidInputError: if the trace has no such layer.
    """
    states, layer = select_layer(tree, "fast_weights", "state", layer)
    change = np.sqrt((np.diff(states.values, axis=1) ** 2).sum(axis=(2, 3, 4)))
    tokens, figure = group(tree, "tokens"), go.Figure()
    for window in range(change.shape[0]):
        asleep = bool(tokens["asleep"].values[window])
        colour = pass_colour(window + 2, theme) if asleep else palette(theme).accent
        n_passes = last_pass(tree, window)
        figure.add_scatter(
            x=list(range(1, n_passes + 1)),
            y=change[window, :n_passes].tolist(),
            mode="lines+markers",
            name=f"window {window}" if asleep else "answering",
            line={"color": colour, "width": 2},
            marker={"size": 7},
            hovertemplate=f"window {window}, pass %{{x}}: |dS| = %{{y:.2f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_xaxes(title_text="pass (1 reads, later ones are asleep)", dtick=1 if change.shape[1] <= 9 else 4)
    figure.update_yaxes(title_text="norm of the change", rangemode="tozero")
    return figure


def fast_weights_summary(tree: xr.DataTree, *, window: int, sleep_pass: int, layer: int | None = None) -> str:
    """Say the figure in words: norm of S and of its change."""
    states, layer = select_layer(tree, "fast_weights", "state", layer)
    check_pass(tree, window, sleep_pass, first=0)
    now = states.values[window, sleep_pass]
    before = states.values[window, max(sleep_pass - 1, 0)]
    return (
        f"Fast weights of layer {layer} in window {window}, {pass_name(tree, window, sleep_pass)}: norm "
        f"{float(np.linalg.norm(now)):.2f}, changed by {float(np.linalg.norm(now - before)):.2f} in this pass."
    )


def _shown(states: np.ndarray, view: View) -> np.ndarray:
    return states if view == "value" else np.diff(states, axis=1, prepend=states[:, :1])


def _colour_limit(shown: np.ndarray) -> float:
    """Return the colour range: all but the largest half percent of the entries, so that one outlier does not bleach the rest."""
    return float(np.nanquantile(np.abs(shown), _COLOURED_SHARE)) or float(np.nanmax(np.abs(shown))) or 1.0
