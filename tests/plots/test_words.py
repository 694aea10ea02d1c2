"""Text, the way to an answer, probabilities and accuracy in words."""

import html as html_module
import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sleepkit import plots
from sleepkit.errors import InvalidInputError
from sleepkit.plots.theme import ink_on, palette
from tests.plots.test_timeline import LENGTH, traced
from tests.test_plots import evaluated

HOSTILE = "<b>&\"'"
TITLE = re.compile(r'<span title="([^"]*)"')


def told(form: str, ways: list[list[str]], **attrs: Any) -> xr.DataTree:
    """A tree of the reasoning alone."""
    longest = max(map(len, ways))
    text = np.array([[*way, *[""] * (longest - len(way))] for way in ways])
    return xr.DataTree.from_dict({"/reasoning": xr.Dataset({"text": (("answer", "step"), text)}, attrs={"form": form, **attrs})})


RING = told("automaton", [["0110", "1110"], ["0001", "0011", "0111"]], asked_cell=2)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "ground"), [("light", "#ffffff"), ("dark", "#1e1e1e")])
def test_every_colour_of_text_is_read_on_its_ground(theme: Any, ground: str) -> None:
    colours = palette(theme)
    for ink in (colours.text, colours.muted, colours.accent, colours.right, colours.wrong):
        assert contrast(ink, ground) >= 4.5
    for fill in (*colours.passes, colours.right, colours.text):
        assert contrast(ink_on(fill), fill) >= 4.5


def test_faded_text_is_quiet_without_becoming_transparent() -> None:
    assert "opacity" not in plots.token_text(traced(), window=1)


@pytest.mark.parametrize("eviction", ["hard", "sliding"])
def test_each_token_says_what_became_of_it(eviction: str) -> None:
    tree = traced(n_passes=2, eviction=eviction)
    said = [title.split("; ")[-1] for title in TITLE.findall(plots.token_text(tree, window=1))]
    n_asked = tree["tokens"].sizes["token"] - 2 * LENGTH
    first = ["evicted"] * LENGTH if eviction == "hard" else ["evicted", *["still in the KV cache"] * (LENGTH - 1)]
    assert said == [*first, *["looked at"] * LENGTH, *["not read yet"] * n_asked]


def test_the_summary_counts_what_the_text_shows() -> None:
    tree = traced(n_passes=2, eviction="sliding")
    summary = plots.token_summary(tree, window=1)
    n_asked = tree["tokens"].sizes["token"] - 2 * LENGTH
    assert f"1 tokens evicted, {LENGTH - 1} earlier ones still in the KV cache, {n_asked} not read yet" in summary
    assert f"{LENGTH} tokens evicted, {n_asked} not read yet" in plots.token_summary(traced(n_passes=2), window=1)


def test_a_token_read_twice_on_the_way_has_both_numbers() -> None:
    html = plots.token_text(traced(), highlight=[3, 1, 3])
    assert re.findall(r"<sub[^>]*>([\d, ]+)</sub>", html) == ["2", "1, 3"]
    assert [title.split("; ")[0] for title in TITLE.findall(html) if "step" in title] == ["step 2", "step 1, 3"]


@pytest.mark.parametrize("position", [-1, 1000])
def test_a_position_beyond_the_text_is_refused(position: int) -> None:
    with pytest.raises(InvalidInputError, match=r"^highlight: must hold positions in"):
        plots.token_text(traced(), highlight=[0, position])


