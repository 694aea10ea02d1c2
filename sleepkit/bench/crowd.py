"""Many sessions on one server: one of them in a browser and looked at, the others as busy, without a picture."""

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClosedError

from sleepkit.bench import browser
from sleepkit.bench.browser import PASS_SLIDER
from sleepkit.bench.measure import TROUBLE, Figures, bar, latencies, reason
from sleepkit.bench.stopwatch import Stopwatch
from sleepkit.bench.visitor import Visitor
from sleepkit.errors import require, require_count
from sleepkit.settings import Settings, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_MIB = 2**20
# How long the one visitor scrubs who comes before the crowd, so that everything is loaded when memory is first read.
_FIRST_SCRUB_S = 10.0
_SCRUBS = ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight", "ArrowRight")
# What the log of a server holds when something of ours, or of the server's, went wrong.
_IN_THE_LOG = ("ERROR", "CRITICAL")

# What ends a visitor's session: a finding of the measurement, not its end.
_LOST = (*TROUBLE, HTTPClientError, WebSocketClosedError, KeyError)


@settings
class CrowdSettings(Settings):
    """Settings of the sessions at once.

    Attributes:
        n_sessions: sessions, the one in a browser included.
        scrub_s: seconds for which all of them scrub.
        think_s: seconds that each looks at a picture before it moves on.
        leave_s: seconds after they left, for the server to notice and to clear up.
    """

    n_sessions: int = 20
    scrub_s: float = 60.0
    think_s: float = 2.0
    leave_s: float = 45.0

    def check(self) -> None:
        """Refuse a crowd of nobody."""
        require_count("n_sessions", self.n_sessions)
        for name in ("scrub_s", "think_s", "leave_s"):
            require(getattr(self, name) >= 0, name, "must be 0 or more", getattr(self, name))


class Crowd:
    """Visitors without a browser, in a thread of their own: they come one after another and scrub until told to stop.

    Args:
        address: of the dashboard.
        n_visitors: how many.
        think_s: seconds each looks before it moves on.
    """

    def __init__(self, address: str, n_visitors: int, think_s: float) -> None:
        self._address, self._n, self._think_s = address, n_visitors, think_s
        self.took_s: list[float] = []
        self.errors: list[str] = []
        self._here, self._start, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="crowd")

    def come(self) -> None:
        """Open all sessions and return when they are there."""
        self._thread.start()
        self._here.wait()

    def scrub(self) -> None:
        """Begin to scrub."""
        self._start.set()

    def leave(self) -> None:
        """Finish the scrub under way and close all sessions."""
        self._start.set()
        self._stop.set()
        self._thread.join()

    async def _all(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            visitors = []
            for number in range(self._n):
                try:
                    visitors.append(await stack.enter_async_context(Visitor(f"{self._address}?example={number + 1}")))
                except _LOST as error:
                    self.errors.append(f"session {number + 1}: {reason(error)}")
            self._here.set()
            await asyncio.to_thread(self._start.wait)
            await asyncio.gather(*(self._busy(number, visitor) for number, visitor in enumerate(visitors)))

    async def _busy(self, number: int, visitor: Visitor) -> None:
        await asyncio.sleep(self._think_s * number / max(1, self._n))  # not all on the same beat
        while not self._stop.is_set():
            try:
                self.took_s.append(await visitor.scrub_s())
            except _LOST as error:
                self.errors.append(f"session {number + 1}: {reason(error)}")
                return
            await asyncio.sleep(self._think_s)


def crowd(chrome: "Browser", given: CrowdSettings, *, progress: bool = False) -> Figures:
    """Let sessions scrub through the passes of their own examples at once, on a fresh ``panel serve``.

    ``drawn`` is what the one in the browser waits from its key to the painted picture, ``answered`` what the others wait until
    all of their picture has arrived. Memory is the resident set of the server's process: before the crowd, when one visitor had
    come, scrubbed and left; at its most while the crowd was there; and after it left, ``leave_s`` later, with no other help. Then
    a second crowd comes and goes: what it adds tells what is kept for ever from what an allocator keeps for the next.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "serve.log")
        with browser.served(log=log) as server:
            process = psutil.Process(server.pid)
            with _in_browser(chrome, server.address) as (page, _):
                _scrub(page, _FIRST_SCRUB_S, given.think_s)
            time.sleep(given.leave_s)
            before = process.memory_info().rss
            others = Crowd(server.address, given.n_sessions - 1, given.think_s)
            try:
                others.come()
                # The page is opened before the others scrub: what is measured is scrubbing, not opening under load.
                with _in_browser(chrome, server.address) as (page, complaints):
                    others.scrub()
                    drawn, lost = _scrub(page, given.scrub_s, given.think_s)
                    most = process.memory_info().rss
            finally:
                others.leave()
            _let_end(given.leave_s, progress)
            after = process.memory_info().rss
            again = Crowd(server.address, given.n_sessions, given.think_s)
            try:
                again.come()
                again.scrub()
                time.sleep(_FIRST_SCRUB_S)
            finally:
                again.leave()
            _let_end(given.leave_s, progress)
            after_again = process.memory_info().rss
        trouble = troubles(log.read_text())
    return {
        "n_sessions": given.n_sessions,
        "in_browser": 1,
        "drawn": latencies(drawn) if drawn else None,
        "answered": latencies(others.took_s) if others.took_s else None,
        "errors": [*lost, *complaints.errors, *others.errors, *again.errors, *trouble],
        "memory_MiB": {"before": round(before / _MIB), "with_all": round(most / _MIB), "after": round(after / _MIB)},
        "memory_growth_MiB": round((after - before) / _MIB, 1),
        "memory_growth_again_MiB": round((after_again - after) / _MIB, 1),
    }


def _let_end(leave_s: float, progress: bool) -> None:
    for _ in bar(range(round(leave_s)), description="sessions end", progress=progress):
        time.sleep(1.0)


def troubles(log: str) -> list[str]:
    """Return the lines of a server's log that tell of trouble; of a traceback the line it ends with, which says what."""
    found, inside = [], False
    for line in log.splitlines():
        if line.startswith("Traceback"):
            inside = True
        elif inside and line and not line[0].isspace():
            found.append(line)
            inside = False
        elif any(word in line for word in _IN_THE_LOG):
            found.append(line)
    return found


@contextlib.contextmanager
def _in_browser(chrome: "Browser", address: str) -> Iterator[tuple["Page", browser.Complaints]]:
    page, complaints = browser.open_page(chrome, address)
    browser.wait_until_full(page)
    page.wait_for_timeout(browser.AFTER_OPENING_MS)
    yield page, complaints
    page.close()


def _scrub(page: "Page", scrub_s: float, think_s: float) -> tuple[list[float], list[str]]:
    """Scrub for some seconds and return the seconds each picture took, and why the last one did not come, if so."""
    from playwright.sync_api import Error

    watch, took_s = Stopwatch(page), list[float]()
    end = time.perf_counter() + scrub_s
    while time.perf_counter() < end:
        watch.arm()
        browser.press(page, PASS_SLIDER, _SCRUBS[len(took_s) % len(_SCRUBS)])
        try:
            took_s.append(watch.read_s())
        except Error as error:
            return took_s, [reason(error)]
        page.wait_for_timeout(1000 * think_s)
    return took_s, []
