"""A session of the dashboard without a server: what is shown follows the state; bad input leaves the picture."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sleepkit import results, tasks, zoo
from sleepkit.model import ModelConfig
from sleepkit.sleep import SleepConfig
from sleepkit.training import TaskSettings, train
from sleepkit.ui import build_app, compute
from sleepkit.ui.compute import Workshop
from sleepkit.ui.session import ExplorerSession
from sleepkit.ui.state import CURVES, ExplorerState
from sleepkit.ui.subject import names, subject
from sleepkit.ui.tour import STEPS, Tour
from sleepkit.ui.views import pair
from tests.support.pages import built, end_others, sent
from tests.support.runs import tiny_settings

NAME = "rule110-explorer"


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    workshop = Workshop()
    yield workshop
    workshop.close()


@pytest.fixture
def session(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> ExplorerSession:
    monkeypatch.setattr(compute, "N_EXAMPLES", 32)
    state = ExplorerState()
    state.adopt(subject(NAME))
    session = ExplorerSession(state, workshop)
    session.draw()
    return session


def change(session: ExplorerSession, **values: Any) -> None:
    """Change the state inside an event loop, as the server does, and wait until all that follows is done."""

    async def change_and_wait() -> None:
        session.state.param.update(**values)
        await asyncio.sleep(0.01)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others)

    asyncio.run(change_and_wait())


def mosaic(session: ExplorerSession) -> np.ndarray:
    return np.asarray(session.screen.fast_weights._plot.shown.data[0].z)


def test_all_panes_are_drawn_from_one_trace(session: ExplorerSession) -> None:
    assert mosaic(session).size > 0
    assert len(session.screen.fast_weights._curve.shown.data) == session.picture.n_windows
    assert session.screen.accuracy._plot.shown.data
    assert session.screen.attention._plot.shown.data
    assert session.screen.text._body.object.count("sk-answer") >= 2 * 4
    assert "N = 1, no sleep" in session.screen.text._body.object
    assert session.status.refusal is None


def test_another_n_changes_the_picture_and_the_answers(session: ExplorerSession) -> None:
    before, text = mosaic(session), session.screen.text._body.object
    change(session, n_passes=2)
    assert session.picture.request.n_passes == 2
    assert not np.array_equal(mosaic(session), before, equal_nan=True)
    assert session.screen.text._body.object != text
    assert 'data-n="2"' in session.screen.text._body.object


def test_the_pass_looked_at_follows_n_while_it_is_the_last(session: ExplorerSession) -> None:
    change(session, n_passes=5)
    assert session.picture.pass_shown(session.state) == 5
    assert session.controls._pass.end == 5
    change(session, sleep_pass=2)
    change(session, n_passes=3)
    assert session.picture.pass_shown(session.state) == 2


def test_the_player_walks_through_every_pass_of_every_window(session: ExplorerSession) -> None:
    change(session, n_passes=2)
    places = []
    for moment in range(session.screen.fast_weights.player.end + 1):
        sent(session.screen.fast_weights.player, value=moment, value_throttled=moment)
        places.append((session.state.window, session.picture.pass_shown(session.state)))
    assert places == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1)]


def test_before_reading_there_is_no_attention_and_the_pane_says_so(session: ExplorerSession) -> None:
    change(session, sleep_pass=0)
    figure = session.screen.attention._plot.shown
    assert not figure.data
    assert "Nothing has been read yet" in figure.layout.annotations[0].text


@pytest.mark.parametrize("window_len", [3, 0, -1])
def test_an_impossible_window_length_is_refused_and_the_last_good_picture_stays(
    session: ExplorerSession, window_len: int
) -> None:
    picture, shown = session.picture, mosaic(session)
    change(session, window_len=window_len)
    assert session.status.refusal is not None
    assert f"got {window_len}" in session.status.refusal
    assert "\n" not in session.status.refusal
    assert session.picture is picture
    assert np.array_equal(mosaic(session), shown, equal_nan=True)
    change(session, window_len=17)
    assert session.status.refusal is None


def test_one_button_leads_back_to_as_trained_from_whatever_was_refused(session: ExplorerSession) -> None:
    change(session, window_len=2, n_passes=3)
    session.controls._window_len.value = "many"
    assert session.status.refusal is not None

    async def go_back() -> None:
        session.controls._go_back()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others)

    asyncio.run(go_back())
    assert session.status.refusal is None
    assert session.controls._window_len.value == "17"
    assert (session.picture.request.window_len, session.picture.request.n_passes) == (17, 4)


def test_a_window_length_that_is_no_number_is_refused_and_never_reaches_the_state(session: ExplorerSession) -> None:
    session.controls._window_len.value = "many"
    assert session.status.refusal == "window_len: must be an integer, got 'many'"
    assert session.state.window_len == 17


def test_beyond_training_is_said_and_measured(session: ExplorerSession) -> None:
    change(session, context=2)
    shown = session.status._alert.object
    assert "Beyond what it was trained on: 2 strings (trained on 4)" in shown
    assert "sk-warning" in shown
    assert session.picture.measured is not None
    assert int(session.picture.measured.n_examples.max()) == 32
    names = [line.name for line in session.screen.accuracy._plot.shown.data]
    assert "N = 4, measured now" in names
    assert "you are here" in names


def sentence(session: ExplorerSession) -> str:
    return str(session.finding.object).rpartition("</h1>")[0].rpartition(">")[2]


def measured_finding(session: ExplorerSession, n_passes: int) -> str:
    """The finding about what was counted at the settings shown, N against 1; of so few examples it may be noise."""
    counted = session.picture.counted
    assert counted is not None
    said = dataclasses.replace(zoo.facts(NAME), accuracy=counted).finding(1, n_passes)
    assert f"N = {n_passes}" in said
    assert "N = 1" in said
    return f"Measured now: {said[0].lower()}{said[1:]}"


def test_the_sentence_on_top_is_the_cards_at_its_own_settings(session: ExplorerSession) -> None:
    assert sentence(session) == zoo.load_card(NAME).finding(1, 4)
    change(session, n_passes=2)
    assert sentence(session) == zoo.load_card(NAME).finding(1, 2)


def test_the_sentence_on_top_is_about_the_settings_shown_once_they_are_measured(session: ExplorerSession) -> None:
    change(session, context=2)
    counted = session.picture.counted
    assert counted is not None
    assert counted.n_examples.values.tolist() == [32, 32]
    assert sentence(session) == measured_finding(session, 4)


def test_until_then_the_sentence_says_that_it_is_about_the_model_as_trained(session: ExplorerSession) -> None:
    change(session, context=2)
    unmeasured = dataclasses.replace(session.picture, measured=None, missing=(4, 1))
    assert unmeasured.counted is None
    card = zoo.load_card(NAME).finding(1, 4)
    assert unmeasured.finding == f"As trained: {card[0].lower()}{card[1:]}"


def test_an_n_that_the_card_has_not_is_measured_and_compared_with_one_it_has(session: ExplorerSession) -> None:
    change(session, n_passes=9)
    assert sentence(session) == measured_finding(session, 9)
    unmeasured = dataclasses.replace(session.picture, measured=None, missing=(9,))
    assert unmeasured.finding.startswith("As trained: with N = 4 this model answers")


def test_the_difference_beyond_training_is_never_that_of_the_card(session: ExplorerSession) -> None:
    change(session, context=2, tab="difference")
    gain = pair._gained(session.picture)
    assert gain is not None
    card = session.picture.subject.accuracy.accuracy
    assert not np.array_equal(gain.gain, card.sel(n_passes=4) - card.sel(n_passes=1))
    assert pair._gained(dataclasses.replace(session.picture, measured=None, missing=(4, 1))) is None


def test_the_cards_own_settings_are_not_measured_again(session: ExplorerSession) -> None:
    change(session, n_passes=1)
    assert session.picture.measured is None
    assert not session.picture.missing


def test_a_place_that_a_new_picture_lacks_falls_back_to_the_first_window(session: ExplorerSession) -> None:
    change(session, window=4)
    change(session, context=1)
    assert session.state.window == 0


@pytest.mark.parametrize("name", names())
def test_every_model_is_shown_with_all_its_panes(session: ExplorerSession, name: str) -> None:
    async def change_model() -> None:
        session.controls._model.value = name
        await asyncio.sleep(0.01)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others)

    asyncio.run(change_model())
    assert session.status.refusal is None
    assert session.picture.subject.name == name
    for view in (session.screen.timeline, session.screen.fast_weights, session.screen.accuracy, session.screen.attention):
        assert view.figure is not None
        assert view.figure.data, view.css
    assert session.screen.path._steps.object
    assert "sk-answers" in session.screen.text._body.object


@pytest.mark.parametrize("task", ["rule110", "depo", "gsm", "affine", "circuit", "permutations", "pointer-chasing"])
def test_a_model_of_ones_own_is_shown_by_its_folder_whatever_its_task(workshop: Workshop, task: str, tmp_path: Path) -> None:
    settings = tiny_settings(
        task=TaskSettings(name=task),
        model=ModelConfig(vocab_size=len(tasks.create(task).vocab), width=16, n_heads=2, layers="attn gdn", mlp_ratio=2.0),
        sleep=SleepConfig(n_passes=2, window_len=tasks.create(task).window_len),
        batch_size=2,
        steps=1,
        checkpoint_every=1,
    )
    folder = str(tmp_path / "mine")
    run = train(settings, folder=tmp_path / "run", progress=False)
    zoo.publish(run, folder, summary="A tiny model.", n_passes=[1, 2], n_examples=8, progress=False)
    state = ExplorerState()
    state.adopt(subject(folder))
    session = ExplorerSession(state, workshop)
    session.draw()
    assert session.status.refusal is None
    change(session, example=1)
    assert session.status.refusal is None
    assert session.picture.request.model == folder
    assert session.controls._model.value == folder


def test_two_sessions_that_look_at_the_same_place_share_its_figures(session: ExplorerSession, workshop: Workshop) -> None:
    state = ExplorerState()
    state.adopt(subject(NAME))
    other = ExplorerSession(state, workshop)
    for each in (session, other):
        change(each, example=2)
        each.state.look_at(1, 2)
    for pane in ("timeline", "fast_weights", "attention"):
        assert getattr(session.screen, pane)._plot.figure is getattr(other.screen, pane)._plot.figure
    other.state.look_at(1, 1)
    assert session.screen.timeline._plot.figure != other.screen.timeline._plot.figure


@pytest.mark.parametrize("pane", ["fast_weights", "attention"])
def test_a_click_on_a_head_shows_it_alone_and_a_second_click_all_of_them(session: ExplorerSession, pane: str) -> None:
    plot = getattr(session.screen, pane)._plot
    heads = plot.shown.data[0].customdata
    row, cell = next((row, cell) for row in range(len(heads)) for cell in range(len(heads[0])) if heads[row][cell] == 1)
    plot.click_data = {"points": [{"x": cell, "y": row}]}
    assert session.state.head == 1
    plot.click_data = {"points": [{"x": 0, "y": 0}]}
    assert session.state.head is None


@pytest.mark.parametrize("tab", ["side by side", "difference", "data"])
def test_every_tab_is_drawn_when_it_is_opened_and_follows_the_picture(session: ExplorerSession, tab: str) -> None:
    change(session, tab=tab)
    assert session.screen._open[0] is session.screen._tabs[tab]
    change(session, n_passes=2)
    change(session, window=1)
    change(session, tab="single")
    assert session.screen._open[0] is session.screen._tabs["single"]


def test_what_is_compared_can_be_any_n(session: ExplorerSession) -> None:
    change(session, compare=3)
    assert session.picture.other.attrs["n_passes"] == 3
    assert 'data-n="3"' in session.screen.text._body.object


def test_an_n_the_card_never_saw_is_measured_and_marked(session: ExplorerSession) -> None:
    change(session, n_passes=16)
    assert session.picture.measured is not None
    assert session.picture.measured.n_passes.values.tolist() == [16]
    assert "N = 16 (trained with N = 1 to 5)" in session.status._alert.object


def type_text(session: ExplorerSession, text: str) -> None:
    async def type_and_wait() -> None:
        session.controls.text.value_input = text
        await asyncio.sleep(0.01)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others)

    asyncio.run(type_and_wait())


def test_own_input_is_checked_while_it_is_typed(session: ExplorerSession) -> None:
    type_text(session, "01")
    assert session.controls.text.error_state
    assert session.controls.text.helper_text
    assert session.state.text == ""
    text, _ = session._workshop.source.text(session.state.trace_request())
    type_text(session, text)
    assert not session.controls.text.error_state
    assert session.state.text == text
    assert session.picture.request.text == text
    type_text(session, "")
    assert session.picture.request.text == ""


def test_a_click_on_the_timeline_looks_at_that_pass(session: ExplorerSession) -> None:
    session.screen.timeline._plot.click_data = {"points": [{"customdata": [1, 2]}]}
    assert (session.state.window, session.state.sleep_pass) == (1, 2)


def test_every_file_of_the_data_tab_can_be_taken_away(session: ExplorerSession) -> None:
    change(session, tab="data")
    files = session.screen.files()
    assert {"trace.nc", "accuracy.nc", "accuracy.csv", "answers.csv", "fast-weights.csv", "attention.csv"} <= set(files)
    for name, make in files.items():
        content = make().getvalue()
        assert len(content) > 200, name
        if name.endswith(".csv"):
            assert content.decode().splitlines()[0].count(",") >= 3


def test_the_tour_turns_the_explorer_step_by_step(session: ExplorerSession) -> None:
    tour = Tour(session.state)
    seen = []

    async def walk() -> None:
        tour.start()
        for _ in STEPS:
            seen.append((session.state.n_passes, session.state.tab))
            tour._next.clicks += 1
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others)

    asyncio.run(walk())
    assert seen == [(1, "single"), (4, "single"), (4, "single"), (4, "side by side")]
    assert not tour._view.visible


def test_the_tour_is_written_in_the_colours_of_the_theme(session: ExplorerSession) -> None:
    tour = Tour(session.state)

    async def look() -> tuple[str, str]:
        tour.start()
        before = str(tour._text.object)
        session.state.theme = "dark"
        await end_others()
        return before, str(tour._text.object)

    light, dark = asyncio.run(look())
    assert light != dark
    assert all(STEPS[0].title in text for text in (light, dark))


def test_axes_of_one_kind_of_curve_are_not_kept_for_another(session: ExplorerSession) -> None:
    kept = []
    for curve in CURVES:
        session.state.curve = curve
        kept.append(session.screen.fast_weights._curve.shown.layout.uirevision)
    assert len(set(kept)) == len(CURVES)


def test_an_n_compared_with_itself_is_drawn_once_and_said_to_be_the_same(session: ExplorerSession) -> None:
    change(session, n_passes=1, compare=1)
    bars = session.screen.path._plot.shown.data
    assert [bar.name for bar in bars] == ["N = 1"]
    assert session.screen.text._body.object.count('data-n="1"') == 1
    change(session, tab="difference")
    figures = [view._plot.shown for view in session.screen._others["difference"]._panes]
    assert all("Both are N = 1" in figure.layout.annotations[0].text for figure in figures)


def test_the_theme_reaches_every_figure(session: ExplorerSession) -> None:
    before = session.screen.accuracy._plot.shown.layout.font.color
    session.state.theme = "dark"
    assert session.screen.accuracy._plot.shown.layout.font.color != before
    assert session.screen.attention._plot.shown.layout.font.color == session.screen.accuracy._plot.shown.layout.font.color


def test_the_exported_file_holds_the_trace_on_show(session: ExplorerSession, tmp_path: Path) -> None:
    target = tmp_path / "trace.nc"
    target.write_bytes(session.export().read())
    stored = results.load_tree(target)["fast_weights"]["state"].values
    assert np.array_equal(stored, session.picture.tree["fast_weights"]["state"].values, equal_nan=True)


def test_the_app_is_built_without_a_server(workshop: Workshop) -> None:
    page = built(lambda: build_app(NAME, workshop=workshop))
    assert len(page.sidebar) == 2
    assert len(page.main) == 1