def test_the_history_of_the_ring_is_drawn_cell_by_cell_with_the_asked_one_framed() -> None:
    figure = plots.automaton_history(RING, answer=1)
    np.testing.assert_array_equal(figure.data[0].z, [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 1.5, 2.5)
    assert "cell 2, asked, is in turn 0, 1, 1" in plots.reasoning_summary(RING, answer=1)


def test_a_walk_has_no_history_of_a_ring() -> None:
    with pytest.raises(InvalidInputError, match=r"^tree: must hold an automaton's reasoning, got 'walk'$"):
        plots.automaton_history(told("walk", [["a", "c"]]))
    with pytest.raises(InvalidInputError, match=r"^reasoning: must have a form of"):
        plots.reasoning_path(told("dance", [["a"]]))


def test_the_hops_of_a_walk_are_counted() -> None:
    walk = told("walk", [["a", "c", HOSTILE], ["b", "", ""]])
    html = plots.reasoning_path(walk)
    assert [html_module.unescape(node) for node in re.findall(r"<b [^>]*>([^<]*)</b>", html)] == ["a", "c", HOSTILE]
    assert re.findall(r"(\d) &rarr;", html) == ["1", "2"]
    assert "a walk of 2 hops, a to c to" in plots.reasoning_summary(walk)
    assert "0 hops" in plots.reasoning_path(walk, answer=1)


def test_a_chain_is_a_numbered_list_of_its_equations() -> None:
    chain = told("chain", [["? x", "y = 2", "x = y + 1 = 3"]])
    assert re.findall(r"<li[^>]*>([^<]*)</li>", plots.reasoning_path(chain)) == ["? x", "y = 2", "x = y + 1 = 3"]
    assert plots.reasoning_summary(chain) == "Question 0: 2 equations from ? x to x = y + 1 = 3."


def test_probabilities_are_said_as_they_are_drawn() -> None:
    tree, awake = traced(), traced(n_passes=1)
    summary = plots.probability_summary(tree, awake, answer=1, names=["N = 3", "N = 1"])
    for name, each in (("N = 3", tree), ("N = 1", awake)):
        answers = each["answers"]
        assert f"{name} says {answers['predicted'].values[1]} with {answers['probability'].values[1].max():.0%}" in summary


def test_answers_to_another_question_are_not_compared() -> None:
    tree = traced()
    groups = {name: child.to_dataset() for name, child in tree.children.items()}
    truths = np.array([*tree["answers"]["truth"].values[:1], "9"])
    groups["answers"] = groups["answers"].assign(truth=("answer", truths))
    with pytest.raises(InvalidInputError, match=r"^other: must ask what the first trace asks"):
        plots.probability_bars(tree, xr.DataTree.from_dict({"/": tree.to_dataset(), **groups}), answer=1)


def test_the_summary_says_the_numbers_at_the_depth_looked_at() -> None:
    said = plots.accuracy_summary(evaluated(), here=(4, 1), compare=1)
    assert "depth 1: N = 4 85.0% (95 % interval 80.0% to 90.0%, 200 answers); N = 1 55.0%" in said
    assert said.endswith("the best constant answer 60.0%.")
    assert "N = 7 was not evaluated" in plots.accuracy_summary(evaluated(), here=(7, 1))


def test_what_was_measured_now_speaks_before_the_card() -> None:
    now = evaluated((3, 4)).assign(accuracy=lambda data: data.accuracy * 0 + 0.5)
    said = plots.accuracy_summary(evaluated(), here=(4, 1), compare=1, measured=now)
    assert "N = 4 50.0%" in said
    assert "N = 1 55.0%" in said
    (star,) = (
        line for line in plots.accuracy_by_depth(evaluated(), here=(3, 2), measured=now).data if line.name == "you are here"
    )
    assert (star.x[0], star.y[0]) == (2, 0.5)


def test_a_depth_that_was_not_evaluated_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^here: must name a depth of"):
        plots.accuracy_summary(evaluated(), here=(4, 3))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_stands_on_the_ground_of_its_theme_and_keeps_its_view(theme: Any) -> None:
    tree, awake = traced(), traced(n_passes=1)
    figures = [
        plots.timeline(tree, theme=theme),
        plots.fast_weights(tree, theme=theme),
        plots.attention(tree, theme=theme),
        plots.state_spectrum(tree, theme=theme),
        plots.state_norm(tree, theme=theme),
        plots.fast_weights_difference(tree, awake, theme=theme),
        plots.attention_difference(tree, awake, theme=theme),
        plots.probability_bars(tree, awake, theme=theme),
        plots.automaton_history(RING, theme=theme),
        plots.accuracy_by_depth(evaluated(), theme=theme),
    ]
    for figure in figures:
        assert (figure.layout.paper_bgcolor, figure.layout.plot_bgcolor) == (plots.palette(theme).ground, "rgba(0,0,0,0)")
        assert figure.layout.uirevision == "keep"
        assert all(np.asarray(each.z).dtype == np.float32 for each in figure.data if each.type == "heatmap")
