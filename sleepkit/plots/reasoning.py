"""The true way to an answer, whatever the model does: an automaton's history, a walk along a graph, a chain of equations."""

from html import escape

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import FONT, Theme, dress, ink_on, palette
from sleepkit.results import group

_MONO = "ui-monospace,Menlo,Consolas,monospace"
_FORMS = ("automaton", "walk", "chain")
_MOST_WRITTEN = 32  # cells of a ring whose digits fit into a narrow figure
_ROW_HEIGHT = 22  # pixels


def reasoning_path(tree: xr.DataTree, *, answer: int = 0, theme: Theme = "light") -> str:
    """Return the steps to one answer as HTML: a grid of cells, the nodes of a walk, or equations.

    Args:
        tree: what ``trace`` returned.
        answer: which question.
        theme: "light" or "dark".

    Raises:
        InvalidInputError: if the trace has no such question, or its reasoning has an unknown form.
        StoreError: if the trace holds no reasoning.
    """
    form, steps = _way(tree, answer)
    if form == "automaton":
        body = _grid(steps, _asked_cell(tree), theme)
    elif form == "walk":
        body = _walk(steps, theme)
    else:
        items = "".join(f'<li style="margin:3px 0;font-family:{_MONO}">{escape(step)}</li>' for step in steps)
        body = f'<ol style="margin:4px 0;padding-left:24px">{items}</ol>'
    return f'<div class="sk-way" style="font:13px {FONT};color:{palette(theme).text}">{body}</div>'


def reasoning_summary(tree: xr.DataTree, *, answer: int = 0) -> str:
    """Say the true way to one answer in a sentence.

    Raises:
        InvalidInputError: as ``reasoning_path``.
        StoreError: if the trace holds no reasoning.
    """
    form, steps = _way(tree, answer)
    n = len(steps) - 1
    if form == "automaton":
        asked = _asked_cell(tree)
        states = ", ".join(ring[asked] for ring in steps)
        ring = f"a ring of {len(steps[0])} cells for {_count(n, 'step')}"
        return f"Question {answer}: {ring}; cell {asked}, asked, is in turn {states}."
    if form == "walk":
        return f"Question {answer}: a walk of {_count(n, 'hop')}, {' to '.join(steps)}."
    return f"Question {answer}: {_count(n, 'equation')} from {steps[0]} to {steps[-1]}."


def automaton_history(
    tree: xr.DataTree,
    *,
    answer: int = 0,
    theme: Theme = "light",
    title: str | None = "True history of the ring",
    height: int | None = None,
) -> go.Figure:
    """Draw the ring of one question step by step, from what was read at the top to the asked cell, framed, at the bottom.

    Args:
        tree: what ``trace`` returned.
        answer: which question.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels; room for every step if None.

    Raises:
        InvalidInputError: if the trace has no such question, or its reasoning is not an automaton's.
        StoreError: if the trace holds no reasoning.
    """
    form, steps = _way(tree, answer)
    require(form == "automaton", "tree", "must hold an automaton's reasoning", form)
    cells = np.array([[int(cell) for cell in ring] for ring in steps], dtype=np.float32)
    asked, colours = _asked_cell(tree), palette(theme)
    figure = Draft()
    figure.add_heatmap(
        z=cells,
        zmin=0,
        zmax=1,
        colorscale=[[0.0, colours.grid], [1.0, colours.text]],
        showscale=False,
        xgap=1,
        ygap=1,
        texttemplate="%{z}" if cells.shape[1] <= _MOST_WRITTEN else "",
        textfont={"size": 10},
        hovertemplate="step %{y}, cell %{x}: %{z}<extra></extra>",
    )
    dress(figure, theme=theme, title=title, height=height or _ROW_HEIGHT * len(steps) + 100)
    last, frame = len(steps) - 1, {"color": colours.accent, "width": 3}
    figure.add_shape(type="rect", x0=asked - 0.5, x1=asked + 0.5, y0=last - 0.5, y1=last + 0.5, line=frame)
    figure.update_xaxes(title={"text": f"cell of the ring ({asked}, framed, is asked)"}, showgrid=False, zeroline=False)
    figure.update_yaxes(title={"text": "step"}, autorange="reversed", showgrid=False, zeroline=False, dtick=1 if last < 12 else 4)
    return figure.done()


def _way(tree: xr.DataTree, answer: int) -> tuple[str, list[str]]:
    """Return the form of the reasoning and the steps to one answer, the start first."""
    reasoning = group(tree, "reasoning")
    form, texts = str(reasoning.attrs["form"]), reasoning["text"].values
    require(form in _FORMS, "reasoning", f"must have a form of {_FORMS}", form)
    require(0 <= answer < len(texts), "answer", f"must be in [0, {len(texts)})", answer)
    return form, [str(text) for text in texts[answer] if str(text)]


def _asked_cell(tree: xr.DataTree) -> int:
    return int(group(tree, "reasoning").attrs["asked_cell"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _walk(steps: list[str], theme: Theme) -> str:
    colours = palette(theme)
    node = f"font-family:{_MONO};border:1px solid {colours.grid};border-radius:5px;padding:2px 6px"
    items = "".join(
        '<li style="display:inline-block;margin:3px 0;white-space:nowrap">'
        + (f'<span style="color:{colours.muted};font-size:11px">&nbsp;{number} &rarr;&nbsp;</span>' if number else "")
        + f'<b style="{node}">{escape(step)}</b></li>'
        for number, step in enumerate(steps)
    )
    words = f"{_count(len(steps) - 1, 'hop')}; the number before an arrow counts it."
    return (
        f'<ol style="list-style:none;margin:4px 0;padding:0">{items}</ol>'
        f'<p style="margin:6px 0;color:{colours.muted};font-size:12px">{words}</p>'
    )


def _grid(steps: list[str], asked: int, theme: Theme) -> str:
    """Return the ring after each step as rows of cells; the cell that is asked is framed in the last row."""
    colours = palette(theme)
    inks = {"0": f"color:{colours.text}", "1": f"background:{colours.text};color:{ink_on(colours.text)}"}
    base = f"width:13px;height:14px;padding:0;border:1px solid {colours.grid};font:10px/14px {_MONO};text-align:center"
    rows = []
    for number, ring in enumerate(steps):
        cells = []
        for cell, value in enumerate(ring):
            framed = number == len(steps) - 1 and cell == asked
            frame = f";outline:3px solid {colours.accent}" if framed else ""
            said = ' title="asked"' if framed else ""
            cells.append(f'<td{said} style="{base};{inks[value]}{frame}">{value}</td>')
        name = f'<th scope="row" style="font:11px {FONT};color:{colours.muted};padding-right:6px;text-align:right">{number}</th>'
        rows.append(f"<tr>{name}{''.join(cells)}</tr>")
    words = f"Rows: the ring after each step of the automaton. Asked: the framed cell, {steps[-1][asked]}."
    return (
        f'<table style="border-collapse:collapse">{"".join(rows)}</table>'
        f'<p style="margin:6px 0;color:{colours.muted};font-size:12px">{words}</p>'
    )
