"""How sure a model is of one answer, in one trace or in two side by side."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from sleepkit.errors import require
from sleepkit.plots.draft import Draft
from sleepkit.plots.theme import Theme, dress, legend_below, palette, pass_colour
from sleepkit.results import group

_N_CHOICES, _LEAST = 4, 0.005


def probability_bars(
    tree: xr.DataTree,
    other: xr.DataTree | None = None,
    *,
    answer: int = 0,
    names: Sequence[str] = ("left", "right"),
    theme: Theme = "light",
    title: str | None = "Probability of the answer",
    height: int = 300,
) -> go.Figure:
    """Draw the probabilities of the likeliest answers to one question in a trace or two; the truth is marked by name and pattern.

    Of an answer of several tokens the first is shown. Choices below half a percent in both are left out, the truth never.

    Args:
        tree: what ``trace`` returned.
        other: the trace it is compared with; None: the first alone.
        answer: which question.
        names: what they are called.
        theme: "light" or "dark".
        title: title of the figure.
        height: pixels.

    Raises:
        InvalidInputError: if a trace has no such question, or the two have other choices or another truth.
    """
    choices, truth, rows = _asked(tree, other, answer)
    likeliest = np.max(rows, axis=0)
    best = [int(choice) for choice in np.argsort(-likeliest, kind="stable")[:_N_CHOICES] if likeliest[choice] >= _LEAST]
    shown = best if choices.index(truth) in best else [*best[: _N_CHOICES - 1], choices.index(truth)]
    labels = [f"{choices[choice]} (true)" if choices[choice] == truth else choices[choice] for choice in shown]
    figure, colours = Draft(), palette(theme)
    fills = (colours.accent, pass_colour(1, theme))
    for name, row, colour in zip(names, rows, fills, strict=False):
        figure.add_bar(
            x=labels,
            y=[float(row[choice]) for choice in shown],
            name=name,
            marker={"color": colour, "pattern": {"shape": ["" if "(true)" in label else "/" for label in labels]}},
            text=[f"{float(row[choice]):.0%}" for choice in shown],
            textposition="outside",
            cliponaxis=False,
            textfont={"size": 11},
            hovertemplate=f"{name}: P(%{{x}}) = %{{y:.3f}}<extra></extra>",
        )
    legend_below(dress(figure, theme=theme, title=title, height=height))
    figure.update_layout(barmode="group")
    figure.update_xaxes(title={"text": ""}, type="category")
    figure.update_yaxes(title={"text": "probability"}, range=[0, 1.1], tickformat=".0%")
    return figure.done()


def probability_summary(
    tree: xr.DataTree, other: xr.DataTree | None = None, *, answer: int = 0, names: Sequence[str] = ("left", "right")
) -> str:
    """Say the figure in words: what each trace answers and how likely it holds the truth.

    Raises:
        InvalidInputError: as ``probability_bars``.
    """
    choices, truth, rows = _asked(tree, other, answer)
    said = [
        f"{name} says {choices[int(np.argmax(row))]} with {float(row.max()):.0%} and holds the truth for "
        f"{float(row[choices.index(truth)]):.0%} likely"
        for name, row in zip(names, rows, strict=False)
    ]
    return f"Question {answer}, the truth is {truth}: {'; '.join(said)}."


def _asked(tree: xr.DataTree, other: xr.DataTree | None, answer: int) -> tuple[list[str], str, list[np.ndarray]]:
    """Return all choices, the (first token of the) truth and the probabilities in each trace."""
    all_of_them = [group(each, "answers") for each in (tree, other) if each is not None]
    for each in all_of_them:
        n_answers = each.sizes["answer"]
        require(0 <= answer < n_answers, "answer", f"must be in [0, {n_answers})", answer)
    first = all_of_them[0]
    choices, truth = first["choice"].values.astype(str).tolist(), str(first["truth"].values[answer])
    for each in all_of_them[1:]:
        others = each["choice"].values.astype(str).tolist()
        require(choices == others, "other", f"must choose among the {len(choices)} answers of the first trace", len(others))
        asked = str(each["truth"].values[answer])
        require(truth == asked, "other", f"must ask what the first trace asks, whose answer is {truth!r}", asked)
    return choices, truth.split(" ")[0], [each["probability"].values[answer] for each in all_of_them]
