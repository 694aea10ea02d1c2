"""Mosaics: eviction lines, pooling, clicks, differences, spectra; sentences say the numbers of their figures."""

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from sleepkit import plots
from sleepkit.errors import InvalidInputError
from sleepkit.plots.mosaic import pooled
from tests.plots.test_timeline import LENGTH, traced


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return traced()


@pytest.fixture(scope="module")
def sliding() -> xr.DataTree:
    return traced(eviction="sliding")


def lines(figure: go.Figure, dash: str) -> list[float]:
    return [shape.x0 for shape in figure.layout.shapes if shape.line.dash == dash]


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found.group(1))


def state(tree: xr.DataTree, window: int, sleep_pass: int) -> np.ndarray:
    return np.asarray(tree["fast_weights"]["state"].isel(layer=0).values[window, sleep_pass])


def test_hard_eviction_cuts_behind_the_last_token(tree: xr.DataTree) -> None:
    assert lines(plots.attention(tree, window=0, head=0), "dash") == [LENGTH - 0.5]
    assert lines(plots.attention(tree, window=0, head=0), "dot") == []
    assert lines(plots.attention(tree, window=1, head=0), "dot") == [-0.5]


def test_sliding_eviction_cuts_before_the_oldest_token_that_is_kept(sliding: xr.DataTree) -> None:
    # Of the first window all but one token stay; later windows are drawn one cell to the right, behind what is carried.
    assert lines(plots.attention(sliding, window=0, head=0), "dash") == [0.5]
    assert lines(plots.attention(sliding, window=1, head=0), "dash") == [1.5]
    assert lines(plots.attention(sliding, window=1, head=0), "dot") == [0.5]
    assert plots.attention(sliding, window=1, head=0).layout.xaxis.ticktext[0] == "kept"


def test_a_window_that_is_answered_is_not_evicted(tree: xr.DataTree) -> None:
    assert lines(plots.attention(tree, window=2, head=0), "dash") == []
    assert "After the window" not in plots.attention_summary(tree, window=2, sleep_pass=1)
    assert plots.attention_summary(tree, window=1, sleep_pass=1).endswith("After the window: evicted.")


def test_the_summary_says_how_much_goes_to_tokens_that_were_kept(sliding: xr.DataTree) -> None:
    summary = plots.attention_summary(sliding, window=1, sleep_pass=2)
    carried = sliding["attention"]["carried"].isel(layer=0).sel(sleep_pass=2).values[1]
    assert f"{np.nanmean(carried):.0%} of it goes to tokens kept from before" in summary
    assert "kept from before" not in plots.attention_summary(sliding, window=0, sleep_pass=2)


def test_a_click_means_the_head_it_hits_and_nothing_in_a_gutter(tree: xr.DataTree) -> None:
    figure = plots.fast_weights(tree, window=1)
    heads = figure.data[0].customdata
    for row, line in enumerate(heads):
        for cell, head in enumerate(line):
            assert plots.head_at(figure, cell + 0.3, row - 0.3) == head
    assert {head for line in heads for head in line} == {None, *range(tree["fast_weights"].sizes["head"])}
    assert plots.head_at(figure, -3.0, 0.0) is None
    assert plots.head_at(figure, 0.0, 1000.0) is None


def test_pooling_keeps_the_strongest_entry_with_its_sign() -> None:
    tiles = np.random.default_rng(0).normal(size=(4, 300, 290)).astype(np.float32)
    tiles[2, 11, 289] = -9.0
    tiles[3, 0:2, 0:2] = np.nan
    small, k = pooled(tiles)
    assert (k, small.shape) == (2, (4, 150, 145))
    assert small[2, 5, 144] == -9.0
    assert np.isnan(small[3, 0, 0])
    block = tiles[0, 20:22, 30:32].ravel()
    assert small[0, 10, 15] == block[np.abs(block).argmax()]


@pytest.mark.parametrize("builder", [plots.fast_weights, plots.fast_weights_difference])
def test_a_pooled_picture_says_so_in_its_title(tree: xr.DataTree, builder: Any) -> None:
    large = grown(tree, 600)
    trees = [large] if builder is plots.fast_weights else [large, grown(tree, 600, scale=2.0)]
    figure = builder(*trees, window=1, head=0)
    assert figure.layout.title.text.endswith("strongest of 2 x 2")
    assert np.asarray(figure.data[0].z).shape == (300, 300)
    assert figure.data[0].text is None
    assert "strongest" not in builder(*[tree] * len(trees), window=1).layout.title.text


def grown(tree: xr.DataTree, size: int, scale: float = 1.0) -> xr.DataTree:
    """The same trace with fast weights of size x size."""
    found = tree["fast_weights"].to_dataset()
    shape = (*found["state"].shape[:4], size, size)
    large = np.broadcast_to(np.linspace(-scale, scale, size, dtype=np.float32), shape)
    grown = xr.Dataset({"state": (found["state"].dims, large)}, coords={"sleep_pass": found.sleep_pass, "layer": found.layer})
    groups = {name: child.to_dataset() for name, child in tree.children.items() if name != "fast_weights"}
    return xr.DataTree.from_dict({"/": tree.to_dataset(), **groups, "fast_weights": grown})


