"""Learning curves: held-out accuracy against tokens read, a line per N or per reasoning depth."""

from typing import Literal

import numpy as np
import plotly.colors
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.notation import depth_symbol
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, palette, pass_colour
from sleepkit.results import check


def learning_curves(
    figure: xr.Dataset,
    *,
    by: Literal["n_passes", "depth"] = "n_passes",
    depth: int | None = None,
    n_passes: int | None = None,
    theme: Theme = "light",
    title: str | None = "Accuracy while training",
    height: int = 360,
) -> go.Figure:
    """Draw accuracy on held-out examples against tokens: a thin line a run, a strong one for their mean.

    Args:
        figure: Dataset of kind "figure" whose runs were validated while they trained.
        by: what has a line of its own: "n_passes", at one ``depth``, or "depth", at one ``n_passes``.
        depth: the reasoning depth; the mean over all if None.
        n_passes: the N whose depths are drawn; the smallest if None.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        StoreError: if the dataset is no figure.
        InvalidInputError: if nothing was validated, the runs differ in other settings, or ``depth`` or ``n_passes`` is not in it.
    """
    check(figure, "figure")
    require(
        "validation_accuracy" in figure,
        "figure",
        "must hold validation_accuracy (validate_every above 0)",
        sorted(map(str, figure)),
    )
    others = set(figure.accuracy.dims) - {"seed", "n_passes", "depth"}
    require(not others, "figure", "must have the dimensions seed, n_passes and depth alone (select the others)", sorted(others))
    for name, value in (("depth", depth), ("n_passes", n_passes)):
        known = figure[name].values.tolist()
        require(value is None or value in known, name, f"must be one of {known}", value)
    drawn, colours = Draft(), palette(theme)
    curves, floors = figure.validation_accuracy, figure.floor
    if by == "n_passes":
        curves = curves.mean("depth") if depth is None else curves.sel(depth=depth)
        floor = float(floors.mean() if depth is None else floors.sel(depth=depth))
    else:
        curves = curves.sel(n_passes=int(figure.n_passes[0]) if n_passes is None else n_passes)
        floor = None
    letter = depth_symbol(figure.attrs["task"]).paper
    lines = curves[by].values.tolist()
    for place, value in enumerate(lines):
        colour = pass_colour(value, theme) if by == "n_passes" else shade(place, len(lines))
        name = ("N = 1, no sleep" if value == 1 else f"N = {value}") if by == "n_passes" else f"{letter} = {value}"
        _add_curves(drawn, curves.sel({by: value}), figure, name, colour)
    if floor is not None:
        drawn.add_hline(floor, "floor (best constant)", line={"color": colours.floor, "dash": "dot", "width": 2})
    dress(drawn, theme=theme, title=title, height=height)
    drawn.update_xaxes(title={"text": "tokens read, millions"})
    drawn.update_yaxes(title={"text": "accuracy of one answer"}, tickformat=".0%")
    return drawn.done()


def _add_curves(drawn: Draft, curve: xr.DataArray, figure: xr.Dataset, name: str, colour: str) -> None:
    tokens = figure.validation_step.values * float(figure.tokens_per_step.max()) / 1e6
    seeds = curve.transpose("seed", "validation_step").values
    seeds = seeds[~np.isnan(seeds).all(axis=1)]
    for seed in seeds if len(seeds) > 1 else []:
        drawn.add_scatter(
            x=tokens,
            y=seed,
            mode="lines",
            line={"color": colour, "width": 1},
            opacity=0.35,
            showlegend=False,
            legendgroup=name,
            hoverinfo="skip",
        )
    drawn.add_scatter(
        x=tokens,
        y=seeds.mean(axis=0),
        mode="lines",
        name=name,
        legendgroup=name,
        line={"color": colour, "width": 3},
        hovertemplate=f"{name}, %{{x:.1f}} M tokens: %{{y:.1%}}<extra></extra>",
    )


def shade(place: int, n: int) -> str:
    """Return the colour of line number ``place`` of ``n`` ordered lines."""
    return str(plotly.colors.sample_colorscale("Viridis", [0.9 * place / max(n - 1, 1)])[0])
