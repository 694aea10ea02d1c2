"""Training runs, overlaid while they train: curves over their steps, accuracy by depth, which N were drawn."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, palette, pass_colour

Value = Literal["loss", "accuracy", "tokens_per_s", "validation_accuracy"]
Along = Literal["step", "tokens", "time"]
MOST_POINTS = 1000
# Okabe and Ito's colours, darker on white and lighter on black, in an order whose neighbours stay apart.
_COLOURS = {
    "light": ("#0072b2", "#c2410c", "#007a5a", "#a8327d", "#8a6100", "#3b82a8", "#4b5563", "#6d28d9"),
    "dark": ("#56b4e9", "#ff9e5e", "#34d399", "#f0a3d0", "#f0e442", "#a5c8ff", "#d1d5db", "#c4b5fd"),
}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "2px,6px")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "pentagon", "hexagon2")
_SHAPES = ("", "/", "x", ".", "\\", "+", "-", "|")
_FEW_DEPTHS = 12  # each of so few has its tick; plotly would set some between whole numbers
_BARS = 0.8  # of the room between two N, for the bars of one
_TITLES = {
    "loss": "loss, nats",
    "accuracy": "accuracy of one answer",
    "tokens_per_s": "tokens a second",
    "validation_accuracy": "accuracy of one answer",
}
_ALONG = {"step": "steps", "tokens": "tokens read, millions", "time": "training time, minutes"}


@dataclasses.dataclass(frozen=True)
class RunLine:
    """One run among others in a figure.

    Attributes:
        label: what it is called.
        history: Dataset over ``step`` as ``train`` leaves it, perhaps of a run that still trains.
        tokens_per_step: tokens read in a step.
        slot: number of its look; colour, dash, marker and pattern all follow from it.
    """

    label: str
    history: xr.Dataset
    tokens_per_step: int
    slot: int


def run_colour(slot: int, theme: Theme) -> str:
    """Return the colour of a slot."""
    return _COLOURS[theme][slot % len(_COLOURS[theme])]


def run_dash(slot: int) -> str:
    """Return plotly's name of the dash of a slot."""
    return _DASHES[slot % len(_DASHES)]


def run_curves(
    runs: Sequence[RunLine], *, value: Value = "loss", along: Along = "step", theme: Theme = "light", height: int = 300
) -> go.Figure:
    """Draw what was measured while runs trained, a line a run.

    Of more than 1,000 rows, the means of equal blocks are drawn; the axis says so.

    Args:
        runs: those to overlay.
        value: "validation_accuracy" is the mean over all depths asked, on held-out examples; the others are single batches.
        along: what runs to the right.
        theme: "light" or "dark".
        height: pixels.

    Raises:
        InvalidInputError: if there is no such value.
    """
    require(value in _TITLES, "value", f"must be one of {', '.join(_TITLES)}", value)
    require(along in _ALONG, "along", f"must be one of {', '.join(_ALONG)}", along)
    figure, pooled = Draft(), False
    for run in runs:
        known = _curve(run, value, along)
        if known is None:
            continue
        x, y, block = known
        pooled = pooled or block > 1
        colour = run_colour(run.slot, theme)
        marks = np.zeros(len(x))
        marks[-1] = 9  # one marker, where the run stands
        shape = ":.0f" if value == "tokens_per_s" else ":.1%" if value != "loss" else ":.4f"
        figure.add_scatter(
            x=x,
            y=y,
            name=run.label,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": run_dash(run.slot)},
            marker={"size": marks, "color": colour, "symbol": _SYMBOLS[run.slot % len(_SYMBOLS)]},
            hovertemplate=f"{run.label}<br>{_ALONG[along]}: %{{x:,.5~g}}, %{{y{shape}}}<extra></extra>",
        )
    dress(figure, theme=theme, height=height)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title={"text": _ALONG[along] + (", means of equal blocks" if pooled else "")}, rangemode="tozero")
    figure.update_yaxes(title={"text": _TITLES[value]})
    if value in ("accuracy", "validation_accuracy"):
        figure.update_yaxes(tickformat=".0%")
    if value == "tokens_per_s":
        figure.update_yaxes(rangemode="tozero", tickformat="~s")
    return figure.done()


def run_accuracy(runs: Sequence[RunLine], *, theme: Theme = "light", height: int = 300) -> go.Figure:
    """Draw accuracy by reasoning depth at the newest validation of each run, with 95 % intervals and the floor."""
    figure, colours = Draft(), palette(theme)
    floors: set[tuple[float, ...]] = set()
    n_depths = 0
    for run in runs:
        if "validation_step" not in run.history.dims:
            continue
        last = run.history.isel(validation_step=-1)
        asked = last.n_total.values > 0
        n_depths = max(n_depths, int(asked.sum()))
        depths, floor = last.depth.values[asked].tolist(), tuple(last.floor.values[asked].tolist())
        if (*depths, *floor) not in floors:
            floors.add((*depths, *floor))
            figure.add_scatter(
                x=depths,
                y=floor,
                mode="lines",
                name="floor (best constant)",
                line={"color": colours.floor, "dash": "dot", "width": 2},
                hovertemplate="depth %{x}: floor %{y:.1%}<extra></extra>",
            )
        accuracy = last.validation_accuracy.values[asked]
        colour = run_colour(run.slot, theme)
        figure.add_scatter(
            x=depths,
            y=accuracy,
            name=run.label,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": run_dash(run.slot)},
            marker={"size": 8, "color": colour, "symbol": _SYMBOLS[run.slot % len(_SYMBOLS)]},
            error_y={
                "array": last.validation_high.values[asked] - accuracy,
                "arrayminus": accuracy - last.validation_low.values[asked],
                "thickness": 1,
                "width": 3,
            },
            hovertemplate=f"{run.label}<br>step {int(last.validation_step)}, depth %{{x}}: %{{y:.1%}}<extra></extra>",
        )
    dress(figure, theme=theme, height=height)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title={"text": "reasoning depth"}, tickformat="d", **({"dtick": 1} if n_depths <= _FEW_DEPTHS else {}))
    figure.update_yaxes(title={"text": "accuracy of one answer"}, tickformat=".0%")
    return figure.done()


