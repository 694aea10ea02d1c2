"""The true way to an answer: an automaton's history, a walk along a graph, a chain of equations; and how sure the model is."""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.theme import FONT, Theme, dress, palette, pass_colour
from sleepkit.results import group

_MONO = "ui-monospace,Menlo,Consolas,monospace"
_N_CHOICES, _LEAST = 4, 0.005


def reasoning_path(tree: xr.DataTree, *, answer: int = 0, theme: Theme = "light") -> str:
    """Return the steps to one answer as HTML: a grid of cells, the nodes of a walk, or equations.

    Args:
        tree: what ``trace`` returned.
        answer: which question.
        theme: "light" or "dark".

    Raises:
        InvalidInputError: if the trace has no such question.
        StoreError: if the trace holds no reasoning.
    """
    steps, colours = _steps(tree, answer), palette(theme)
    form = group(tree, "reasoning").attrs["form"]
    if form == "automaton":
        body = _automaton(steps, int(group(tree, "reasoning").attrs["asked_cell"]), theme)
    elif form == "walk":
        arrow = f' <span aria-hidden="true" style="color:{colours.muted}">&rarr;</span> '
        body = arrow.join(
            f'<span style="white-space:nowrap"><b style="font-family:{_MONO}">{escape(step)}</b> '
            f'<span style="color:{colours.muted};font-size:11px">{"start" if number == 0 else number}</span></span>'
            for number, step in enumerate(steps)
        )
        body = f'<p style="margin:4px 0;line-height:2.1">{body}</p>'
    else:
        items = "".join(f'<li style="margin:3px 0;font-family:{_MONO}">{escape(step)}</li>' for step in steps)
        body = f'<ol style="margin:4px 0;padding-left:24px">{items}</ol>'
    return f'<div class="sk-way" style="font:13px {FONT};color:{colours.text}">{body}</div>'


def probability_bars(
    tree: xr.DataTree,
    other: xr.DataTree,
    *,
    answer: int = 0,
    names: Sequence[str] = ("left", "right"),
    theme: Theme = "light",
    title: str | None = "Probability of the answer",
    height: int = 300,
) -> go.Figure:
    """Draw the probabilities of the likeliest answers to one question in two traces; the truth is marked by name and pattern.

    Of an answer of several tokens the first is shown.

    Args:
        tree: what ``trace`` returned.
        other: the trace it is compared with.
        answer: which question.
        names: what the two are called.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if a trace has no such question.
    """
    both = [group(each, "answers") for each in (tree, other)]
    for each in both:
        n_answers = each.sizes["answer"]
        require(0 <= answer < n_answers, "answer", f"must be in [0, {n_answers})", answer)
    truth = str(both[0]["truth"].values[answer]).split(" ")[0]
    rows = [each["probability"].values[answer] for each in both]
    choices = both[0]["choice"].values.astype(str).tolist()
    likeliest = np.maximum(*rows)
    best = [int(choice) for choice in np.argsort(-likeliest, kind="stable")[:_N_CHOICES] if likeliest[choice] >= _LEAST]
    shown = best if choices.index(truth) in best else [*best[: _N_CHOICES - 1], choices.index(truth)]
    labels = [f"{choices[choice]} (true)" if choices[choice] == truth else choices[choice] for choice in shown]
    figure, colours = go.Figure(), palette(theme)
    fills = (colours.accent, pass_colour(1, theme))
    for name, row, colour in zip(names, rows, fills, strict=True):
        figure.add_bar(
            x=labels,
            y=[float(row[choice]) for choice in shown],
            name=name,
            marker={"color": colour, "pattern": {"shape": ["" if "(true)" in label else "/" for label in labels]}},
            hovertemplate=f"{name}: P(%{{x}}) = %{{y:.3f}}<extra></extra>",
        )
    dress(figure, theme=theme, title=title, height=height)
    figure.update_layout(barmode="group", legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title_text="", type="category")
    figure.update_yaxes(title_text="probability", range=[0, 1.02], tickformat=".0%")
    return figure


def _steps(tree: xr.DataTree, answer: int) -> list[str]:
    texts = group(tree, "reasoning")["text"].values
    require(0 <= answer < len(texts), "answer", f"must be in [0, {len(texts)})", answer)
    return [str(text) for text in texts[answer] if str(text)]


def _automaton(steps: list[str], asked: int, theme: Theme) -> str:
    """Return the ring after each step as rows of cells; the cell that is asked is framed in the last row."""
    colours, rows = palette(theme), []
    for number, ring in enumerate(steps):
        cells = []
        for cell, value in enumerate(ring):
            last = number == len(steps) - 1 and cell == asked
            frame = f"outline:2px solid {colours.accent};outline-offset:-1px;" if last else ""
            ground = f"background:{colours.text};color:transparent" if value == "1" else "color:transparent"
            cells.append(
                f'<td style="width:13px;height:13px;padding:0;border:1px solid {colours.grid};{frame}{ground};'
                f'font-size:1px;text-align:center">{value}</td>'
            )
        rows.append(
            f'<tr><th scope="row" style="font:11px {FONT};color:{colours.muted};padding-right:6px;text-align:right">'
            f"{number}</th>{''.join(cells)}</tr>"
        )
    words = f"Rows: the ring after each step of the automaton (filled is 1). Asked: the framed cell, {steps[-1][asked]}."
    return (
        f'<table style="border-collapse:collapse">{"".join(rows)}</table>'
        f'<p style="margin:6px 0;color:{colours.muted};font-size:12px">{words}</p>'
    )