def test_a_difference_may_be_taken_before_a_window_is_read(tree: xr.DataTree) -> None:
    awake = traced(n_passes=1)
    shown = np.asarray(plots.fast_weights_difference(tree, awake, window=1, sleep_pass=0, head=0).data[0].z)
    np.testing.assert_array_equal(shown, (state(tree, 1, 0) - state(awake, 1, 0))[0])
    summary = plots.fast_weights_difference_summary(tree, awake, window=1, sleep_pass=0)
    expected = np.linalg.norm(state(tree, 1, 0) - state(awake, 1, 0))
    assert number(r"norm ([\d.]+)", summary) == pytest.approx(expected, abs=0.006)


def test_the_sentence_about_a_difference_names_both_moments_and_how_much_looks_elsewhere(tree: xr.DataTree) -> None:
    awake = traced(n_passes=1)
    summary = plots.attention_difference_summary(tree, awake, window=1)
    assert "left after pass 3 of 3 (asleep), right after pass 1 of 1 (reading)" in summary
    last, first = (each["attention"]["weights"].isel(layer=0).values[1, n] for each, n in ((tree, 2), (awake, 0)))
    assert number(r"gives (\d+)%", summary) == pytest.approx(50 * np.nansum(np.abs(last - first), axis=-1).mean(), abs=0.51)
    assert "gives 0% of" in plots.attention_difference_summary(tree, tree, window=1)


def test_a_difference_of_other_layers_is_refused(tree: xr.DataTree) -> None:
    found = tree["fast_weights"].to_dataset().assign_coords(layer=tree["fast_weights"].layer + 5)
    groups = {name: child.to_dataset() for name, child in tree.children.items() if name != "fast_weights"}
    other = xr.DataTree.from_dict({"/": tree.to_dataset(), **groups, "fast_weights": found})
    with pytest.raises(InvalidInputError, match=r"^right: must have fast weights in the layers of left"):
        plots.fast_weights_difference(tree, other, window=1)


def test_the_spectrum_draws_the_pass_looked_at_last_and_strongest(tree: xr.DataTree) -> None:
    drawn = plots.state_spectrum(tree, window=1, sleep_pass=1, head=0).data
    assert drawn[-1].name == "pass 1"
    assert drawn[-1].line.width > max(line.line.width for line in drawn[:-1])
    assert sorted(line.name for line in drawn) == ["before", "pass 1", "pass 2", "pass 3"]


def test_the_effective_rank_is_one_for_one_direction_and_all_for_equal_ones(tree: xr.DataTree) -> None:
    def said(matrix: np.ndarray) -> float:
        found = tree["fast_weights"].to_dataset()
        states = np.broadcast_to(matrix.astype(np.float32), (*found["state"].shape[:4], *matrix.shape))
        groups = {name: child.to_dataset() for name, child in tree.children.items() if name != "fast_weights"}
        data = xr.Dataset({"state": (found["state"].dims, states)}, coords={"layer": found.layer})
        same = xr.DataTree.from_dict({"/": tree.to_dataset(), **groups, "fast_weights": data})
        return number(r"effective rank ([\d.]+)", plots.state_spectrum_summary(same, window=0, sleep_pass=1))

    assert said(np.eye(5)) == 5.0
    assert said(np.outer(np.arange(1, 6), np.arange(1, 6))) == 1.0
    assert said(np.zeros((5, 5))) == 0.0


def test_sentences_about_norms_say_the_norms(tree: xr.DataTree) -> None:
    summary = plots.state_norm_summary(tree, window=1, sleep_pass=2)
    before, one, two = (state(tree, 1, count) for count in (0, 1, 2))
    assert number(r": ([\d.]+) before", summary) == pytest.approx(np.linalg.norm(before), abs=0.006)
    assert number(r"window, ([\d.]+) after", summary) == pytest.approx(np.linalg.norm(two), abs=0.006)
    assert number(r"changed by ([\d.]+)", summary) == pytest.approx(np.linalg.norm(two - one), abs=0.006)
    changes = [np.linalg.norm(state(tree, 1, count) - state(tree, 1, count - 1)) for count in (1, 2, 3)]
    assert f"pass {int(np.argmax(changes)) + 1} of 3 writes most" in plots.fast_weight_change_summary(tree, window=1)
    one_head = plots.fast_weights_summary(tree, window=1, sleep_pass=2, head=1)
    assert number(r"norm ([\d.]+)", one_head) == pytest.approx(np.linalg.norm(two[1]), abs=0.006)


def test_the_norm_marks_the_pass_looked_at_where_one_is_given(tree: xr.DataTree) -> None:
    assert [shape.x0 for shape in plots.state_norm(tree, window=1, sleep_pass=2).layout.shapes] == [2]
    assert not plots.state_norm(tree, window=1).layout.shapes
