"""Size and spectrum of the fast weights from pass to pass."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.moment import check_pass, last_pass, select_layer
from sleepkit.plots.mosaic import pick_head
from sleepkit.plots.theme import Theme, dress, palette, pass_colour


def state_spectrum(
    tree: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    theme: Theme = "light",
    title: str | None = "Singular values of S",
    height: int = 300,
) -> go.Figure:
    """Draw the singular values of S after each pass over one window, a line for each pass; the one looked at is strong.

    Args:
        tree: what ``trace`` returned.
        window: which window.
        sleep_pass: the pass looked at; the last one if None.
        layer: layer number; the first one with fast weights if None.
        head: head number; the mean over all heads if None.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window, pass, layer or head.
    """
    chosen = check_pass(tree, window, sleep_pass, first=0)
    passes = _heads(tree, window, layer, head)
    values = np.linalg.svd(passes, compute_uv=False).mean(axis=1)
    figure = go.Figure()
    for number, line in enumerate(values):
        at = number == chosen
        name = "before" if number == 0 else f"pass {number}"
        figure.add_scatter(
            x=list(range(1, len(line) + 1)),
            y=line.astype(float).tolist(),
            mode="lines+markers" if at else "lines",
            name=name,
            line={
                "color": pass_colour(max(number, 1), theme),
                "width": 3.5 if at else 1.5,
                "dash": "dot" if number == 0 else "solid",
            },
            marker={"size": 6},
            opacity=1.0 if at else 0.65,
            hovertemplate=f"{name}, singular value %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="number, largest first")
    figure.update_yaxes(title_text="singular value", rangemode="tozero")
    return figure


def state_norm(
    tree: xr.DataTree,
    *,
    window: int = 0,
    layer: int | None = None,
    head: int | None = None,
    theme: Theme = "light",
    title: str | None = "Norm of S and of its change",
    height: int = 300,
) -> go.Figure:
    """Draw the Frobenius norm of S after each pass over one window, and of what the pass changed.

    Args:
        tree: what ``trace`` returned.
        window: which window.
        layer: layer number; the first one with fast weights if None.
        head: head number; all heads together if None.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window, layer or head.
    """
    passes, colours = _heads(tree, window, layer, head), palette(theme)
    norm = np.sqrt((passes**2).sum(axis=(1, 2, 3)))
    change = np.sqrt((np.diff(passes, axis=0) ** 2).sum(axis=(1, 2, 3)))
    figure = go.Figure()
    for name, start, line, colour, dash in (
        ("|S|", 0, norm, colours.text, "solid"),
        ("|dS|", 1, change, colours.accent, "dash"),
    ):
        figure.add_scatter(
            x=list(range(start, start + len(line))),
            y=line.astype(float).tolist(),
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={"size": 6},
            hovertemplate=f"pass %{{x}}: {name} = %{{y:.2f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_layout(legend={"x": 0.02, "xanchor": "left", "y": 0.98, "yanchor": "top"})
    figure.update_xaxes(title_text="pass (0 before, 1 reads)", dtick=1 if len(norm) <= 9 else 4)
    figure.update_yaxes(title_text="norm", rangemode="tozero")
    return figure


def _heads(tree: xr.DataTree, window: int, layer: int | None, head: int | None) -> np.ndarray:
    """Return S of the chosen heads before and after each pass over a window: [pass, head, key, value]."""
    states, _ = select_layer(tree, "fast_weights", "state", layer)
    passes = states.values[window, : last_pass(tree, window) + 1].astype(np.float32)
    first = pick_head(passes[0], head)[1]
    return passes if head is None else passes[:, first : first + 1]