def run_passes(
    runs: Sequence[RunLine], counts: Sequence[Mapping[int, int]], *, theme: Theme = "light", height: int = 300
) -> go.Figure:
    """Draw which N the steps of each run were made with, as shares of its steps.

    Args:
        runs: those to overlay.
        counts: for each run, the number of steps by N.
        theme: "light" or "dark".
        height: pixels.
    """
    figure, most = Draft(), max((n for made in counts for n in made), default=1)
    sharing = collections.Counter(n for made in counts if sum(made.values()) for n in made)
    placed: collections.Counter[int] = collections.Counter()
    for run, made in zip(runs, counts, strict=True):
        total = sum(made.values())
        if not total:
            continue
        # The bars of one N stand side by side around its tick, as many as there are.
        widths = [_BARS / sharing[n] for n in made]
        offsets = [-_BARS / 2 + placed[n] * width for n, width in zip(made, widths, strict=True)]
        placed.update(made.keys())
        figure.add_bar(
            x=list(made),
            y=[count / total for count in made.values()],
            width=widths,
            offset=offsets,
            customdata=list(made.values()),
            name=run.label,
            marker={
                "color": [pass_colour(n, theme) for n in made] if len(runs) == 1 else run_colour(run.slot, theme),
                "pattern": {"shape": "" if len(runs) == 1 else _SHAPES[run.slot % len(_SHAPES)], "size": 6},
            },
            hovertemplate=f"{run.label}<br>N = %{{x}}: %{{customdata:,}} steps, %{{y:.1%}}<extra></extra>",
        )
    dress(figure, theme=theme, height=height)
    figure.update_layout(showlegend=False, barmode="overlay")
    figure.update_xaxes(
        title={"text": "N, passes of a step (1 = no sleep)"}, dtick=1, tickformat="d", range=[0.4, max(4, most) + 0.6]
    )
    figure.update_yaxes(title={"text": "share of steps"}, tickformat=".0%", rangemode="tozero")
    return figure.done()


def run_curves_summary(runs: Sequence[RunLine], *, value: Value) -> str:
    """Say where each curve begins and ends."""
    said = []
    for run in runs:
        known = _curve(run, value, "step")
        if known is not None:
            x, y, _ = known
            said.append(f"{run.label}: {_number(y[0], value)} at step {x[0]:.0f}, {_number(y[-1], value)} at step {x[-1]:.0f}")
    return f"{_TITLES[value].capitalize()} while training. {'; '.join(said) or 'No rows yet'}."


def run_accuracy_summary(runs: Sequence[RunLine]) -> str:
    """Say the accuracy by depth in words."""
    said = []
    for run in runs:
        if "validation_step" in run.history.dims:
            last = run.history.isel(validation_step=-1)
            pairs = zip(last.depth.values, last.validation_accuracy.values, last.n_total.values, strict=True)
            by_depth = ", ".join(f"depth {depth} {share:.0%}" for depth, share, n in pairs if n)
            said.append(f"{run.label} at step {int(last.validation_step)}: {by_depth}")
    return f"Accuracy by reasoning depth on held-out examples. {'; '.join(said) or 'No run on show was validated'}."


def run_passes_summary(runs: Sequence[RunLine], counts: Sequence[Mapping[int, int]]) -> str:
    """Say which N were drawn."""
    said = [
        f"{run.label}: " + ", ".join(f"N = {n} in {count:,} steps" for n, count in made.items())
        for run, made in zip(runs, counts, strict=True)
        if sum(made.values())
    ]
    return f"Which N the steps were made with. {'; '.join(said) or 'No steps yet'}."


def _curve(run: RunLine, value: Value, along: Along) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Return x, y and the rows a point stands for; None if there is nothing."""
    history, dim = run.history, "validation_step" if value == "validation_accuracy" else "step"
    if history.sizes.get(dim, 0) == 0:
        return None
    steps = history[dim].values.astype(float)
    if value == "validation_accuracy":
        y = (history.n_correct.sum("depth") / history.n_total.sum("depth")).values
    else:
        y = history[value].values
    x = steps
    if along == "tokens":
        x = steps * run.tokens_per_step / 1e6
    elif along == "time":
        x = np.interp(steps, history.step.values, history.elapsed_s.values) / 60
    block = -(-len(x) // MOST_POINTS)
    if block > 1:
        starts = np.arange(0, len(x), block)
        lengths = np.diff(np.append(starts, len(x)))
        x, y = np.add.reduceat(x, starts) / lengths, np.add.reduceat(y, starts) / lengths
    return x, y, block


def _number(value: float, kind: Value) -> str:
    if kind == "tokens_per_s":
        return f"{value:,.0f}"
    return f"{value:.3f}" if kind == "loss" else f"{value:.1%}"
