"""The lab page without a browser: runs are started, stopped, gone on with, published; a page that only looks does none of it."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import panel as pn
import pytest

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.experiments.cell import cell_folder
from sleepkit.model import HybridLM
from sleepkit.training import Run
from sleepkit.training.live import LIVE
from sleepkit.ui import query
from sleepkit.ui.lab import build_lab, form
from sleepkit.ui.lab import publish as publishing
from sleepkit.ui.lab.desk import Desk
from sleepkit.ui.lab.launch import Launcher
from sleepkit.ui.lab.session import LabSession, first_choice
from sleepkit.ui.lab.state import URL_NAMES, LabState
from sleepkit.ui.lab.store import RunStore
from sleepkit.ui.lab.table import RunTable, duration
from tests.support.lab import finished_run, long_settings, stopped_run, wait_for_run
from tests.support.pages import built
from tests.support.runs import assert_same_run, tiny_settings


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """A launcher whose runs do not outlive the test."""
    launcher = Launcher(tmp_path)
    yield launcher
    for process in launcher._processes.values():
        process.kill()
        process.wait()


def session_over(root: Path, **options: Any) -> LabSession:
    return LabSession(LabState(), RunStore(root), Launcher(root, **options))


def look(session: LabSession) -> None:
    asyncio.run(session.look())


def select(session: LabSession, *keys: str) -> None:
    """Select runs inside an event loop, as the server does, and wait until all that follows is done."""

    async def select_and_wait() -> None:
        session.state.selected = list(keys)
        await asyncio.sleep(0.01)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others)

    asyncio.run(select_and_wait())


def rows(session: LabSession) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in session.table.rows}


def test_a_run_started_here_is_stopped_with_a_checkpoint_and_gone_on_with_to_the_same_bits(
    launcher: Launcher, tmp_path: Path
) -> None:
    settings, store = tiny_settings(name="tiny", steps=400, checkpoint_every=400), RunStore(tmp_path)
    key = launcher.start(settings)
    training = wait_for_run(store, key, lambda run: run.status == "training" and run.n_steps >= 3)
    assert os.getsid(training.pid or 0) == training.pid, "a session of its own, which no terminal ends"
    launcher.stop(training)
    stopped = wait_for_run(store, key, lambda run: run.status != "training")
    assert stopped.status == "stopped"
    assert 3 <= stopped.n_steps < 400
    assert (stopped.folder / f"checkpoint-{stopped.n_steps:08d}").exists()
    launcher._processes[key].wait()
    launcher.resume(stopped)
    finished = wait_for_run(store, key, lambda run: run.status == "finished")
    straight = finished_run(tmp_path / "straight", steps=400, checkpoint_every=400)
    assert_same_run(Run(HybridLM.load(finished.folder / "model"), finished.history, finished.folder, settings), straight)


def test_only_so_many_runs_train_at_a_time_and_a_dead_process_gives_its_seat_back(launcher: Launcher, tmp_path: Path) -> None:
    key = launcher.start(long_settings())
    with pytest.raises(InvalidInputError, match="must be at most 1 at a time"):
        launcher.start(long_settings(seed=1))
    with pytest.raises(InvalidInputError, match="must be at most 1 at a time"):
        Launcher(tmp_path).start(long_settings(seed=1))  # of another server over the same root
    assert not cell_folder(long_settings(seed=1), tmp_path).exists()
    running = wait_for_run(RunStore(tmp_path), key, lambda run: run.status == "training" and run.pid is not None)
    os.kill(running.pid or 0, signal.SIGKILL)
    launcher._processes[key].wait()
    assert wait_for_run(RunStore(tmp_path), key, lambda run: run.status == "interrupted").can_resume
    launcher.start(long_settings(seed=1))


def test_a_run_that_exists_is_not_started_and_one_that_stands_still_not_stopped(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    record = RunStore(tmp_path).scan().runs[0]
    for refused, words in (
        (lambda: Launcher(tmp_path).start(run.settings), "must be new"),
        (lambda: Launcher(tmp_path).resume(record), "must be unfinished"),
        (lambda: Launcher(tmp_path).stop(record), "must be training"),
        (lambda: Launcher(tmp_path, limit=0), "must be an integer >= 1"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            refused()


def test_a_page_that_only_looks_has_no_controls_and_refuses_what_they_would_do(tmp_path: Path) -> None:
    finished_run(tmp_path)
    stopped_run(tmp_path, after=3, seed=1)
    session = session_over(tmp_path, read_only=True)
    look(session)
    assert session.desk is None
    assert [row["actions"] for row in session.table.rows] == [[], []]
    before = sorted(tmp_path.rglob("*"))
    for action in ("stop", "resume", "publish"):
        for key in rows(session):
            session.act(action, key)
            assert "read_only" in session.refusal
    session.start_run(tiny_settings(seed=5))
    assert "read_only" in session.refusal
    assert sorted(tmp_path.rglob("*")) == before
    assert built(lambda: build_lab(tmp_path, read_only=True)).sidebar == []
    assert len(built(lambda: build_lab(tmp_path)).sidebar) == 2


def test_the_selected_runs_are_drawn_and_told_apart_by_more_than_colour(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished_run(tmp_path, seed=seed, validate_every=6, validation_examples=8)
    session = session_over(tmp_path)
    look(session)
    select(session, *(run.key for run in session.shelf.runs))
    panes = session.panes
    curves = panes.curves.plot.shown.data
    assert [line.name for line in curves] == ["tiny, seed 0", "tiny, seed 1"]
    assert len({line.line.dash for line in curves}) == len({line.line.color for line in curves}) == 2
    assert list(curves[0].y) == session.shelf.runs[0].history.loss.values.tolist()
    assert {"tiny, seed 0", "tiny, seed 1"} <= {line.name for line in panes.accuracy.plot.shown.data}
    assert "tiny, seed 1: N = 1 in" in panes.passes.summary
    assert "at step 12" in panes.curves.summary
    assert '<th scope="row" title="seed">seed</th>' in panes.settings.object
    assert panes.settings.object.count("<tr>") == 2, "the seed alone differs"


def test_what_is_new_on_the_disk_is_drawn_at_the_next_look(tmp_path: Path) -> None:
    stopped_run(tmp_path, after=3)
    session = session_over(tmp_path)
    look(session)
    key = session.shelf.runs[0].key
    select(session, key)
    figure = session.panes.curves.plot.shown
    look(session)
    assert session.panes.curves.plot.shown is figure, "nothing is new, nothing is drawn"
    finished_run(tmp_path)
    look(session)
    assert len(session.panes.curves.plot.shown.data[0].x) == 12
    assert rows(session)[key]["status"] == "finished"
    assert [action["name"] for action in rows(session)[key]["actions"]] == ["publish"]


def test_a_look_does_not_depend_on_which_runs_are_gone(tmp_path: Path) -> None:
    session = session_over(tmp_path)
    select(session, "gone")
    assert session.panes.curves.summary == "No run is checked in the list above."
    assert session.table.rows == []


def test_publishing_writes_a_card_that_the_zoo_loads_and_the_row_then_links_to_the_explorer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "N_EXAMPLES", 8)
    monkeypatch.setattr(publishing, "N_PASSES", (1, 2))
    run = finished_run(tmp_path)
    session = session_over(tmp_path)
    look(session)
    record = session.shelf.runs[0]
    asyncio.run(session.publish(record))
    published = session.shelf.runs[0].published
    assert published == run.folder / "published" / run.folder.name
    _, card = zoo.load(str(published))
    assert card.accuracy.n_passes.values.tolist() == [1, 2]
    assert card.summary == "tiny: 12 steps on rule110."
    (action,) = rows(session)[record.key]["actions"]
    assert action["href"].startswith("sleep?model=%2F")
    assert session.refusal == ""


def test_cancelled_publishing_writes_nothing(tmp_path: Path) -> None:
    finished_run(tmp_path)
    session = session_over(tmp_path)
    look(session)

    async def publish_and_cancel() -> None:
        task = asyncio.create_task(session.publish(session.shelf.runs[0]))
        while session._publishing is None:
            await asyncio.sleep(0.001)
        session.cancel()
        await task

    asyncio.run(publish_and_cancel())
    assert session.shelf.runs[0].published is None
    assert not (session.shelf.runs[0].folder / "published").exists()
    assert "not published, cancelled" in session._text


def test_a_field_that_is_written_and_left_at_once_is_checked() -> None:
    desk = Desk(LabState(), on_start=lambda _: None)
    desk.fields["steps"].param.update(value_input="7", value="7")  # how a browser that types fast sends it
    assert desk.made is not None
    assert desk.made.steps == 7


def test_the_form_is_checked_as_it_is_written_and_marks_the_field(tmp_path: Path) -> None:
    started: list[Any] = []
    desk = Desk(LabState(), on_start=started.append)
    assert desk.made == form.recipes()["fig2b, smoke"].settings()
    for name, text, words in (
        ("steps", "0", "steps: must be an integer &gt;= 1, got 0"),
        ("steps", "many", "steps: must be an integer, got &#x27;many&#x27;"),
        ("sleep.n_passes", "", "sleep.n_passes: must not be empty"),
        ("n_passes_weights", "[-1]", "n_passes_weights: must be"),
    ):
        good = desk.fields[name].value_input
        desk.fields[name].value_input = text
        assert words in desk._verdict.object
        assert desk.fields[name].error_state
        assert desk.button.disabled
        desk.fields[name].value_input = good
        assert not desk.fields[name].error_state
        assert not desk.button.disabled
    desk.fields["seed"].value_input = "7"
    desk.button.param.trigger("clicks")
    assert [(made.seed, made.task.options["seed"]) for made in started] == [(7, 7)]


@pytest.mark.parametrize("name", sorted(form.recipes()))
def test_every_recipe_fills_the_form_with_its_own_settings(name: str) -> None:
    recipe = form.recipes()[name]
    assert recipe.size != "paper"
    assert form.settings_of(recipe, form.values(recipe)) == recipe.settings()


def test_first_a_run_that_trains_is_drawn_and_its_like_beside_it(tmp_path: Path) -> None:
    finished_run(tmp_path, seed=1)
    finished_run(tmp_path, name="other")
    shelf = RunStore(tmp_path).scan()
    assert len(first_choice(shelf.runs)) == 2
    training = next(run for run in shelf.runs if run.settings.name == "tiny")
    with (training.folder / LIVE).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert first_choice(RunStore(tmp_path).scan().runs) == [training.key]


def test_an_address_out_of_bounds_is_refused_in_words(tmp_path: Path) -> None:
    session = session_over(tmp_path)
    session.visit("?value=colour")
    assert session.refusal == "address: must hold settings within their bounds, got value=colour"


def test_a_run_keeps_its_look_while_others_come_and_go() -> None:
    state = LabState(selected=["a", "b", "c"])
    assert state.slots() == {"a": 0, "b": 1, "c": 2}
    state.choose(["c", "b", "d"])
    assert state.slots() == {"b": 1, "c": 2, "d": 0}


def test_a_run_keeps_its_look_over_a_reload() -> None:
    before = LabState()
    before.choose(["a", "b", "c"])
    before.choose(["c", "b", "d"])
    after = LabState()
    after.param.update(query.read(query.write(before, URL_NAMES), after, URL_NAMES).values)
    assert after.slots() == before.slots() == {"c": 2, "b": 1, "d": 0}


@pytest.mark.parametrize("looks", [[], [0], [0, 0], [-1, 0], [10**9, 1], [1, 0, 5]])
def test_runs_whose_looks_an_address_does_not_tell_apart_are_told_apart(looks: list[int]) -> None:
    slots = LabState(selected=["a", "b"], looks=looks).slots()
    assert len(set(slots.values())) == 2
    assert min(slots.values()) >= 0
    assert max(slots.values()) < 10


def test_going_back_to_an_address_shows_what_it_names_and_the_rest_as_at_first(tmp_path: Path) -> None:
    session = session_over(tmp_path)
    session.state.param.update(value="accuracy", along="time", theme="dark")
    session.visit("?along=tokens")
    assert (session.state.value, session.state.along, session.state.theme) == ("loss", "tokens", "dark")


def test_times_are_spoken() -> None:
    assert [duration(value) for value in (None, 0.2, 99, 120, 5400, 7500)] == ["", "1 s", "99 s", "2 min", "90 min", "2 h 05 min"]


def test_the_page_is_built_without_a_server(tmp_path: Path) -> None:
    page = built(lambda: build_lab(tmp_path))
    assert isinstance(page, pn.viewable.Viewable)


STRANGE = [None, [], "stop", {}, {"action": "stop"}, {"key": "x"}, {"action": 1, "key": "x"}, {"action": "stop", "key": ["x"]}]


@pytest.mark.parametrize("message", STRANGE, ids=str)
def test_a_message_that_names_no_action_and_run_is_refused_in_one_line(message: object) -> None:
    asked: list[tuple[str, str]] = []
    table = RunTable(on_action=lambda action, key: asked.append((action, key)))
    with pytest.raises(InvalidInputError, match=r"^message: must name an action and the key of a run, got "):
        table._handle_msg(message)
    assert asked == []
