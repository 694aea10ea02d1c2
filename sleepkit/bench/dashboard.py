"""The suite ``dashboard``: a browser looks at the pages as a user serves them, on a desk and on a phone.

Needs the test extra (playwright, axe-core) and a Chromium of the system.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sleepkit.bench import browser, measure, stock
from sleepkit.bench.browser import CONTEXT_SLIDER, DESKTOP, HEAD_SELECT, LAYER_SELECT, N_SLIDER, PASS_SLIDER, PHONE
from sleepkit.bench.crowd import CrowdSettings, crowd
from sleepkit.bench.measure import Figures, latencies
from sleepkit.bench.stopwatch import Stopwatch
from sleepkit.errors import require, require_count
from sleepkit.settings import Settings, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENS = {"desktop": DESKTOP, "phone": PHONE}
MODELS = ("rule110-explorer", "depo-explorer")
KINDS = ("pass", "head", "layer", "n_passes", "context")
# N and context rise from here, each step a trace nobody has computed, up to four on a page.
_FIRST_N, _STEPS = 2, 4
_HEADS = ("0", "1", "2", "all")
_VIEWS = {
    "light": (DESKTOP, ""),
    "dark": (DESKTOP, "?theme=dark"),
    "side by side": (DESKTOP, "?tab=side+by+side"),
    "phone": (PHONE, ""),
}


@settings
class DashboardSettings(Settings):
    """Settings of the suite ``dashboard``.

    Attributes:
        cold_starts: fresh servers on each screen.
        pages: pages opened for each model on each screen; each is given four events of every kind.
        rest_s: seconds between two events.
        crowd: the sessions at once.
    """

    cold_starts: int = 3
    pages: int = 2
    rest_s: float = 0.2
    crowd: CrowdSettings = CrowdSettings()

    def check(self) -> None:
        """Refuse a measurement of nothing."""
        for name in ("cold_starts", "pages"):
            require_count(name, getattr(self, name))
        require(self.rest_s >= 0, "rest_s", "must be 0 or more", self.rest_s)


class Journal:
    """What all pages of the suite complained about, and the seconds of every event by screen and kind."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.seconds: dict[str, dict[str, list[float]]] = {screen: {kind: [] for kind in KINDS} for screen in SCREENS}

    def hear(self, complaints: browser.Complaints) -> None:
        """Take over the complaints of a page that is left."""
        self.errors += complaints.errors
        self.elsewhere += complaints.elsewhere

    def times(self) -> dict[str, Figures]:
        """Return the seconds of each kind of event by screen."""
        return {screen: {kind: latencies(values) for kind, values in found.items()} for screen, found in self.seconds.items()}


def run(given: DashboardSettings, *, progress: bool = False) -> Figures:
    """Measure all of it.

    ``cold`` runs from the start of the server's process until a browser, which runs already, shows all panes. ``events`` run
    from the key or click until the last figure that belongs to it is painted, see ``stopwatch``; the layer is changed on a
    model with two, which the zoo has not.

    Raises:
        InvalidInputError: if there is no Chromium.
    """
    journal = Journal()
    with tempfile.TemporaryDirectory() as scratch, browser.chromium() as chrome:
        deep = stock.deep_model(Path(scratch))
        cold: dict[str, list[float]] = {screen: [] for screen in SCREENS}
        for screen in measure.bar(list(SCREENS) * given.cold_starts, description="cold starts", progress=progress):
            cold[screen].append(_cold(chrome, SCREENS[screen], journal))
        with browser.served() as server:
            looked_at = {view: _look(chrome, server.address, size, query, journal) for view, (size, query) in _VIEWS.items()}
            rounds = [(screen, model, number) for screen in SCREENS for model in MODELS for number in range(given.pages)]
            for screen, model, number in measure.bar(rounds, description="events", progress=progress):
                # Another example on every page: none was traced before.
                example = number + given.pages * list(SCREENS).index(screen)
                query = f"?model={model}&n_passes={_FIRST_N}&example={example + 1}"
                _scrub_and_ask(chrome, server.address + query, screen, given.rest_s, journal)
            for screen, number in [(screen, number) for screen in SCREENS for number in range(given.pages)]:
                _scrub_layers(chrome, f"{server.address}?model={deep}&example={number}", screen, given.rest_s, journal)
        at_once = crowd(chrome, given.crowd, progress=progress)
        version = chrome.version
    return {
        "browser": version,
        "screens": {name: list(size) for name, size in SCREENS.items()},
        "models": list(MODELS),
        "cold": {screen: latencies(values) for screen, values in cold.items()},
        "events": journal.times(),
        "crowd": at_once,
        "requests_elsewhere": sorted(set(journal.elsewhere)),
        "console_errors": journal.errors,
        "axe": {view: found["axe"] for view, found in looked_at.items()},
        "second_row_ends_at": looked_at["light"]["second_row_ends_at"],
    }


