"""Anatomy of a sleep: what each pass does to the fast weights, and what a linear probe finds in them afterwards."""

from typing import Literal

import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.draft import Draft
from sleepkit.plots.learning import shade
from sleepkit.plots.theme import Theme, dress, palette

_MEASURES = {
    "norm": "norm of S",
    "change": "norm of the change of S",
    "effective_rank": "effective rank of S",
}


def probe_by_pass(
    anatomy: xr.Dataset,
    *,
    cell: int = 0,
    theme: Theme = "light",
    title: str | None = "What a linear probe finds in the fast weights",
    height: int = 380,
) -> go.Figure:
    """Draw how often a probe reads one cell right after each pass, a line for each step of the automaton.

    Dotted at the left, at pass 0: the same probe on the string itself. What it finds there needs no computing.

    Args:
        anatomy: what ``analysis.anatomy`` returned.
        cell: which cell of the automaton; cell 0 is the one that is asked.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if there is no such cell.
    """
    n_cells = anatomy.sizes["cell"]
    require(0 <= cell < n_cells, "cell", f"must be in [0, {n_cells})", cell)
    figure, steps = Draft(), anatomy.automaton_step.values.tolist()
    passes = anatomy.sleep_pass.values.tolist()
    for place, step in enumerate(steps):
        at, colour = anatomy.sel(automaton_step=step).isel(cell=cell), shade(place, len(steps))
        found, linear = at.found.values.tolist(), float(at.found_in_input)
        figure.add_scatter(
            x=passes,
            y=found,
            mode="lines+markers",
            name=f"step {step}" + (" (asked)" if step == steps[-1] else ""),
            line={"color": colour, "width": 2.5},
            marker={"size": 7},
            hovertemplate=f"step {step}, after pass %{{x}}: %{{y:.1%}}<extra></extra>",
        )
        figure.add_scatter(
            x=[0, passes[0]],
            y=[linear, found[0]],
            mode="lines+markers",
            line={"color": colour, "width": 1.5, "dash": "dot"},
            marker={"size": 6, "symbol": "circle-open"},
            showlegend=False,
            hovertemplate=f"step {step}, in the string itself: %{{y:.1%}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    ticks = ["string", *("1 (read)" if n == 1 else str(n) for n in passes)]
    figure.update_xaxes(title={"text": "pass"}, tickmode="array", tickvals=[0, *passes], ticktext=ticks)
    figure.update_yaxes(title={"text": f"cell {cell} read right, held out"}, tickformat=".0%", range=[0.45, 1.02])
    return figure.done()


def probe_map(
    anatomy: xr.Dataset,
    *,
    sleep_pass: int,
    theme: Theme = "light",
    title: str | None = None,
    height: int = 320,
) -> go.Figure:
    """Draw how often the probe reads each cell of the automaton's history right after one pass.

    Raises:
        InvalidInputError: if there is no such pass.
    """
    known = anatomy.sleep_pass.values.tolist()
    require(sleep_pass in known, "sleep_pass", f"must be one of {known}", sleep_pass)
    figure = Draft()
    figure.add_heatmap(
        z=anatomy.found.sel(sleep_pass=sleep_pass).values,
        zmin=0.5,
        zmax=1.0,
        colorscale=[list(stop) for stop in palette(theme).sequential],
        colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
        hovertemplate="step %{y}, cell %{x}: %{z:.1%}<extra></extra>",
    )
    dress(figure, theme=theme, title=title or f"Read right after pass {sleep_pass}", height=height)
    figure.update_xaxes(title={"text": "cell of the ring"}, showgrid=False)
    figure.update_yaxes(title={"text": "step of the automaton"}, dtick=1, autorange="reversed", showgrid=False)
    return figure.done()


def state_by_pass(
    anatomy: xr.Dataset,
    *,
    measure: Literal["norm", "change", "effective_rank"] = "change",
    theme: Theme = "light",
    title: str | None = None,
    height: int = 300,
) -> go.Figure:
    """Draw norm, change or effective rank of S after each pass, a line for each layer and head.

    Raises:
        InvalidInputError: for an unknown measure.
    """
    require(measure in _MEASURES, "measure", f"must be one of {', '.join(_MEASURES)}", measure)
    figure, data = Draft(), anatomy[measure]
    lines = [(layer, head) for layer in data.layer.values.tolist() for head in range(data.sizes["head"])]
    for place, (layer, head) in enumerate(lines):
        figure.add_scatter(
            x=data.sleep_pass.values.tolist(),
            y=data.sel(layer=layer).isel(head=head).values.tolist(),
            mode="lines+markers",
            name=f"layer {layer}, head {head}",
            line={"color": shade(place, len(lines)), "width": 2},
            marker={"size": 7},
            hovertemplate=f"layer {layer}, head {head}, pass %{{x}}: %{{y:.2f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title or f"{_MEASURES[measure].capitalize()}, mean over held-out strings", height=height)
    figure.update_xaxes(title={"text": "pass (1 reads, later ones are asleep)"}, dtick=1)
    figure.update_yaxes(title={"text": _MEASURES[measure]}, rangemode="tozero")
    return figure.done()
