"""The controls follow the state, and run ahead of it where a visitor is faster than the server."""

import asyncio
import io
from collections.abc import Callable

import pytest

pytest.importorskip("panel_material_ui", reason="needs the extra 'workbench'")

from sleepkit.ui import choice
from sleepkit.ui.compute import shared_workshop
from sleepkit.ui.controls import Controls
from sleepkit.ui.opening import opening_now
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.status import StatusLine
from sleepkit.ui.subject import subject
from tests.support.pages import sent

ASKING = ["n_passes", "compare", "context", "example"]


async def nothing(*_: object) -> None:
    pass


@pytest.fixture
def state() -> ExplorerState:
    return ExplorerState()


@pytest.fixture
def typed() -> list[str]:
    return []


@pytest.fixture
def controls(state: ExplorerState, typed: list[str]) -> Controls:
    about = subject("rule110-explorer")
    state.adopt(about)
    status = StatusLine(state, on_cancel=lambda: None, on_measure=lambda: None)

    async def on_text(text: str) -> None:
        typed.append(text)

    return Controls(
        state, about, status, on_model=lambda _: None, on_text=on_text, on_edit=nothing, on_export=lambda: io.BytesIO()
    )


def in_a_loop(work: Callable[[], None], then_s: float = 0.0) -> None:
    """Do something as a server does, and let pass what follows."""

    async def run() -> None:
        work()
        await asyncio.sleep(then_s)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)

    asyncio.run(run())


@pytest.mark.parametrize("name", ASKING)
def test_a_slider_that_is_ahead_of_what_it_asked_for_is_not_set_back(name: str, controls: Controls, state: ExplorerState) -> None:
    slider = getattr(controls, f"_{name}")
    first = slider.start + 1

    def press() -> None:
        sent(slider, value=first + 1, value_throttled=first)  # two keys in one message, the second not yet asked for
        assert (getattr(state, name), slider.value) == (first, first + 1)
        sent(slider, value_throttled=first + 1)
        assert (getattr(state, name), slider.value) == (first + 1, first + 1)

    in_a_loop(press)
    assert (getattr(state, name), slider.value) == (first + 1, first + 1)


@pytest.mark.parametrize("name", ASKING)
def test_a_slider_follows_what_others_set(name: str, controls: Controls, state: ExplorerState) -> None:
    slider = getattr(controls, f"_{name}")

    def press() -> None:
        sent(slider, value=slider.start + 1, value_throttled=slider.start + 1)
        state.param.update(**{name: slider.start + 2})

    in_a_loop(press)
    assert slider.value == slider.start + 2
    assert getattr(state, name) == slider.start + 2


@pytest.mark.parametrize("name", ASKING)
def test_a_slider_that_comes_to_rest_asks_though_it_was_let_go_there_before(
    name: str, controls: Controls, state: ExplorerState
) -> None:
    """A browser tells of ``value_throttled`` only if it is another than the last time: not after Back."""
    slider = getattr(controls, f"_{name}")
    before, there = getattr(state, name), slider.start + 2

    def go_and_return() -> None:
        sent(slider, value=there, value_throttled=there)
        state.param.update(**{name: before})
        sent(slider, value=there)
        assert getattr(state, name) == before, "it may still be dragged"

    in_a_loop(go_and_return)
    assert getattr(state, name) == there


def test_what_is_asked_for_while_a_slider_is_dragged_is_where_it_rests(controls: Controls, state: ExplorerState) -> None:
    asked: list[int] = []
    state.param.watch(lambda event: asked.append(event.new), "example")

    def drag() -> None:
        for number in range(1, 6):
            sent(controls._example, value=number)

    in_a_loop(drag)
    assert asked == [5]


def test_a_slider_that_is_dragged_away_and_back_asks_for_nothing(controls: Controls, state: ExplorerState) -> None:
    before = state.example

    def drag() -> None:
        sent(controls._example, value=before + 3)
        sent(controls._example, value=before)

    in_a_loop(drag)
    assert (state.example, controls._example.value) == (before, before)


@pytest.mark.parametrize("name", ["window", "pass"])
def test_what_a_browser_repeats_is_put_right(
    name: str, controls: Controls, state: ExplorerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_LAG_S", 1e9)
    controls.fit(opening_now(state, shared_workshop()).picture)
    slider = getattr(controls, f"_{name}")

    def go_and_return() -> None:
        for number in (3, 2):  # as of two entries of the history
            state.param.update(window=number, sleep_pass=number)
            controls.follow()
        sent(slider, value=3)
        assert (state.window, state.sleep_pass, slider.value) == (2, 2, 2)
        sent(slider, value=1)
        assert slider.value == 1, "nobody gave it that"
        sent(slider, value=3, value_throttled=3)
        controls.follow()
        assert slider.value == 3, "a visitor let it go there"

    in_a_loop(go_and_return)


def test_what_comes_later_is_a_choice(controls: Controls, state: ExplorerState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_LAG_S", 0.0)
    controls.fit(opening_now(state, shared_workshop()).picture)

    def go_and_choose() -> None:
        for number in (3, 2):
            state.param.update(window=number, sleep_pass=number)
            controls.follow()
        sent(controls._pass, value=3)

    in_a_loop(go_and_choose)
    assert state.sleep_pass == 3


def test_a_text_that_a_browser_repeats_is_not_read(
    controls: Controls, state: ExplorerState, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_LAG_S", 1e9)

    def go_and_return() -> None:
        state.text = "one"
        state.text = "another"
        sent(controls.text, value_input="one")

    in_a_loop(go_and_return)
    assert controls.text.value_input == "another"
    assert "one" not in typed[2:]
