"""Throughput by window length and N, and what reading windows in turn costs (Lee et al. 2026, Figure 6)."""

import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, palette, pass_colour


def throughput(
    data: xr.Dataset,
    *,
    tokens: int,
    theme: Theme = "light",
    title: str | None = "Throughput, forward and backward",
    height: int = 360,
) -> go.Figure:
    """Draw tokens a second by window length, a bar per N, quartiles as whiskers; the outline is all windows at once at N = 1.

    Args:
        data: what ``bench.windows.measure_windows`` returned.
        tokens: tokens that one timed call reads.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.
    """
    figure, lengths = Draft(), [f"L = {length}" for length in data.window_len.values.tolist()]
    _add_bars(figure, lengths, tokens / data.at_once_seconds, "all windows at once, N = 1", "rgba(0,0,0,0)", palette(theme).muted)
    for n_passes in data.n_passes.values.tolist():
        rate, colour = tokens / data.seconds.sel(n_passes=n_passes), pass_colour(n_passes, theme)
        _add_bars(figure, lengths, rate, f"window by window, N = {n_passes}", colour, colour)
    dress(figure, theme=theme, title=title, height=height)
    figure.update_layout(barmode="group")
    figure.update_yaxes(title={"text": "tokens a second"}, rangemode="tozero")
    return figure.done()


def _add_bars(figure: Draft, lengths: list[str], rate: xr.DataArray, name: str, fill: str, line: str) -> None:
    middle = rate.median("round")
    low, high = rate.quantile(0.25, "round"), rate.quantile(0.75, "round")
    figure.add_bar(
        x=lengths,
        y=middle.values.tolist(),
        error_y={"array": (high - middle).values.tolist(), "arrayminus": (middle - low).values.tolist(), "thickness": 1.2},
        name=name,
        marker={"color": fill, "line": {"color": line, "width": 1.5}},
        hovertemplate=f"{name}, %{{x}}: %{{y:,.0f}} tokens/s<extra></extra>",
    )
