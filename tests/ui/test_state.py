"""The state of the explorer: what a view asks for, without Panel and without a model."""

import dataclasses
import subprocess
import sys

import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.ui.state import (
    URL_NAMES,
    ExplorerState,
    TraceRequest,
    as_on_card,
    beyond_training,
    lines_shown,
    opening_request,
)
from sleepkit.ui.subject import Subject, names, subject

NAME = "rule110-explorer"


@pytest.fixture(scope="module", params=["rule110-explorer", "depo-explorer", "rule110-n4"])
def about(request: pytest.FixtureRequest) -> Subject:
    return subject(request.param)


@pytest.fixture
def state(about: Subject) -> ExplorerState:
    state = ExplorerState()
    state.adopt(about)
    return state


def test_every_bundled_model_can_be_explored() -> None:
    from sleepkit import zoo

    assert names() == zoo.names()


def test_a_new_view_asks_for_the_settings_the_model_was_trained_with(state: ExplorerState, about: Subject) -> None:
    request = state.trace_request()
    assert (request.n_passes, request.window_len, request.eviction) == (about.n_passes, about.window_len, about.eviction)
    assert request.context == about.facts.task_options[about.dial.option]
    assert beyond_training(about, request) == []
    assert as_on_card(about, request.accuracy)
    assert request == opening_request(about)


def test_the_first_depth_shown_is_the_one_where_sleeping_pays_most() -> None:
    about = subject(NAME)
    gain = about.accuracy.accuracy.sel(n_passes=about.n_passes) - about.accuracy.accuracy.sel(n_passes=1)
    assert float(gain.sel(depth=about.best_depth)) == float(gain.max())


@pytest.mark.parametrize("name", ["n_passes", "compare", "context", "example"])
def test_values_outside_their_bounds_are_refused_not_clamped(state: ExplorerState, name: str) -> None:
    before = getattr(state, name)
    with pytest.raises(ValueError, match=name):
        setattr(state, name, 9999)
    assert getattr(state, name) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"context": 6}, "6 strings (trained on 4)"),
        ({"context": 1}, "1 string (trained on 4)"),
        ({"window_len": 20}, "windows of 20 tokens (trained on 17)"),
        ({"eviction": "sliding"}, "sliding eviction (trained with hard)"),
    ],
)
def test_settings_beyond_training_are_named(change: dict[str, int], words: str) -> None:
    about = subject(NAME)
    request = dataclasses.replace(opening_request(about), **change)  # type: ignore[arg-type]
    assert beyond_training(about, request) == [words]
    assert not as_on_card(about, request.accuracy)


def test_an_n_that_training_never_drew_is_named() -> None:
    about = subject(NAME)
    top = about.trained_passes[-1]
    request = opening_request(about).at(top + 1)
    assert beyond_training(about, request) == [f"N = {top + 1} (trained with N = 1 to {top})"]


def test_a_fixed_n_is_said_as_one_number() -> None:
    about = subject("rule110-n4")
    assert "N = 4." in about.as_trained()
    assert beyond_training(about, opening_request(about).at(1)) == ["N = 1 (trained with N = 4)"]


def test_the_lines_shown_hold_no_sleep_this_n_and_the_compared_if_the_card_has_them(about: Subject) -> None:
    for n_passes in range(1, 17):
        shown = lines_shown(about, n_passes, compare=3)
        assert set(shown) <= set(about.known_passes)
        for wanted in (1, 3, n_passes):
            assert (wanted in shown) == (wanted in about.known_passes)


def test_requests_with_equal_settings_are_one_key(state: ExplorerState) -> None:
    first = state.trace_request()
    assert first == TraceRequest(**dataclasses.asdict(first))
    assert len({first, first.at(first.n_passes), first.at(first.n_passes + 1)}) == 2


def test_all_that_makes_a_view_is_in_the_address_and_what_the_visitors_system_prefers_is_not() -> None:
    assert set(URL_NAMES) == set(ExplorerState.param) - {"name", "system_dark"}


def test_the_colours_are_the_systems_until_the_visitor_chooses() -> None:
    state = ExplorerState()
    assert state.colours == "light"
    state.system_dark = True
    assert state.colours == "dark"
    state.theme = "light"
    assert state.colours == "light"


def test_a_task_the_explorer_does_not_know_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepkit import zoo

    strange = dataclasses.replace(zoo.facts(NAME), task="chess")
    monkeypatch.setattr(zoo, "facts", lambda name: strange)
    with pytest.raises(InvalidInputError, match=r"^model: must be trained on one of rule110, depo, .*, got 'chess'$"):
        subject("a name not asked for before")


def test_the_rest_of_the_library_does_not_import_panel() -> None:
    code = "import sleepkit, sys; sleepkit.trace, sleepkit.plots, sleepkit.zoo; sys.exit('panel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_dashboard_is_built_and_drawn_without_torch() -> None:
    code = """
import sys
from sleepkit import zoo
from sleepkit.ui import build_app, compute, session, state, subject
known = state.ExplorerState()
known.adopt(subject.subject("rule110-explorer"))
shown = session.ExplorerSession(known, compute.Workshop())
shown.draw()
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
