"""The timeline: a block for every pass, what is looked at in words, what eviction leaves."""

import pytest
import torch
import xarray as xr

import sleepkit as sk
from sleepkit import plots
from sleepkit.errors import InvalidInputError
from tests.support.models import small_model

WIDTH, DEPTHS = 6, [1, 2]
LENGTH = WIDTH + 1  # a string and its depth token


def traced(n_passes: int = 3, n_strings: int = 2, eviction: str = "hard") -> xr.DataTree:
    task = sk.tasks.create("rule110", width=WIDTH, n_strings=n_strings, rollout_depth=DEPTHS)
    torch.manual_seed(0)
    return sk.trace(small_model(vocab_size=5, dtype=torch.float32), task, n_passes=n_passes, eviction=eviction)


def written(tree: xr.DataTree, **at: int) -> list[str]:
    return [note.text for note in plots.timeline(tree, **at).layout.annotations]


@pytest.mark.parametrize(
    ("window", "sleep_pass", "words"),
    [(0, 0, "before reading"), (0, 1, "pass 1 of 3, reading"), (1, 3, "pass 3 of 3, asleep"), (2, 1, "answering")],
)
def test_the_place_looked_at_is_written_and_its_block_framed(window: int, sleep_pass: int, words: str) -> None:
    tree = traced()
    figure = plots.timeline(tree, window=window, sleep_pass=sleep_pass)
    assert f"\u25b2 w {window}, {words}" in [note.text for note in figure.layout.annotations]
    bars = figure.data[0]
    framed = [tuple(place) for place, width in zip(bars.customdata, bars.marker.line.width, strict=True) if width]
    assert framed == ([] if sleep_pass == 0 else [(window, sleep_pass)])
    summary = plots.timeline_summary(tree, window=window, sleep_pass=sleep_pass)
    assert f"You look at window {window}, {plots.pass_name(tree, window, sleep_pass)}." in summary


@pytest.mark.parametrize(("n_passes", "n_strings"), [(1, 1), (1, 8), (16, 1), (16, 8)])
def test_blocks_come_in_order_and_never_overlap(n_passes: int, n_strings: int) -> None:
    bars = plots.timeline(traced(n_passes, n_strings, "hard") if n_strings < 8 else wide(n_passes)).data[0]
    asleep = [[window, number] for window in range(n_strings) for number in range(1, n_passes + 1)]
    assert [list(place) for place in bars.customdata] == [*asleep, [n_strings, 1]]
    ends = [start + width for start, width in zip(bars.base, bars.x, strict=True)]
    assert all(end < start for end, start in zip(ends, bars.base[1:], strict=False))


def wide(n_passes: int) -> xr.DataTree:
    """Eight windows; the question of eight labels needs windows of at least as many tokens."""
    task = sk.tasks.create("rule110", width=8, n_strings=8, rollout_depth=DEPTHS)
    return sk.trace(small_model(vocab_size=5, dtype=torch.float32), task, n_passes=n_passes)


def test_names_of_windows_get_short_where_they_would_not_fit_a_phone() -> None:
    assert {"window 0", "window 1"} <= set(written(traced()))
    assert {f"w {window}" for window in range(8)} <= set(written(wide(16)))


def test_every_eviction_has_one_mark_that_says_what_stays() -> None:
    def marks(tree: xr.DataTree) -> list[str]:
        return list(next(line for line in plots.timeline(tree).data if line.type == "scatter").hovertext)

    assert marks(traced()) == ["window 0: evicted", "window 1: evicted"]
    stay = f"evicted, the newest {LENGTH - 1} tokens stay"
    assert marks(traced(eviction="sliding")) == [f"window 0: {stay}", f"window 1: {stay}"]
    assert f"\u2715 evicted, {LENGTH - 1} tokens stay" in written(traced(eviction="sliding"))
    assert stay in plots.timeline_summary(traced(eviction="sliding"), window=0, sleep_pass=1)


def test_with_n_1_nothing_on_the_timeline_is_asleep() -> None:
    tree = traced(n_passes=1)
    figure = plots.timeline(tree, window=1)
    words = [*figure.data[0].hovertext, *written(tree, window=1), plots.timeline_summary(tree, window=1, sleep_pass=1)]
    assert not any("asleep" in text for text in words)


def test_a_place_that_is_not_in_the_trace_is_refused() -> None:
    tree = traced()
    with pytest.raises(InvalidInputError, match=r"^window: must be in \[0, 3\), got 3$"):
        plots.timeline(tree, window=3)
    with pytest.raises(InvalidInputError, match=r"^sleep_pass: must be in \[0, 1\] for window 2, got 2$"):
        plots.timeline_summary(tree, window=2, sleep_pass=2)
