"""What the memory knows: the intermediate states that a linear probe reads out of the fast weights at one moment."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, palette

_HALF = 0.46  # of a cell: the outline of a wrong one stays clear of its neighbours'
_PLACES = {"automaton": "cell of the ring (0 is asked)", "walk": "from node"}
_STEPS = {"automaton": "step", "walk": "hop"}
_NOUNS = {"automaton": "cells", "walk": "nodes"}


def memory_reading(reading: xr.Dataset, *, theme: Theme = "light", title: str | None = None, height: int = 330) -> go.Figure:
    """Draw what a probe reads at each step and place: the text is what it reads, the colour how sure it is.

    Readings that the truth contradicts are outlined and struck through. Beside each step stands how often the probe is right
    there on held-out examples. For an automaton only the cells are read that the asked one depends on.

    Args:
        reading: what ``Probe.read`` returned.
        theme: "light" or "dark".
        title: title; computed if None.
        height: pixels.
    """
    colours, form = palette(theme), str(reading.attrs["form"])
    columns, rows = np.arange(reading.sizes["place"]), np.arange(reading.sizes["step"])
    chance = 0.5 if form == "automaton" else 0.0
    figure = Draft()
    figure.add_heatmap(
        x=columns,
        y=rows,
        z=reading.probability.values.astype(np.float32),
        zmin=chance,
        zmax=1.0,
        text=reading.decoded.values,
        texttemplate="%{text}",
        textfont={"size": 12},
        customdata=_hover(reading),
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorscale=[list(stop) for stop in colours.sequential],
        colorbar={
            "thickness": 8,
            "outlinewidth": 0,
            "tickformat": ".0%",
            "title": {"text": "sure"},
            "tickfont": {"size": 10},
        },
    )
    figure.add_scatter(
        **_outlines(reading.right.values),
        mode="lines",
        name="wrong",
        line={"color": colours.wrong, "width": 1.5},
        hoverinfo="skip",
        showlegend=bool((reading.right == 0).any()),
    )
    dress(figure, theme=theme, title=title or _title(reading), height=height)
    figure.update_layout(legend={"orientation": "h", "x": 1.0, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    figure.update_xaxes(
        title={"text": _PLACES[form]},
        tickvals=columns,
        ticktext=reading.place.values.tolist(),
        tickangle=0,
        tickfont={"size": 10},
        showgrid=False,
        zeroline=False,
    )
    labels = [
        f"{_STEPS[form]} {step} · {100 * share:.1f} %"
        for step, share in zip(reading.step.values, reading.accuracy.values, strict=True)
    ]
    figure.update_yaxes(
        tickvals=rows, ticktext=labels, tickfont={"size": 11}, autorange="reversed", showgrid=False, zeroline=False
    )
    return figure.done()


def memory_reading_summary(reading: xr.Dataset) -> str:
    """Say the figure in words: how much is read right now, and how often such readings are right."""
    form = str(reading.attrs["form"])
    known = reading.right.values >= 0
    shares = ", ".join(
        f"{_STEPS[form]} {step} {100 * share:.1f} %"
        for step, share in zip(reading.step.values, reading.accuracy.values, strict=True)
    )
    floor = 100 * float(reading.floor.max())
    return (
        f"A linear probe reads {int((reading.right.values == 1).sum())} of {int(known.sum())} {_NOUNS[form]} right from the fast "
        f"weights of window {reading.attrs['window']} after pass {reading.attrs['sleep_pass']}{_beyond(reading)}. "
        f"On held-out examples it is right at {shares}; always saying what is most frequent, at most {floor:.1f} %."
    )


def _title(reading: xr.Dataset) -> str:
    return f"Read from window {reading.attrs['window']} after pass {reading.attrs['sleep_pass']}{_beyond(reading)}"


def _beyond(reading: xr.Dataset) -> str:
    """Say so where the trace has another N than the probe was fitted at."""
    fitted, n_passes = reading.attrs["fitted_n_passes"], reading.attrs["n_passes"]
    return "" if fitted == n_passes else f" (probe fitted at N = {fitted}, this is N = {n_passes})"


def _hover(reading: xr.Dataset) -> np.ndarray:
    """Return what the cursor says over each cell."""
    form = str(reading.attrs["form"])
    where = "cell" if form == "automaton" else "from"
    decoded, truth, sure, right = (reading[name].values for name in ("decoded", "truth", "probability", "right"))
    held_out = [
        f"held out: {100 * share:.1f} % of {total:,} right; most frequent {100 * floor:.1f} %, shuffled labels {100 * mix:.1f} %"
        for share, total, floor, mix in zip(
            *(reading[name].values for name in ("accuracy", "n_total", "floor", "shuffled")), strict=True
        )
    ]
    steps, places = reading.step.values, reading.place.values
    texts = np.full(right.shape, "", dtype=object)
    for row, column in np.argwhere(right >= 0):
        verdict = "right" if right[row, column] else f"wrong, it is {truth[row, column]}"
        found = f"{decoded[row, column]} ({100 * sure[row, column]:.0f} % sure), {verdict}"
        texts[row, column] = f"{_STEPS[form]} {steps[row]}, {where} {places[column]}: {found}<br>{held_out[row]}"
    return texts


def _outlines(right: np.ndarray) -> dict[str, list[float | None]]:
    """Return the path around and across every wrong cell, with gaps between them."""
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1), (1, 1))
    x: list[float | None] = []
    y: list[float | None] = []
    for row, column in np.argwhere(right == 0).tolist():
        x += [*(column + _HALF * across for across, _ in corners), None]
        y += [*(row + _HALF * down for _, down in corners), None]
    return {"x": x, "y": y}
