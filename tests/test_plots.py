"""The plot builders: what a figure shows is what the Dataset holds, on one scale, under its right name."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import xarray as xr

import sleepkit as sk
from sleepkit import plots
from sleepkit.errors import InvalidInputError, StoreError
from sleepkit.plots.mosaic import labels, mosaic, pooled
from tests.support.models import small_model

N_PASSES = 3
N_HEADS = 4
QUESTION = 2
DEPTHS = [1, 2, 4]
HOSTILE = "<b>&\"'"


def traced(layers: str = "attn gdn gdn", n_passes: int = N_PASSES) -> xr.DataTree:
    """A trace of an untrained model: two windows slept on, then the question."""
    task = sk.tasks.create("rule110", width=6, n_strings=QUESTION, rollout_depth=[1, 2])
    torch.manual_seed(0)
    config = sk.ModelConfig(vocab_size=len(task.vocab), width=16, layers=layers, n_heads=N_HEADS, key_dim=3, value_dim=5)
    return sk.trace(sk.HybridLM(config), task, n_passes=n_passes)


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return traced()


def evaluated(n_passes: tuple[int, ...] = (1, 2, 4), floor: float = 0.6) -> xr.Dataset:
    """An evaluation in which more passes do better, and deeper questions are harder."""
    n_total = np.full((len(n_passes), len(DEPTHS)), 200)
    n_correct = np.array([[100 + 20 * count - 10 * depth for depth in DEPTHS] for count in n_passes])
    share, grid = n_correct / n_total, ("n_passes", "depth")
    return xr.Dataset(
        {
            "n_correct": (grid, n_correct),
            "n_total": (grid, n_total),
            "accuracy": (grid, share),
            "accuracy_low": (grid, share - 0.05),
            "accuracy_high": (grid, share + 0.05),
            "floor": ("depth", [floor, 0.52, 0.5]),
            "chance": ("depth", [0.5, 0.5, 0.5]),
            "n_exact": ("n_passes", n_total[:, 0]),
            "n_examples": ("n_passes", n_total[:, 0]),
        },
        coords={"n_passes": list(n_passes), "depth": DEPTHS},
    )


def states(tree: xr.DataTree, layer: int = 1) -> np.ndarray:
    """S as [window, sleep_pass, head, key, value]."""
    return np.asarray(tree["fast_weights"]["state"].sel(layer=layer).values)


def tiles_of(figure: go.Figure, n_rows: int, n_cells: int) -> np.ndarray:
    """Cut a figure of four heads, two by two, back into its tiles."""
    picture = np.asarray(figure.data[0].z)
    assert picture.shape == (2 * n_rows + 2, 2 * n_cells + 1)
    starts = [(0, 0), (0, n_cells + 1), (n_rows + 2, 0), (n_rows + 2, n_cells + 1)]
    return np.stack([picture[row : row + n_rows, cell : cell + n_cells] for row, cell in starts])


def title(figure: go.Figure) -> str:
    return str(figure.layout.title.text)


def named(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


# Windows and passes that a trace of three windows and three passes has: the question gets one pass.
MOMENTS = [(window, n_pass) for window in range(QUESTION) for n_pass in range(N_PASSES + 1)] + [(QUESTION, 0), (QUESTION, 1)]


@pytest.mark.parametrize("n_tiles", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("n_columns", [None, 1, 2, 7])
def test_a_mosaic_holds_every_tile_whole_and_nothing_else(n_tiles: int, n_columns: int | None) -> None:
    tiles = np.arange(1, n_tiles * 6 + 1, dtype=np.float32).reshape(n_tiles, 2, 3)
    picture, corners = mosaic(tiles, n_columns)
    assert len(set(corners)) == n_tiles
    for tile, (row, cell) in zip(tiles, corners, strict=True):
        np.testing.assert_array_equal(picture[row : row + 2, cell : cell + 3], tile)
    assert np.count_nonzero(~np.isnan(picture)) == tiles.size


def test_tiles_of_a_mosaic_never_touch() -> None:
    picture, corners = mosaic(np.ones((5, 2, 3)), n_columns=2)
    assert corners == [(0, 0), (0, 4), (4, 0), (4, 4), (8, 0)]
    assert np.isnan(picture[[2, 3, 6, 7], :]).all()
    assert np.isnan(picture[:, 3]).all()


def test_the_label_of_a_mosaic_cell_names_its_head_row_and_column() -> None:
    picture, corners = mosaic(np.ones((3, 2, 4)))
    text = labels((3, 2, 4), corners, picture.shape, "key", "value")
    assert text[corners[2][0] + 1, corners[2][1] + 3] == "head 2, key 1, value 3"
    assert set(text[np.isnan(picture)]) == {""}


@pytest.mark.parametrize(("window", "sleep_pass"), MOMENTS)
@pytest.mark.parametrize("layer", [1, 2])
def test_a_figure_shows_the_fast_weights_of_its_moment(tree: xr.DataTree, window: int, sleep_pass: int, layer: int) -> None:
    figure = plots.fast_weights(tree, window=window, sleep_pass=sleep_pass, layer=layer)
    np.testing.assert_array_equal(tiles_of(figure, 3, 5), states(tree, layer)[window, sleep_pass])


@pytest.mark.parametrize("view", ["value", "change"])
def test_the_colour_range_is_the_same_for_every_window_and_pass_and_saturates_rarely(tree: xr.DataTree, view: Any) -> None:
    figures = [plots.fast_weights(tree, window=window, sleep_pass=number, view=view) for window, number in MOMENTS]
    ranges = {(figure.data[0].zmin, figure.data[0].zmax) for figure in figures}
    assert len(ranges) == 1
    low, high = ranges.pop()
    assert low == -high
    shown = np.concatenate([np.abs(figure.data[0].z[~np.isnan(figure.data[0].z)]) for figure in figures])
    assert 0 < np.mean(shown > high) <= 0.01


def test_a_change_is_the_difference_to_the_pass_before(tree: xr.DataTree) -> None:
    figure = plots.fast_weights(tree, window=1, sleep_pass=2, view="change")
    difference = states(tree)[1, 2] - states(tree)[1, 1]
    np.testing.assert_array_equal(tiles_of(figure, 3, 5), difference)
    assert np.abs(difference).max() > 0


def test_fast_weights_are_shown_after_the_last_pass_of_the_first_layer_unless_asked_otherwise(tree: xr.DataTree) -> None:
    chosen = plots.fast_weights(tree, window=0, sleep_pass=N_PASSES, layer=1)
    assert plots.fast_weights(tree) == chosen


@pytest.mark.parametrize(
    ("window", "sleep_pass", "words"),
    [
        (0, 0, "before reading"),
        (0, 1, "after pass 1 of 3 (reading)"),
        (1, 2, "after pass 2 of 3 (asleep)"),
        (1, 3, "after pass 3 of 3 (asleep)"),
        (QUESTION, 1, "after answering"),
    ],
)
def test_a_title_says_window_and_pass(tree: xr.DataTree, window: int, sleep_pass: int, words: str) -> None:
    figure = plots.fast_weights(tree, window=window, sleep_pass=sleep_pass)
    assert title(figure) == f"Fast weights, layer 1, window {window}, {words}"
    assert words in plots.fast_weights_summary(tree, window=window, sleep_pass=sleep_pass)


def test_with_n_1_nothing_is_called_asleep() -> None:
    awake = traced(n_passes=1)
    texts = [title(plots.fast_weights(awake, window=window)) for window in range(QUESTION + 1)]
    texts += [title(plots.attention(awake, window=window)) for window in range(QUESTION + 1)]
    texts += [plots.token_text(awake), plots.answer_line(awake)]
    assert not any("asleep" in text for text in texts)
    assert "after pass 1 of 1 (reading)" in texts[0]


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"window": -1}, "window"),
        ({"window": QUESTION + 1}, "window"),
        ({"sleep_pass": -1}, "sleep_pass"),
        ({"sleep_pass": N_PASSES + 1}, "sleep_pass"),
        ({"window": QUESTION, "sleep_pass": 2}, "sleep_pass"),
        ({"layer": 0}, "layer"),
        ({"layer": 3}, "layer"),
        ({"view": "both"}, "view"),
    ],
)
def test_fast_weights_that_are_not_in_the_trace_are_refused(tree: xr.DataTree, arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{argument}: must be"):
        plots.fast_weights(tree, **arguments)


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"window": -1}, "window"),
        ({"window": QUESTION + 1}, "window"),
        ({"sleep_pass": 0}, "sleep_pass"),
        ({"sleep_pass": N_PASSES + 1}, "sleep_pass"),
        ({"window": QUESTION, "sleep_pass": 2}, "sleep_pass"),
        ({"layer": 1}, "layer"),
    ],
)
def test_attention_that_is_not_in_the_trace_is_refused(tree: xr.DataTree, arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{argument}: must be"):
        plots.attention(tree, **arguments)


def test_a_model_without_the_layers_in_question_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="must be of a model with fast weights"):
        plots.fast_weights(traced("attn"))
    with pytest.raises(InvalidInputError, match="must be of a model with attention"):
        plots.attention(traced("gdn"))


@pytest.mark.parametrize(("window", "length"), [(0, 7), (1, 7), (QUESTION, 2)])
def test_attention_shows_the_window_and_looks_only_back(tree: xr.DataTree, window: int, length: int) -> None:
    figure = plots.attention(tree, window=window)
    tiles = np.nan_to_num(tiles_of(figure, length, length))
    np.testing.assert_allclose(tiles.sum(axis=-1), 1.0, rtol=1e-5)
    assert np.triu(tiles, k=1).max() == 0.0
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0.0, 1.0)


def test_attention_names_the_tokens_that_look_and_are_looked_at(tree: xr.DataTree) -> None:
    texts = tree["tokens"]["text"].values
    hover = plots.attention(tree, window=1).data[0].text
    assert hover[9 + 3][2] == f"head 2: position 3 ({texts[7 + 3]}) looks at 2 ({texts[7 + 2]})"


def test_the_change_by_pass_is_its_norm_with_one_line_for_each_window(tree: xr.DataTree) -> None:
    lines = named(plots.fast_weight_change(tree, layer=2))
    assert list(lines) == ["window 0", "window 1", "answering"]
    norms = np.linalg.norm(np.diff(states(tree, 2), axis=1).reshape(QUESTION + 1, N_PASSES, -1), axis=-1)
    for window, line in enumerate(lines.values()):
        n_passes = 1 if window == QUESTION else N_PASSES
        assert list(line.x) == list(range(1, n_passes + 1))
        np.testing.assert_allclose(line.y, norms[window, :n_passes], rtol=1e-5)


def test_the_window_looked_at_stands_out_before_the_others(tree: xr.DataTree) -> None:
    figure = plots.fast_weight_change(tree, layer=2, window=0)
    lines = named(figure)
    assert list(lines) == ["window 1", "answering", "window 0"], "drawn last, on top"
    assert lines["window 0"].line.width > lines["window 1"].line.width == lines["answering"].line.width
    assert lines["window 0"].line.color != lines["window 1"].line.color
    assert "window 0" in figure.layout.annotations[0].text
    with pytest.raises(InvalidInputError, match="window: must be"):
        plots.fast_weight_change(tree, layer=2, window=9)


def test_accuracy_has_a_line_and_a_band_for_each_n_and_the_floor() -> None:
    data = evaluated()
    lines = named(plots.accuracy_by_depth(data))
    assert list(lines["floor"].y) == data.floor.values.tolist()
    for n_passes, name in [(1, "N = 1, no sleep"), (2, "N = 2"), (4, "N = 4")]:
        row = data.sel(n_passes=n_passes)
        assert list(lines[name].x) == DEPTHS
        assert list(lines[name].y) == row.accuracy.values.tolist()
        band = lines[f"N{n_passes} 95 %"]
        assert list(band.y) == [*row.accuracy_high.values, *row.accuracy_low.values[::-1]]
        assert list(band.x) == [*DEPTHS, *DEPTHS[::-1]]


def test_only_n_1_is_called_no_sleep() -> None:
    names = [trace.name for trace in plots.accuracy_by_depth(evaluated()).data if "no sleep" in trace.name]
    assert names == ["N = 1, no sleep"]


def test_chance_is_drawn_where_a_guess_beats_the_best_constant() -> None:
    data = evaluated()
    data["chance"] = data.floor - 0.01
    assert "chance" not in [trace.name for trace in plots.accuracy_by_depth(data).data]
    data["chance"] = data.floor + np.array([0.0, 0.1, 0.0])
    (line,) = (trace for trace in plots.accuracy_by_depth(data).data if trace.name == "chance")
    assert list(line.y) == data.chance.values.tolist()


@pytest.mark.parametrize("floor", [0.6, 0.3, 0.01])
def test_no_floor_and_no_line_leaves_the_figure(floor: float) -> None:
    low, high = plots.accuracy_by_depth(evaluated(floor=floor)).layout.yaxis.range
    assert low <= floor
    assert low >= 0.0
    assert high >= 1.0


def test_the_marker_stands_on_the_accuracy_it_names() -> None:
    data = evaluated()
    marker = named(plots.accuracy_by_depth(data, here=(4, 2)))["you are here"]
    assert (marker.x[0], marker.y[0]) == (2, float(data.accuracy.sel(n_passes=4, depth=2)))


def test_a_marker_at_a_depth_that_was_not_evaluated_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^here: must name a depth of"):
        plots.accuracy_by_depth(evaluated(), here=(4, 3))


def test_what_was_measured_now_is_drawn_beside_the_card() -> None:
    now = evaluated((2,)).assign(accuracy=lambda data: data.accuracy - 0.1)
    figure = plots.accuracy_by_depth(evaluated(), measured=now)
    assert list(named(figure)["N = 2, measured now"].y) == now.accuracy.sel(n_passes=2).values.tolist()


@pytest.mark.parametrize("builder", [plots.accuracy_by_depth, plots.accuracy_summary])
def test_data_of_another_kind_is_refused(builder: Any) -> None:
    with pytest.raises(StoreError, match="accuracy_low"):
        builder(evaluated().drop_vars("accuracy_low"))


def test_the_summary_of_accuracy_names_the_best_n_and_the_floor() -> None:
    assert "depth 1: best N = 4 with 85%, floor 60%" in plots.accuracy_summary(evaluated())


def test_one_n_has_one_colour_in_each_theme() -> None:
    for theme in ("light", "dark"):
        lines = named(plots.accuracy_by_depth(evaluated(), theme=theme))
        colours = [lines[name].line.color for name in ("N = 1, no sleep", "N = 2", "N = 4")]
        assert colours == [plots.pass_colour(n_passes, theme) for n_passes in (1, 2, 4)]
        assert len(set(colours)) == 3


@pytest.mark.parametrize("n_passes", [1, 2, 4])
def test_the_eviction_mark_counts_reading_as_the_first_pass(n_passes: int) -> None:
    html = plots.token_text(traced(n_passes=n_passes))
    asleep = [] if n_passes == 1 else [str(n_passes - 1)] * QUESTION
    assert re.findall(r"(\d+) (?:pass(?:es)? )?asleep", html) == asleep
    marks = re.findall(r">(read, [^<]*)<", html)
    assert len(marks) == QUESTION
    assert all("evicted" in mark for mark in marks)
    assert html.count("answered in one pass, from memory") == 1


def test_tokens_are_shown_in_order_and_each_window_says_what_became_of_it(tree: xr.DataTree) -> None:
    html, tokens = plots.token_text(tree), tree["tokens"]["text"].values.tolist()
    assert [text for text in re.findall(r">([^<>]+)<", html) if text in tokens] == tokens
    said = re.compile(r"window \d+<br>([a-z ]+)<")
    assert said.findall(html) == ["evicted"] * QUESTION + ["you look here"]
    assert said.findall(plots.token_text(tree, window=0)) == ["you look here"] + ["not read yet"] * QUESTION


def test_tokens_on_the_way_to_an_answer_are_numbered_in_order(tree: xr.DataTree) -> None:
    html = plots.token_text(tree, highlight=[3, 1])
    assert re.findall(r'title="step (\d);', html) == ["2", "1"]


def test_padding_is_counted_and_not_shown() -> None:
    task = sk.tasks.create("depo", names="single", n_symbols=12, n_nodes=6, n_nodes_min=3, n_hops=2, n_queries=3, window_len=16)
    model = small_model(vocab_size=len(task.vocab), dtype=torch.float32)
    index = next(i for i in range(64) if bool((task.batch("train", i, 1).segment == 0).any()))
    tree = sk.trace(model, task, n_passes=1, index=index, split="train")
    html = plots.token_text(tree)
    assert "of padding" in html
    assert "[PAD]" not in html
    assert "question 0, depth" in plots.answer_line(tree)


def test_the_timeline_has_a_block_for_every_pass_and_frames_the_one_looked_at(tree: xr.DataTree) -> None:
    (bars,) = [trace for trace in plots.timeline(tree, window=1, sleep_pass=2).data if trace.type == "bar"]
    places = [tuple(place) for place in bars.customdata]
    asleep = [(window, number) for window in range(QUESTION) for number in range(1, N_PASSES + 1)]
    assert places == [*asleep, (QUESTION, 1)]
    assert [place for place, width in zip(places, bars.marker.line.width, strict=True) if width > 0] == [(1, 2)]
    assert all(a + w <= b + 1e-9 for a, w, b in zip(bars.base, bars.x, bars.base[1:], strict=False))
    assert bars.text[0] == "read"
    assert bars.text[-1] == "answer"


@pytest.mark.parametrize("builder", [plots.fast_weights, plots.attention])
def test_one_head_alone_is_the_same_numbers_under_its_own_name(tree: xr.DataTree, builder: Any) -> None:
    both, one = builder(tree, window=1), builder(tree, window=1, head=1)
    heads = np.array(both.data[0].customdata, dtype=object)
    numbers = np.array(both.data[0].z)[heads == 1]
    alone = np.array(one.data[0].z)
    assert np.array_equal(alone.ravel(), numbers.ravel(), equal_nan=True)
    assert "head 1" in {note.text for note in one.layout.annotations}
    with pytest.raises(InvalidInputError, match=r"^head: must be in \[0, 4\), got 4$"):
        builder(tree, head=4)


def test_one_head_of_attention_has_its_tokens_written_on_the_axes(tree: xr.DataTree) -> None:
    start, stop = (int(tree["tokens"][name].values[1]) for name in ("start", "stop"))
    texts = tree["tokens"]["text"].values[start:stop].tolist()
    assert list(plots.attention(tree, window=1, head=0).layout.xaxis.ticktext) == texts


def test_under_sliding_eviction_a_column_holds_what_goes_to_tokens_kept() -> None:
    task = sk.tasks.create("rule110", width=6, n_strings=2, rollout_depth=[1, 2])
    tree = sk.trace(small_model(vocab_size=5, dtype=torch.float32), task, n_passes=2, eviction="sliding")
    shown = np.array(plots.attention(tree, window=1, head=0).data[0].z)
    assert np.allclose(np.nansum(shown, axis=1), 1.0, atol=1e-5)
    assert shown.shape[1] == shown.shape[0] + 1
    assert plots.attention(tree, window=0, head=0).data[0].z.shape[1] == shown.shape[0]
    n_heads = tree["attention"].sizes["head"]  # each has the line of the eviction before and that of its own
    assert len(plots.attention(tree, window=1).layout.shapes) == 2 * n_heads


def test_large_maps_are_pooled_to_the_largest_and_the_axis_says_so() -> None:
    tiles = np.random.default_rng(0).random((4, 300, 300)).astype(np.float32)
    tiles[1, 7, 250] = 9.0
    small, k = pooled(tiles)
    assert k == 2
    assert small.shape == (4, 150, 150)
    assert small[1, 3, 125] == 9.0
    assert pooled(tiles[:1])[1] == 1


def test_the_spectrum_is_that_of_the_states(tree: xr.DataTree) -> None:
    figure = plots.state_spectrum(tree, window=1, sleep_pass=2, head=1)
    states = tree["fast_weights"]["state"].sel(layer=1).values[1, :, 1]
    lines = named(figure)
    assert lines["pass 2"].mode == "lines+markers"
    for name, state in zip(["before", "pass 1", "pass 2", "pass 3"], states, strict=True):
        assert np.allclose(lines[name].y, np.linalg.svd(state, compute_uv=False), atol=1e-5)


def test_the_norm_is_that_of_the_states_and_of_their_changes(tree: xr.DataTree) -> None:
    size, change = plots.state_norm(tree, window=0).data
    states = tree["fast_weights"]["state"].sel(layer=1).values[0]
    assert np.allclose(size.y, np.linalg.norm(states.reshape(len(states), -1), axis=1), atol=1e-5)
    assert np.allclose(change.y, np.linalg.norm(np.diff(states, axis=0).reshape(len(states) - 1, -1), axis=1), atol=1e-5)


@pytest.mark.parametrize("builder", [plots.fast_weights_difference, plots.attention_difference])
def test_a_difference_of_a_trace_with_itself_is_nothing_and_with_another_its_own_last_pass(
    tree: xr.DataTree, builder: Any
) -> None:
    assert np.nanmax(np.abs(np.array(builder(tree, tree, window=1).data[0].z))) == 0.0
    assert np.nanmax(np.abs(np.array(builder(tree, traced(n_passes=1), window=1).data[0].z))) > 0.0
    with pytest.raises(InvalidInputError, match=r"^right: must have the windows of left"):
        builder(tree, sk.trace(small_model(vocab_size=5, dtype=torch.float32), other_windows(), n_passes=1), window=1)


def test_the_way_to_an_answer_is_told_step_by_step(tree: xr.DataTree) -> None:
    html = plots.reasoning_path(tree, answer=1)
    steps = [text for text in tree["reasoning"]["text"].values[1].tolist() if text]
    assert html.count("<tr>") == len(steps)
    assert re.findall(r">([01])</td>", html) == list("".join(steps))
    assert f"the framed cell, {tree['answers']['truth'].values[1]}." in html
    with pytest.raises(InvalidInputError, match=r"^answer: must be in"):
        plots.reasoning_path(tree, answer=9)


@pytest.mark.parametrize(("form", "mark"), [("walk", "&rarr;"), ("chain", "<li")])
def test_walks_and_chains_are_told_in_order(tree: xr.DataTree, form: str, mark: str) -> None:
    way = xr.Dataset({"text": (("answer", "step"), [["a", "b", HOSTILE, ""]])}, attrs={"form": form})
    html = plots.reasoning_path(xr.DataTree.from_dict({"/": tree.to_dataset(), "/reasoning": way}))
    assert html.index(">a<") < html.index(">b<")
    assert mark in html
    assert HOSTILE not in html


def test_the_probability_of_the_truth_is_always_shown(tree: xr.DataTree) -> None:
    figure = plots.probability_bars(tree, traced(n_passes=1), answer=1, names=["N = 3", "N = 1"])
    truth = str(tree["answers"]["truth"].values[1])
    for bars, each in zip(figure.data, (tree, traced(n_passes=1)), strict=True):
        place = list(bars.x).index(f"{truth} (true)")
        assert bars.y[place] == pytest.approx(float(each["answers"]["p_true"].values[1]), abs=1e-6)


def test_two_n_stand_out_when_they_are_compared() -> None:
    lines = named(plots.accuracy_by_depth(evaluated(), here=(4, 1), compare=1))
    widths = {name: lines[name].line.width for name in ("N = 1, no sleep", "N = 2", "N = 4")}
    assert widths["N = 2"] < min(widths["N = 1, no sleep"], widths["N = 4"])


def other_windows() -> Any:
    return sk.tasks.create("rule110", width=5, n_strings=2, rollout_depth=[1, 2])


def test_html_in_a_token_or_an_answer_is_escaped(tree: xr.DataTree) -> None:
    groups = {name: child.to_dataset() for name, child in tree.children.items()}
    n_tokens, n_answers = groups["tokens"].sizes["token"], groups["answers"].sizes["answer"]
    groups["tokens"] = groups["tokens"].assign(text=("token", np.array([HOSTILE] * n_tokens)))
    answers = {name: ("answer", np.array([HOSTILE] * n_answers)) for name in ("truth", "predicted")}
    groups["answers"] = groups["answers"].assign(**answers, right=("answer", np.zeros(n_answers, dtype=int)))
    hostile = xr.DataTree.from_dict({"/": tree.to_dataset(), **groups})
    assert HOSTILE not in plots.token_text(hostile)
    assert plots.token_text(hostile).count("&lt;b&gt;&amp;") == n_tokens
    assert HOSTILE not in plots.answer_line(hostile)
    assert plots.answer_line(hostile).count("&lt;b&gt;&amp;") == 2 * n_answers


def test_the_answer_line_counts_what_is_right(tree: xr.DataTree) -> None:
    answers = tree["answers"]
    html = plots.answer_line(tree)
    assert f"<b>N = {N_PASSES}</b>: {int(answers['right'].values.sum())} of {QUESTION} right" in html
    for depth, p_true in zip(answers["depth"].values, answers["p_true"].values, strict=True):
        assert f"depth {depth}: " in html
        assert f"P(correct) {p_true:.2f}" in html


def test_no_builder_changes_what_it_draws(tree: xr.DataTree) -> None:
    before, data = tree.copy(deep=True), evaluated()
    plots.fast_weights(tree, view="change")
    plots.fast_weight_change(tree)
    plots.attention(tree)
    plots.token_text(tree)
    plots.answer_line(tree)
    plots.accuracy_by_depth(data, here=(1, 1), measured=data)
    assert tree.identical(before)
    assert data.identical(evaluated())


def test_pictures_need_no_torch() -> None:
    code = "import sys, sleepkit.plots; print('torch' in sys.modules)"
    root = Path(sk.__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
