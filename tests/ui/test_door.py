"""The way in: a frame at once, the dashboard in it as soon as it is loaded, and a reason if it cannot be."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.ui import door
from tests.support.pages import end_others

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    door._load.cache_clear()
    yield
    door._load.cache_clear()


def words(page: Any) -> str:
    return " ".join(str(part.object) for part in page.main[0] if hasattr(part, "object"))


async def opened(wanted: str, *, n_beside: int = 0) -> Any:
    """Open the dashboard and wait until its page says something, and has so many parts beside it."""
    page = door.open_app()
    assert "Opening the explorer" in words(page), "before anything is loaded"
    end = time.monotonic() + WAIT_S
    while not (wanted in words(page) and len(page.sidebar) == n_beside) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    await end_others()
    return page


def test_the_frame_is_there_at_once_and_fills() -> None:
    page = asyncio.run(opened("sk-finding", n_beside=2))
    assert "With N = 4 this model answers" in words(page)
    assert "Opening" not in words(page)
    assert len(page.sidebar) == 2


def test_others_are_answered_while_a_page_is_furnished() -> None:
    from sleepkit.ui import app

    seen = set[int]()

    async def look(page: Any) -> None:
        """Be served as often as the event loop is free, and see how much of the page is there."""
        while True:
            seen.add(len(page.select()))
            await asyncio.sleep(0)

    async def furnish() -> None:
        page = door.open_frame()
        other = asyncio.ensure_future(look(page))
        await app.furnish(page)
        other.cancel()
        await end_others()

    app.prepare()
    asyncio.run(furnish())
    assert len(seen) >= 10


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidInputError("model: must be whole, got <half>"), "model: must be whole, got &lt;half&gt;"),
        (OSError("/a/folder/of/the/server"), "an error, which the server&#x27;s log tells"),
    ],
)
def test_what_cannot_be_loaded_is_said_on_the_page(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepkit.ui import app

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(app, "furnish", refuse)
    page = asyncio.run(opened("cannot open"))
    assert f"The explorer cannot open: {said}<" in words(page)
    assert page.sidebar == []


def test_the_way_in_needs_nothing_of_the_dashboard() -> None:
    """Else a server that has just started would load it before it answers."""
    code = (
        "import sys, sleepkit.ui.door, sleepkit.ui.seats\n"
        "print(sorted({'pandas', 'xarray', 'plotly.graph_objs._figure', 'torch', 'sleepkit.ui.app'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_loaded_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepkit.ui import app

    prepared: list[str] = []
    monkeypatch.setattr(app, "prepare", lambda: prepared.append("once"))
    first, second = door._load(), door._load()
    assert first.result(timeout=WAIT_S) is second.result(timeout=WAIT_S) is app
    assert prepared == ["once"]


def test_who_leaves_early_does_not_end_the_loading_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from sleepkit.ui import app

    gate = threading.Event()
    monkeypatch.setattr(app, "prepare", gate.wait)

    async def leave() -> None:
        door.open_app()
        await asyncio.sleep(0.05)
        await end_others()

    asyncio.run(leave())
    gate.set()
    assert door._load().result(timeout=WAIT_S) is app


def test_nothing_is_loaded_while_the_script_of_the_page_runs() -> None:
    """Panel walks through what the script imported, and fails at a module that a thread imports and gives up meanwhile."""

    async def begin() -> tuple[int, int]:
        door.open_app()
        before = door._load.cache_info().currsize
        await asyncio.sleep(0)
        after = door._load.cache_info().currsize
        await end_others()
        return before, after

    assert asyncio.run(begin()) == (0, 1)


def test_what_runs_in_the_browser_is_known_before_a_frame_is_sent() -> None:
    """A browser is told of the components there are when it takes the frame; one that came later would leave the page empty."""
    script = """
        from panel.custom import JSComponent

        def components(parent):
            found = {each for each in parent.__subclasses__() if each.__module__.startswith("sleepkit.")}
            return found.union(*(components(each) for each in parent.__subclasses__()))

        from sleepkit.ui import door
        before = components(JSComponent)
        assert set(door.COMPONENTS) < before
        import sleepkit.ui.app
        assert components(JSComponent) == before, components(JSComponent) - before
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
