"""A session of the dashboard without a server: what is shown follows the state; bad input leaves the picture."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sleepkit import results, zoo
from sleepkit.ui import build_app, compute
from sleepkit.ui.compute import Workshop
from sleepkit.ui.session import ExplorerSession
from sleepkit.ui.state import ExplorerState

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
    state.adopt(zoo.load_card(NAME))
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
    return np.asarray(session.fast_weights._mosaic.object.data[0].z)


def test_all_panes_are_drawn_from_one_trace(session: ExplorerSession) -> None:
    assert mosaic(session).size > 0
    assert len(session.fast_weights._change.object.data) == session.picture.n_windows
    assert session.accuracy._plot.object.data
    assert session.attention._plot.object.data
    assert session.text._body.object.count("sk-answer") >= 2 * 4
    assert "N = 1, no sleep" in session.text._body.object
    assert session.status.refusal is None


def test_another_n_changes_the_picture_and_the_answers(session: ExplorerSession) -> None:
    before, text = mosaic(session), session.text._body.object
    change(session, n_passes=2)
    assert session.picture.request.n_passes == 2
    assert not np.array_equal(mosaic(session), before, equal_nan=True)
    assert session.text._body.object != text
    assert 'data-n="2"' in session.text._body.object


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
    for moment in range(session.fast_weights.player.end + 1):
        session.fast_weights.player.value = moment
        places.append((session.state.window, session.picture.pass_shown(session.state)))
    assert places == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1)]


def test_before_reading_there_is_no_attention_and_the_pane_says_so(session: ExplorerSession) -> None:
    change(session, sleep_pass=0)
    figure = session.attention._plot.object
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


def test_a_window_length_that_is_no_number_is_refused_and_never_reaches_the_state(session: ExplorerSession) -> None:
    session.controls._window_len.value = "many"
    assert session.status.refusal == "window_len: must be an integer, got 'many'"
    assert session.state.window_len == 17


def test_beyond_training_is_said_and_measured(session: ExplorerSession) -> None:
    change(session, n_strings=2)
    shown = session.status._alert.object
    assert "Beyond what it was trained on: 2 strings (trained on 4)" in shown
    assert "sk-warning" in shown
    assert session.picture.measured is not None
    assert int(session.picture.measured.n_examples.max()) == 32
    names = [line.name for line in session.accuracy._plot.object.data]
    assert "N = 4, measured now" in names
    assert "you are here" in names


def test_the_cards_own_settings_are_not_measured_again(session: ExplorerSession) -> None:
    change(session, n_passes=1)
    assert session.picture.measured is None
    assert not session.picture.waiting


def test_a_place_that_a_new_picture_lacks_falls_back_to_the_first_window(session: ExplorerSession) -> None:
    change(session, window=4)
    change(session, n_strings=1)
    assert session.state.window == 0


def test_the_theme_reaches_every_figure(session: ExplorerSession) -> None:
    before = session.accuracy._plot.object.layout.font.color
    session.state.theme = "dark"
    assert session.accuracy._plot.object.layout.font.color != before
    assert session.attention._plot.object.layout.font.color == session.accuracy._plot.object.layout.font.color


def test_the_exported_file_holds_the_trace_on_show(session: ExplorerSession, tmp_path: Path) -> None:
    target = tmp_path / "trace.nc"
    target.write_bytes(session.export().read())
    stored = results.load_tree(target)["fast_weights"]["state"].values
    assert np.array_equal(stored, session.picture.tree["fast_weights"]["state"].values, equal_nan=True)


def test_the_app_is_built_without_a_server(workshop: Workshop) -> None:
    page = build_app(NAME, workshop=workshop)
    assert len(page.sidebar) == 1
    assert len(page.main) == 1