def _cold(chrome: "Browser", size: tuple[int, int], journal: Journal) -> float:
    began = time.perf_counter()
    with browser.served() as server:
        page, complaints = browser.open_page(chrome, server.address, screen=size)
        browser.wait_until_full(page)
        took = time.perf_counter() - began
        journal.hear(complaints)
        page.close()
    return took


def _look(chrome: "Browser", address: str, size: tuple[int, int], query: str, journal: Journal) -> Figures:
    """Open a view, and return what axe-core finds and, in pixels, where the second row of panes ends."""
    page, complaints = browser.open_page(chrome, address + query, screen=size)
    browser.wait_until_full(page)
    page.wait_for_timeout(1000)
    found = {"axe": browser.violations(page), "second_row_ends_at": second_row_ends_at(page) if not query else None}
    journal.hear(complaints)
    page.close()
    return found


def second_row_ends_at(page: "Page") -> float:
    """Return where the second row of panes ends, pixels from the top of the page.

    Raises:
        InvalidInputError: if a pane of it is not to be seen.
    """
    ends = []
    for name in browser.SECOND_ROW:
        box = page.locator(f".sk-{name}").first.bounding_box()
        require(box is not None, name, "must be on the page", page.url)
        assert box is not None
        ends.append(box["y"] + box["height"])
    return max(ends)


@contextlib.contextmanager
def _watched(chrome: "Browser", address: str, screen: str, journal: Journal) -> Iterator[tuple["Page", Stopwatch]]:
    """Open the dashboard, with its controls, on a screen and put a stopwatch on it."""
    page, complaints = browser.open_page(chrome, address, screen=SCREENS[screen])
    browser.wait_until_full(page)
    browser.open_controls(page)
    page.wait_for_timeout(browser.AFTER_OPENING_MS)
    yield page, Stopwatch(page)
    journal.hear(complaints)
    page.close()


def _scrub_and_ask(chrome: "Browser", address: str, screen: str, rest_s: float, journal: Journal) -> None:
    """Scrub through passes and heads, then ask for N and contexts that nobody has asked for on this example."""
    times = journal.seconds[screen]
    with _watched(chrome, address, screen, journal) as (page, watch):
        for key, head in zip(("ArrowLeft", "ArrowRight") * (_STEPS // 2), _HEADS, strict=True):
            times["pass"].append(_pressed(page, watch, PASS_SLIDER, key, rest_s))
            times["head"].append(_chosen(page, watch, HEAD_SELECT, head, rest_s))
        for kind, label in (("n_passes", N_SLIDER), ("context", CONTEXT_SLIDER)):
            times[kind] += [_pressed(page, watch, label, "ArrowRight", rest_s) for _ in range(_STEPS)]


def _scrub_layers(chrome: "Browser", address: str, screen: str, rest_s: float, journal: Journal) -> None:
    with _watched(chrome, address, screen, journal) as (page, watch):
        layers = stock.DEEP_FAST_LAYERS[::-1] * (_STEPS // 2)
        journal.seconds[screen]["layer"] += [_chosen(page, watch, LAYER_SELECT, layer, rest_s) for layer in layers]


def _pressed(page: "Page", watch: Stopwatch, label: str, key: str, rest_s: float) -> float:
    watch.arm()
    browser.press(page, label, key)
    took = watch.read_s()
    page.wait_for_timeout(1000 * rest_s)
    return took


def _chosen(page: "Page", watch: Stopwatch, label: str, option: str, rest_s: float) -> float:
    browser.choose(page, label, option, before=watch.arm)
    took = watch.read_s()
    page.wait_for_timeout(1000 * rest_s)
    return took
