"""Accuracy by reasoning depth, one line per N, with the floor drawn in."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.notation import depth_symbol
from sleepkit.plots.theme import Theme, dress, palette, pass_colour
from sleepkit.results import check


def accuracy_by_depth(
    dataset: xr.Dataset,
    *,
    here: tuple[int, int] | None = None,
    compare: int | None = None,
    measured: xr.Dataset | None = None,
    theme: Theme = "light",
    title: str | None = "Accuracy by reasoning depth",
    height: int = 360,
) -> go.Figure:
    """Draw the picture of the paper: accuracy of one answer against reasoning depth, a line and a 95 % band per N.

    Args:
        dataset: what ``evaluate`` returned (dims n_passes, depth).
        here: (n_passes, depth) of the "you are here" marker.
        compare: an N to stand out beside that of ``here``; the other lines are thinner then. None: all alike.
        measured: a second evaluation drawn as open markers, e.g. at another context length.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        StoreError: if the dataset is not an evaluation.
        InvalidInputError: if ``here`` names a depth that was not evaluated.
    """
    check(dataset, "accuracy")
    figure, colours = go.Figure(), palette(theme)
    depths = dataset.depth.values.tolist()
    _add_floor(figure, dataset, colours.floor)
    # The largest N first and widest: where lines coincide, the smaller N stays visible on top.
    strong = None if compare is None else {compare, *([] if here is None else [here[0]])}
    for rank, n_passes in reversed(list(enumerate(sorted(dataset.n_passes.values.tolist())))):
        quiet = strong is not None and n_passes not in strong
        _add_line(figure, dataset.sel(n_passes=n_passes), n_passes, pass_colour(n_passes, theme), rank, quiet=quiet)
    if measured is not None:
        _add_measured(figure, check(measured, "accuracy"), theme)
    if here is not None:
        require(here[1] in depths, "here", f"must name a depth of {depths}", here)
        beside = dataset if measured is None or here[0] not in measured.n_passes.values else measured
        _add_marker(figure, beside, here, colours.accent)
    dress(figure, theme=theme, title=title, height=height)
    depth = depth_symbol(dataset.attrs.get("task", "")).label
    figure.update_xaxes(title_text=depth, tickmode="array", tickvals=depths)
    figure.update_yaxes(title_text="accuracy of one answer", range=[0.4, 1.02], tickformat=".0%")
    lows = [float(data[name].min()) for data in (dataset, measured) if data is not None for name in ("accuracy_low", "floor")]
    if min(lows) < 0.42:
        figure.update_yaxes(range=[max(0.0, min(lows) - 0.03), 1.02])
    return figure


def accuracy_summary(dataset: xr.Dataset) -> str:
    """Say the figure in words: the N that is best at each depth, against N = 1 and the floor."""
    check(dataset, "accuracy")
    parts = []
    asked = dataset.n_total.values.sum(axis=0) > 0
    for depth in dataset.depth.values[asked].tolist():
        at = dataset.sel(depth=depth)
        best = at.isel(n_passes=int(np.argmax(at.accuracy.values)))
        parts.append(f"depth {depth}: best N = {int(best.n_passes)} with {float(best.accuracy):.0%}, floor {float(at.floor):.0%}")
    return "Accuracy of one answer by reasoning depth. " + "; ".join(parts) + "."


def _add_floor(figure: go.Figure, dataset: xr.Dataset, colour: str) -> None:
    figure.add_scatter(
        x=dataset.depth.values.tolist(),
        y=dataset.floor.values.tolist(),
        mode="lines",
        name="floor (best constant)",
        line={"color": colour, "dash": "dot", "width": 2},
        fill="tozeroy",
        fillcolor="rgba(134,142,150,0.12)",
        hovertemplate="depth %{x}: floor %{y:.1%}<extra></extra>",
    )
    if bool((dataset.chance > dataset.floor).any()):  # where a guess does better than any constant, it is the line to beat
        figure.add_scatter(
            x=dataset.depth.values.tolist(),
            y=dataset.chance.values.tolist(),
            mode="lines",
            name="chance",
            line={"color": colour, "dash": "dash", "width": 1.5},
            hovertemplate="depth %{x}: chance %{y:.1%}<extra></extra>",
        )


def _add_line(figure: go.Figure, row: xr.Dataset, n_passes: int, colour: str, rank: int, *, quiet: bool) -> None:
    depths = row.depth.values.tolist()
    low, high = row.accuracy_low.values.tolist(), row.accuracy_high.values.tolist()
    group = f"N{n_passes}"
    figure.add_scatter(
        x=[*depths, *depths[::-1]],
        y=[*high, *low[::-1]],
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.07 if quiet else 0.15,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
        name=f"{group} 95 %",
    )
    figure.add_scatter(
        x=depths,
        y=row.accuracy.values.tolist(),
        customdata=[[a, b, int(n)] for a, b, n in zip(low, high, row.n_total.values, strict=True)],
        mode="lines+markers",
        name="N = 1, no sleep" if n_passes == 1 else f"N = {n_passes}",
        legendgroup=group,
        legendrank=1001 + rank,
        line={"color": colour, "width": 1.5 if quiet else 2.5 + 1.5 * rank},
        marker={"size": 4 if quiet else 7 + rank},
        opacity=0.7 if quiet else 1.0,
        hovertemplate=f"N = {n_passes}, depth %{{x}}: %{{y:.1%}} "
        "(95 %: %{customdata[0]:.1%} to %{customdata[1]:.1%}, %{customdata[2]} answers)<extra></extra>",
    )


def _add_measured(figure: go.Figure, measured: xr.Dataset, theme: Theme) -> None:
    for n_passes in measured.n_passes.values.tolist():
        row = measured.sel(n_passes=n_passes)
        accuracy, low, high = (row[name].values for name in ("accuracy", "accuracy_low", "accuracy_high"))
        figure.add_scatter(
            x=row.depth.values.tolist(),
            y=accuracy.tolist(),
            error_y={"array": (high - accuracy).tolist(), "arrayminus": (accuracy - low).tolist(), "thickness": 1, "width": 3},
            mode="markers",
            name=f"N = {n_passes}, measured now",
            marker={"symbol": "circle-open", "size": 11, "color": pass_colour(n_passes, theme), "line": {"width": 2}},
            hovertemplate=f"measured now, N = {n_passes}, depth %{{x}}: %{{y:.1%}}<extra></extra>",
        )


def _add_marker(figure: go.Figure, dataset: xr.Dataset, here: tuple[int, int], colour: str) -> None:
    n_passes, depth = here
    figure.add_vline(x=depth, line={"color": colour, "width": 1, "dash": "dash"})
    if n_passes in dataset.n_passes.values:
        value = float(dataset.accuracy.sel(n_passes=n_passes, depth=depth))
        figure.add_scatter(
            x=[depth],
            y=[value],
            mode="markers",
            name="you are here",
            marker={"symbol": "star-diamond", "size": 15, "color": colour, "line": {"width": 1, "color": "white"}},
            hovertemplate=f"you are here: N = {n_passes}, depth {depth}, {value:.1%}<extra></extra>",
        )
