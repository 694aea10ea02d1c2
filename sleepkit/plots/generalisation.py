"""Accuracy against N, a line per reasoning depth: does a model make use of more passes than it was trained with?"""

import plotly.graph_objects as go
import xarray as xr

from sleepkit.notation import depth_symbol
from sleepkit.plots.draft import Draft
from sleepkit.plots.learning import shade
from sleepkit.plots.theme import Theme, dress, palette
from sleepkit.results import check


def accuracy_by_passes(
    dataset: xr.Dataset,
    *,
    trained: tuple[int, int] | None = None,
    theme: Theme = "light",
    title: str | None = "Accuracy by passes",
    height: int = 400,
) -> go.Figure:
    """Draw accuracy of one answer against N, a line and a 95 % band for each reasoning depth.

    Args:
        dataset: what ``evaluate`` returned.
        trained: fewest and most passes the model was trained with: shaded.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        StoreError: if the dataset is not an evaluation.
    """
    check(dataset, "accuracy")
    figure, depths = Draft(), dataset.depth.values.tolist()
    data, letter = dataset.sortby("n_passes"), depth_symbol(dataset.attrs.get("task", "")).paper
    counts = data.n_passes.values.tolist()
    if trained is not None:
        low, high = trained[0] - 0.5, trained[1] + 0.5
        figure.add_vband(low, high, "trained with", fillcolor=palette(theme).muted, opacity=0.1, line={"width": 0})
    for place, depth in enumerate(depths):
        row, colour, name = data.sel(depth=depth), shade(place, len(depths)), f"{letter} = {depth}"
        ends = [*row.accuracy_high.values.tolist(), *row.accuracy_low.values.tolist()[::-1]]
        figure.add_scatter(
            x=[*counts, *counts[::-1]],
            y=ends,
            mode="lines",
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
        )
        figure.add_scatter(
            x=counts,
            y=row.accuracy.values.tolist(),
            mode="lines+markers",
            name=name,
            legendgroup=name,
            line={"color": colour, "width": 2.5},
            marker={"size": 6},
            hovertemplate=f"{name}, N = %{{x}}: %{{y:.1%}} (floor {float(row.floor):.1%})<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_xaxes(title={"text": "passes N (1 reads and never loops)"}, tickmode="array", tickvals=counts)
    figure.update_yaxes(title={"text": "accuracy of one answer"}, tickformat=".0%")
    return figure.done()
