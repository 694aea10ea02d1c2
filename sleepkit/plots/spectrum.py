"""Size and spectrum of the fast weights from pass to pass."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.draft import Draft
from sleepkit.plots.moment import check_pass, last_pass, pass_name, select_layer
from sleepkit.plots.mosaic import pick_head
from sleepkit.plots.theme import Theme, dress, palette

_DECADES = 4  # of the logarithmic axis: smaller singular values are noise of float32 sums


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

    The axis is logarithmic over four decades below the largest value; what is smaller, and an S that is 0, is below the picture.

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
    values, colours = _singular_values(tree, window, layer, head), palette(theme)
    figure = Draft()
    for number, line in enumerate(values):
        at = number == chosen
        name = "before" if number == 0 else f"pass {number}"
        figure.add_scatter(
            x=list(range(1, len(line) + 1)),
            y=line.astype(float).tolist(),
            mode="lines+markers" if at else "lines",
            name=name,
            line={
                "color": colours.accent if at else colours.muted,
                "width": 3 if at else 1.2,
                "dash": "dot" if number == 0 else "solid",
            },
            marker={"size": 6},
            # Later passes are darker than earlier ones.
            opacity=1.0 if at else 0.35 + 0.5 * number / len(values),
            hovertemplate=f"{name}, singular value %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.data.append(figure.data.pop(chosen))
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title={"text": "number, largest first"}, range=[0.5, values.shape[1] + 0.5])
    top = float(np.log10(values.max())) if values.max() > 0 else 0.0
    figure.update_yaxes(title={"text": "singular value"}, type="log", range=[top - _DECADES, top + 0.15], dtick=1)
    others = f"<span style='color:{colours.muted}'>thin: other passes, dotted: before</span>"
    words = f"<b>{pass_name(tree, window, chosen)}</b><br>{others}"
    place = {"x": 1.0, "y": 1.0, "xref": "paper", "yref": "paper", "xanchor": "right", "yanchor": "top", "align": "right"}
    figure.add_annotation(text=words, showarrow=False, font={"size": 11, "color": colours.accent}, **place)
    return figure.done()


def state_spectrum_summary(
    tree: xr.DataTree, *, window: int, sleep_pass: int, layer: int | None = None, head: int | None = None
) -> str:
    """Say the figure in words: largest singular value and effective rank, before the window and after the pass.

    The effective rank is the exponential of the entropy of the singular values (Roy and Vetterli 2007).
    """
    check_pass(tree, window, sleep_pass, first=0)
    values = _singular_values(tree, window, layer, head)
    rank, before = _effective_rank(values[sleep_pass]), _effective_rank(values[0])
    whose = "mean over the heads" if head is None else f"head {head}"
    return (
        f"Singular values of S in window {window}, {pass_name(tree, window, sleep_pass)} ({whose}): the largest is "
        f"{values[sleep_pass, 0]:.2f}, the effective rank {rank:.1f} of {values.shape[1]} ({before:.1f} before the window)."
    )


def state_norm(
    tree: xr.DataTree,
    *,
    window: int = 0,
    sleep_pass: int | None = None,
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
        sleep_pass: the pass looked at, marked by an upright line; no line if None.
        layer: layer number; the first one with fast weights if None.
        head: head number; all heads together if None.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if the trace has no such window, pass, layer or head.
    """
    norm, change = _norms(tree, window, layer, head)
    figure, colours = Draft(), palette(theme)
    if sleep_pass is not None:
        at = check_pass(tree, window, sleep_pass, first=0)
        figure.add_vline(x=at, line={"color": colours.accent, "width": 1, "dash": "dot"})
    for name, start, line, colour, dash in (
        ("|S|", 0, norm, colours.text, "solid"),
        ("|dS|", 1, change, colours.accent, "dash"),
    ):
        figure.add_scatter(
            x=list(range(start, start + len(line))),
            y=line.astype(float).tolist(),
            mode="lines+markers+text",
            name=name,
            text=["", *[""] * (len(line) - 2), name][-len(line) :],
            textposition="middle right",
            textfont={"color": colour},
            cliponaxis=False,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={"size": 6},
            hovertemplate=f"pass %{{x}}: {name} = %{{y:.2f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_layout(showlegend=False)
    last = len(norm) - 1  # room for the names beside the last points
    figure.update_xaxes(title={"text": "pass (0 before, 1 reads)"}, dtick=1 if last < 9 else 4, range=[-0.05 * last, 1.13 * last])
    most = 1.18 * float(max(norm.max(), change.max())) or 1.0
    figure.update_yaxes(title={"text": "norm"}, range=[0, most])
    return figure.done()


def state_norm_summary(
    tree: xr.DataTree, *, window: int, sleep_pass: int, layer: int | None = None, head: int | None = None
) -> str:
    """Say the figure in words: the norm before the window and after the pass, and what the pass changed."""
    check_pass(tree, window, sleep_pass, first=0)
    norm, change = _norms(tree, window, layer, head)
    whose = "all heads" if head is None else f"head {head}"
    by = f", changed by {change[sleep_pass - 1]:.2f} in this pass" if sleep_pass else ""
    moment = pass_name(tree, window, sleep_pass)
    return f"Norm of S in window {window} ({whose}): {norm[0]:.2f} before the window, {norm[sleep_pass]:.2f} {moment}{by}."


def _singular_values(tree: xr.DataTree, window: int, layer: int | None, head: int | None) -> np.ndarray:
    """Return the singular values before and after each pass, mean over the chosen heads: [pass, number]."""
    return np.asarray(np.linalg.svd(_heads(tree, window, layer, head), compute_uv=False).mean(axis=1))


def _effective_rank(values: np.ndarray) -> float:
    shares = values[values > 0] / max(float(values.sum()), np.finfo(np.float32).tiny)
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def _norms(tree: xr.DataTree, window: int, layer: int | None, head: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the norm of S before and after each pass, and of the change in each pass."""
    passes = _heads(tree, window, layer, head)
    change = np.diff(passes, axis=0)
    return np.sqrt((passes**2).sum(axis=(1, 2, 3))), np.sqrt((change**2).sum(axis=(1, 2, 3)))


def _heads(tree: xr.DataTree, window: int, layer: int | None, head: int | None) -> np.ndarray:
    """Return S of the chosen heads before and after each pass over a window: [pass, head, key, value]."""
    states, _ = select_layer(tree, "fast_weights", "state", layer)
    passes = states.values[window, : last_pass(tree, window) + 1].astype(np.float32)
    first = pick_head(passes[0], head)[1]
    return passes if head is None else passes[:, first : first + 1]
