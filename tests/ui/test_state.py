"""The state of the explorer: what a view asks for, without Panel and without a model."""

import dataclasses
import subprocess
import sys

import pytest

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import Rule110
from sleepkit.ui.state import (
    ExplorerState,
    TraceRequest,
    beyond_training,
    depth_of_largest_gain,
    lines_shown,
    on_card,
    sleep_of,
    task_at,
    trained_passes,
)
from sleepkit.zoo import Card

NAME = "rule110-explorer"


@pytest.fixture(scope="module")
def card() -> Card:
    return zoo.load_card(NAME)


@pytest.fixture
def state(card: Card) -> ExplorerState:
    state = ExplorerState()
    state.adopt(card)
    return state


def test_a_new_view_asks_for_the_settings_the_model_was_trained_with(state: ExplorerState, card: Card) -> None:
    request = state.trace_request()
    assert (request.n_passes, request.window_len) == (card.sleep.n_passes, card.sleep.window_len)
    assert request.n_strings == card.task.config.to_dict()["n_strings"]
    assert beyond_training(card, request) == []


def test_the_first_depth_shown_is_the_one_where_sleeping_pays_most(card: Card) -> None:
    accuracy = card.accuracy.accuracy
    gain = accuracy.sel(n_passes=card.sleep.n_passes) - accuracy.sel(n_passes=1)
    assert float(gain.sel(depth=depth_of_largest_gain(card))) == float(gain.max())


@pytest.mark.parametrize("depth", range(1, 11))
def test_a_chosen_depth_is_asked_of_every_string_with_the_same_vocabulary(card: Card, depth: int) -> None:
    task = task_at(card, n_strings=3, depth=depth)
    batch = task.batch("test", 0, 16)
    assert task.vocab == card.task.vocab
    assert batch.coords["depth"].shape == (16, 3)
    assert set(batch.coords["depth"].flatten().tolist()) == {depth}


def test_without_a_depth_the_task_is_the_cards_own_at_another_context_length(card: Card) -> None:
    task = task_at(card, n_strings=7)
    assert isinstance(task, Rule110)
    assert isinstance(card.task, Rule110)
    assert task.config == card.task.config.replace(n_strings=7)


def test_a_depth_the_model_does_not_know_is_refused_by_name(card: Card) -> None:
    with pytest.raises(InvalidInputError, match=r"^depth: must be one of 1, 2, .*got 11$"):
        task_at(card, n_strings=4, depth=11)


@pytest.mark.parametrize("name", ["n_passes", "n_strings", "example"])
def test_values_outside_their_bounds_are_refused_not_clamped(state: ExplorerState, name: str) -> None:
    before = getattr(state, name)
    with pytest.raises(ValueError, match=name):
        setattr(state, name, 999)
    assert getattr(state, name) == before


def test_an_impossible_window_length_is_refused_where_it_becomes_a_sleep(state: ExplorerState) -> None:
    state.window_len = 0
    with pytest.raises(InvalidInputError, match="window_len"):
        sleep_of(state.trace_request())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_strings": 6}, "6 strings (trained on 4)"),
        ({"n_strings": 1}, "1 string (trained on 4)"),
        ({"window_len": 20}, "windows of 20 tokens (trained on 17)"),
    ],
)
def test_settings_beyond_training_are_named(state: ExplorerState, card: Card, change: dict[str, int], words: str) -> None:
    request = dataclasses.replace(state.trace_request(), **change)
    assert beyond_training(card, request) == [words]
    assert not on_card(card, request)


def test_an_n_that_training_never_drew_is_named(state: ExplorerState, card: Card) -> None:
    top = trained_passes(card)[-1]
    request = state.trace_request().at(top + 1)
    assert beyond_training(card, request) == [f"N = {top + 1} (trained with N = 1 to {top})"]


def test_the_lines_shown_hold_no_sleep_and_the_current_n_if_the_card_has_it(card: Card) -> None:
    known = card.accuracy.n_passes.values.tolist()
    for n_passes in range(1, 9):
        shown = lines_shown(card, n_passes)
        assert set(shown) <= set(known)
        assert 1 in shown
        assert (n_passes in shown) == (n_passes in known)


def test_requests_with_equal_settings_are_one_key(state: ExplorerState) -> None:
    first = state.trace_request()
    assert first == TraceRequest(**dataclasses.asdict(first))
    assert len({first, first.at(first.n_passes), first.at(1)}) == 2


def test_the_rest_of_the_library_does_not_import_panel() -> None:
    code = "import sleepkit, sys; sleepkit.trace, sleepkit.plots, sleepkit.zoo; sys.exit('panel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
