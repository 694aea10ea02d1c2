"""Garbage of a server: what a page leaves is freed, and what was loaded before is not looked through for it."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any

import panel as pn
import pytest
from panel.io.server import get_server
from panel.util.parameters import edit_readonly
from tornado.ioloop import IOLoop

from sleepkit.bench.browser import free_port
from sleepkit.bench.visitor import Visitor
from sleepkit.ui import app, upkeep
from sleepkit.ui.door import open_app
from sleepkit.ui.page import framed
from sleepkit.ui.seats import seated
from sleepkit.ui.session import ExplorerSession
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
    assert gc.get_freeze_count() > 0.9 * n_frozen, "what nobody refers to goes without a collection"


def test_a_loop_that_ended_too_early_does_not_keep_the_next_one_from_tidying() -> None:
    keeper = Upkeep()

    async def plan(wait_s: float) -> None:
        keeper.plan(lambda: True)
        await asyncio.sleep(wait_s)

    asyncio.run(plan(0.0))
    ring = left_ring()
    asyncio.run(plan(0.1))
    assert ring() is None


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


def test_a_page_does_not_follow_the_work_of_others() -> None:
    before = [watcher for kinds in pn.state.param.watchers.get("busy", {}).values() for watcher in kinds]
    page = built(lambda: framed("title", [pn.pane.HTML("text")]))
    with edit_readonly(pn.state):
        pn.state.busy = True
        assert not page.busy
        pn.state.busy = False
    after = [watcher for kinds in pn.state.param.watchers.get("busy", {}).values() for watcher in kinds]
    assert after == before


def test_a_server_forgets_visitors_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = weakref.WeakSet[ExplorerSession]()

    class Known(ExplorerSession):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            sessions.add(self)

    monkeypatch.setattr(app, "ExplorerSession", Known)

    async def come_and_go() -> tuple[int, int]:
        port = free_port()
        options = {"unused_session_lifetime_milliseconds": 5000, "check_unused_sessions_milliseconds": 100}
        pages = {"sleep": seated(open_app)}
        server = get_server(pages, port=port, show=False, start=False, loop=IOLoop.current(), **options)
        server.start()
        visitors = [Visitor(f"http://localhost:{port}/sleep?example={number}") for number in (1, 2)]
        for visitor in visitors:
            await visitor.__aenter__()
            await visitor.scrub_s()
        n_there = len(sessions)
        for visitor in visitors:
            await visitor.__aexit__(None, None, None)
        end = time.monotonic() + 60.0
        while len(sessions) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        server.stop()
        return n_there, len(sessions)

    assert asyncio.run(come_and_go()) == (2, 0)
