"""Garbage of a server: what a page leaves is freed, and what was loaded before is not looked through for it."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import panel as pn
import pytest
from panel.util.parameters import edit_readonly

from sleepkit.ui import upkeep
from sleepkit.ui.page import framed
from sleepkit.ui.upkeep import Upkeep
from tests.support.pages import built


@pytest.fixture(autouse=True)
def thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(upkeep, "_LATER_S", 0.01)
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


class Ring:
    def __init__(self) -> None:
        self.itself = self


def left_ring() -> "weakref.ref[Ring]":
    return weakref.ref(Ring())


def test_settling_takes_what_is_there_out_of_later_collections_once() -> None:
    kept = Ring()
    keeper = Upkeep()
    keeper.settle()
    n_frozen = gc.get_freeze_count()
    assert n_frozen > 10_000
    assert not any(each is kept for each in gc.get_objects())
    later = Ring()
    keeper.settle()
    assert any(each is later for each in gc.get_objects())


def test_what_a_page_leaves_is_freed_while_others_look_and_what_settled_stays() -> None:
    keeper = Upkeep()
    keeper.settle()
    n_frozen, ring = gc.get_freeze_count(), left_ring()

    async def leave() -> None:
        keeper.plan(lambda: True)
        keeper.plan(lambda: True)
        await asyncio.sleep(0.1)

    assert ring() is not None
    asyncio.run(leave())
    assert ring() is None
    assert gc.get_freeze_count() == n_frozen


def test_outside_an_event_loop_it_is_freed_at_once() -> None:
    ring = left_ring()
    Upkeep().plan(lambda: True)
    assert ring() is None


def test_with_nobody_there_even_what_had_settled_is_freed() -> None:
    ring, keeper = left_ring(), Upkeep()
    gc.freeze()

    async def leave() -> None:
        keeper.plan(lambda: False)
        await asyncio.sleep(0.5)

    gc.collect()
    assert ring() is not None, "frozen"
    asyncio.run(leave())
    assert ring() is None
    assert gc.get_freeze_count() > 10_000


def test_a_page_does_not_follow_the_work_of_others_and_can_be_freed() -> None:
    before = [watcher for kinds in pn.state.param.watchers.get("busy", {}).values() for watcher in kinds]
    page = built(lambda: framed("title", [pn.pane.HTML("text")]))
    with edit_readonly(pn.state):
        pn.state.busy = True
        assert not page.busy
        pn.state.busy = False
    after = [watcher for kinds in pn.state.param.watchers.get("busy", {}).values() for watcher in kinds]
    assert after == before
