"""Accuracy by reasoning depth, one line per N, with the floor drawn in."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.notation import depth_symbol
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, legend_below, palette, pass_colour
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
        dataset: what ``evaluate`` returned (dims n_passes, depth), or ``across_seeds``, which adds a dot for each seed.
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
    figure, colours = Draft(), palette(theme)
    depths = dataset.depth.values.tolist()
    _add_floor(figure, dataset, colours.floor)
    # The largest N first and widest: where lines coincide, the smaller N stays visible on top.
    strong = None if compare is None else {compare, *([] if here is None else [here[0]])}
    for rank, n_passes in reversed(list(enumerate(sorted(dataset.n_passes.values.tolist())))):
        quiet = strong is not None and n_passes not in strong
        row, colour = dataset.sel(n_passes=n_passes), pass_colour(n_passes, theme)
        _add_line(figure, row, n_passes, colour, rank, quiet=quiet)
        if "accuracy_of_seed" in dataset:
            _add_seeds(figure, row.accuracy_of_seed, n_passes, colour)
    if measured is not None:
        _add_measured(figure, check(measured, "accuracy"), theme)
    if here is not None:
        source = _source(dataset, measured, here[0])
        known = source.depth.values.tolist()
        require(here[1] in known, "here", f"must name a depth of {known}", here)
        _add_marker(figure, source, here, colours.accent)
    legend_below(dress(figure, theme=theme, title=title, height=height))
    depth = depth_symbol(dataset.attrs.get("task", "")).label
    figure.update_xaxes(title={"text": depth}, tickmode="array", tickvals=depths)
    figure.update_yaxes(title={"text": "accuracy of one answer"}, range=[0.4, 1.04], tickformat=".0%")
    lows = [float(data[name].min()) for data in (dataset, measured) if data is not None for name in ("accuracy_low", "floor")]
    if min(lows) < 0.42:
        figure.update_yaxes(range=[max(0.0, min(lows) - 0.03), 1.04])
    return figure.done()


def accuracy_summary(
    dataset: xr.Dataset,
    *,
    here: tuple[int, int] | None = None,
    compare: int | None = None,
    measured: xr.Dataset | None = None,
) -> str:
    """Say the figure in words: the numbers at the depth looked at, or the best N at each depth.

    Args:
        dataset: what ``evaluate`` returned.
        here: (n_passes, depth) looked at; None: all depths.
        compare: an N whose numbers are said beside, if it was evaluated.
        measured: a second evaluation, whose numbers go first.

    Raises:
        StoreError: if the dataset is not an evaluation.
        InvalidInputError: if ``here`` names a depth that was not evaluated.
    """
    check(dataset, "accuracy")
    if here is not None:
        n_passes, depth = here
        names = [n_passes, *([compare] if compare not in (None, n_passes) else [])]
        said = "; ".join(_said(_source(dataset, measured, name), name, depth) for name in names if name is not None)
        at = _source(dataset, measured, n_passes).sel(depth=depth)
        chance = f", chance {float(at.chance):.1%}" if float(at.chance) > float(at.floor) else ""
        return f"Accuracy of one answer at depth {depth}: {said}; the best constant answer {float(at.floor):.1%}{chance}."
    parts = []
    asked = dataset.n_total.values.sum(axis=0) > 0
    for depth in dataset.depth.values[asked].tolist():
        at = dataset.sel(depth=depth)
        best = at.isel(n_passes=int(np.argmax(at.accuracy.values)))
        parts.append(f"depth {depth}: best N = {int(best.n_passes)} with {float(best.accuracy):.0%}, floor {float(at.floor):.0%}")
    return "Accuracy of one answer by reasoning depth. " + "; ".join(parts) + "."


def _source(dataset: xr.Dataset, measured: xr.Dataset | None, n_passes: int) -> xr.Dataset:
    """Return the evaluation that speaks for an N: what was measured now, if it has it."""
    return dataset if measured is None or n_passes not in measured.n_passes.values else measured


def _said(source: xr.Dataset, n_passes: int, depth: int) -> str:
    known = source.depth.values.tolist()
    require(depth in known, "here", f"must name a depth of {known}", depth)
    if n_passes not in source.n_passes.values:
        return f"N = {n_passes} was not evaluated"
    at = source.sel(n_passes=n_passes, depth=depth)
    interval = f"95 % interval {float(at.accuracy_low):.1%} to {float(at.accuracy_high):.1%}"
    return f"N = {n_passes} {float(at.accuracy):.1%} ({interval}, {int(at.n_total):,} answers)"


def _add_floor(figure: Draft, dataset: xr.Dataset, colour: str) -> None:
    figure.add_scatter(
        x=dataset.depth.values.tolist(),
        y=dataset.floor.values.tolist(),
        mode="lines",
        name="floor",
        line={"color": colour, "dash": "dot", "width": 2},
        fill="tozeroy",
        fillcolor="rgba(134,142,150,0.12)",
        hovertemplate="depth %{x}: floor (best constant answer) %{y:.1%}<extra></extra>",
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


def _add_line(figure: Draft, row: xr.Dataset, n_passes: int, colour: str, rank: int, *, quiet: bool) -> None:
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


def _add_seeds(figure: Draft, of_seed: xr.DataArray, n_passes: int, colour: str) -> None:
    """Draw what each seed reached: of a few seeds the interval says less than they do themselves."""
    points = of_seed.stack(run=("seed", "depth")).dropna("run")
    figure.add_scatter(
        x=points.depth.values.tolist(),
        y=points.values.tolist(),
        customdata=points.seed.values.tolist(),
        mode="markers",
        name=f"N{n_passes} by seed",
        legendgroup=f"N{n_passes}",
        showlegend=False,
        marker={"color": colour, "size": 7, "symbol": "line-ew-open", "line": {"width": 1.5}},
        hovertemplate=f"N = {n_passes}, depth %{{x}}, seed %{{customdata}}: %{{y:.1%}}<extra></extra>",
    )


def _add_measured(figure: Draft, measured: xr.Dataset, theme: Theme) -> None:
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


def _add_marker(figure: Draft, dataset: xr.Dataset, here: tuple[int, int], colour: str) -> None:
    n_passes, depth = here
    figure.add_vline(x=depth, line={"color": colour, "width": 1, "dash": "dash"})
    if n_passes in dataset.n_passes.values:
        value = float(dataset.accuracy.sel(n_passes=n_passes, depth=depth))
        figure.add_scatter(
            x=[depth],
            y=[value],
            mode="markers+text",
            text=["you are here"],
            textposition="bottom right"
            if 2 * dataset.depth.values.tolist().index(depth) < dataset.sizes["depth"]
            else "bottom left",
            textfont={"size": 11, "color": colour},
            name="you are here",
            showlegend=False,
            marker={"symbol": "star-diamond", "size": 15, "color": colour, "line": {"width": 1, "color": "white"}},
            hovertemplate=f"you are here: N = {n_passes}, depth {depth}, {value:.1%}<extra></extra>",
        )
