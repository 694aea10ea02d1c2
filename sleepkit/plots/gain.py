"""How much more one N answers right than another, by reasoning depth."""

import plotly.graph_objects as go
import xarray as xr

from sleepkit.notation import depth_symbol
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, palette


def accuracy_gain(
    gains: xr.Dataset, *, theme: Theme = "light", title: str | None = "Accuracy gained", height: int = 300
) -> go.Figure:
    """Draw the difference of two accuracies in percentage points, with intervals; what is within noise is drawn hollow.

    Args:
        gains: what ``analysis.gain_by_depth`` returned.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.
    """
    figure, colours = Draft(), palette(theme)
    gain, low, high = (100 * gains[name].values for name in ("gain", "gain_low", "gain_high"))
    ink = [colours.right if value >= 0 else colours.wrong for value in gain]
    beyond = (low > 0) | (high < 0)
    figure.add_bar(
        x=[str(depth) for depth in gains.depth.values.tolist()],
        y=gain.tolist(),
        customdata=[[each_low, each_high] for each_low, each_high in zip(low.tolist(), high.tolist(), strict=True)],
        error_y={
            "type": "data",
            "array": (high - gain).tolist(),
            "arrayminus": (gain - low).tolist(),
            "color": colours.text,
            "thickness": 1,
            "width": 4,
        },
        marker={
            "color": [each if sure else "rgba(0,0,0,0)" for each, sure in zip(ink, beyond, strict=True)],
            "line": {"color": ink, "width": 1.5},
        },
        hovertemplate="depth %{x}: %{y:+.1f} percentage points "
        "(95 %: %{customdata[0]:+.1f} to %{customdata[1]:+.1f})<extra></extra>",
    )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_xaxes(title={"text": depth_symbol(gains.attrs.get("task", "")).label}, type="category")
    figure.update_yaxes(title={"text": "percentage points"}, tickformat="+.0f", zeroline=True, zerolinecolor=colours.floor)
    return figure.done()


def accuracy_gain_summary(gains: xr.Dataset) -> str:
    """Say the figure in words: each difference with its interval, and whether it is noise."""
    said = []
    for depth in gains.depth.values.tolist():
        at = gains.sel(depth=depth)
        gain, low, high = (100 * float(at[name]) for name in ("gain", "gain_low", "gain_high"))
        noise = ", no difference beyond noise" if low <= 0 <= high else ""
        said.append(f"depth {depth} {gain:+.1f} (95 % interval {low:+.1f} to {high:+.1f}{noise})")
    return f"Accuracy gained by reasoning depth, in percentage points: {'; '.join(said)}."
