"""The dashboard in a real browser, served as a user serves it."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sleepkit.bench.browser import N_SLIDER, PASS_SLIDER, slider, visit, wait_until_full
from sleepkit.plots import palette

pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

pytestmark = pytest.mark.browser

WAIT_S = 60.0


class Visit:
    """One page and everything it complained about."""

    def __init__(self, tabs: BrowserContext, address: str) -> None:
        self.page: Page = tabs.new_page()
        self.page.set_viewport_size({"width": 1440, "height": 900})
        self.address = address
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._on_request)

    def go(self, query: str = "") -> Page:
        visit(self.page, self.address + query)
        wait_until_full(self.page)
        self.page.wait_for_timeout(500)  # what is typed while the controls slide in is lost
        return self.page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "localhost":
            self.elsewhere.append(request.url)


@pytest.fixture
def visitor(tabs: BrowserContext, address: str) -> Iterator[Visit]:
    visitor = Visit(tabs, address)
    yield visitor
    visitor.page.close()


def until(happened: Callable[[], Any], page: Page) -> Any:
    """Wait for a fact and return it."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        value = happened()
        if value:
            return value
        page.wait_for_timeout(50)
    raise AssertionError(f"did not happen within {WAIT_S} s; the page says {status(page)!r}")


def weights(page: Page) -> list[float]:
    """The numbers of the fast weights on show."""
    script = "plot => Array.from(plot.data[0].z).flatMap(row => Array.from(row)).filter(Number.isFinite)"
    numbers: list[float] = page.locator(".sk-fast-weights .js-plotly-plot").first.evaluate(script)
    return numbers


def answers(page: Page, n_passes: int) -> str:
    row = page.locator(f".sk-answers tr[data-n='{n_passes}']")
    return row.inner_text() if row.count() else ""


def status(page: Page) -> str:
    return page.locator(".sk-status").inner_text()


def press(page: Page, label: str, key: str) -> None:
    handle = slider(page, label)
    handle.focus()
    handle.press(key)


def write_window_len(page: Page, text: str) -> None:
    field = page.get_by_label("Window length (tokens)")
    field.fill(text)
    field.press("Enter")


def test_the_page_loads_with_all_panes_and_neither_complains_nor_asks_elsewhere(visitor: Visit) -> None:
    page = visitor.go()
    page.wait_for_timeout(1000)
    assert visitor.errors == []
    assert visitor.elsewhere == []
    assert re.match(r"With N = 4 this model answers depth-\d+ questions", page.locator(".sk-finding").inner_text())
    assert page.locator(".sk-fast-weights .sk-title").inner_text().startswith("Fast weights")
    assert len(weights(page)) > 100
    assert answers(page, 4)
    assert answers(page, 1)
    assert page.locator("[role=alert].sk-status").count() == 0


def test_all_of_it_is_above_the_fold(visitor: Visit) -> None:
    page = visitor.go()
    for name in ("fast-weights", "accuracy", "attention", "text"):
        box = page.locator(f".sk-{name}").first.bounding_box()
        assert box is not None
        assert box["height"] > 200
        assert box["x"] + box["width"] <= 1440
        assert box["y"] + box["height"] <= 900


def test_the_n_slider_changes_the_fast_weights_and_the_answers(visitor: Visit) -> None:
    page = visitor.go("?n_passes=4")
    before = weights(page)
    press(page, N_SLIDER, "ArrowLeft")
    assert until(lambda: answers(page, 3), page)
    assert until(lambda: weights(page) != before, page)
    assert not answers(page, 4)
    assert "n_passes=3" in until(lambda: page.evaluate("location.search"), page)
    assert visitor.errors == []


def test_scrubbing_through_the_passes_changes_the_fast_weights(visitor: Visit) -> None:
    page = visitor.go("?n_passes=3")
    before = weights(page)
    press(page, PASS_SLIDER, "ArrowLeft")
    assert until(lambda: weights(page) != before, page)
    until(lambda: "after pass 2 of 3" in page.locator(".sk-fast-weights .sk-title").inner_text(), page)


def test_the_address_sets_the_view(visitor: Visit) -> None:
    page = visitor.go("?n_passes=2&depth=5&window=1&sleep_pass=1")
    assert "window 1, after pass 1 of 2 (reading)" in page.locator(".sk-fast-weights .sk-title").inner_text()
    assert "5 steps of reasoning" in page.locator(".sk-text .sk-title").inner_text()
    assert answers(page, 2)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?n_passes=99", "n_passes=99"),
        ("?window_len=2", "window_len: must hold the label block of 4 tokens, got 2"),
        ("?sleep_pass=7&n_passes=3", "sleep_pass: must be in [0, 3] for window 0, got 7"),
        ("?model=nobody", "got 'nobody'"),
    ],
)
def test_a_bad_address_is_refused_in_words_and_a_good_picture_shown(visitor: Visit, query: str, words: str) -> None:
    page = visitor.go(query)
    alert = page.locator("[role=alert].sk-status")
    assert words in alert.inner_text()
    assert len(weights(page)) > 100


def test_a_bad_window_length_is_refused_and_the_app_stays_alive(visitor: Visit, server_log: Path) -> None:
    page = visitor.go()
    before = weights(page)
    write_window_len(page, "2")
    until(lambda: "must hold the label block of 4 tokens, got 2" in status(page), page)
    assert page.locator("[role=alert].sk-status").count() == 1
    assert weights(page) == before
    write_window_len(page, "many")
    until(lambda: "must be an integer, got 'many'" in status(page), page)
    write_window_len(page, "17")
    until(lambda: page.locator("[role=alert].sk-status").count() == 0, page)
    press(page, N_SLIDER, "ArrowLeft")
    assert until(lambda: answers(page, 3), page)
    assert visitor.errors == []
    assert "sleepkit/ui" not in server_log.read_text(), "a traceback through our code"


def test_settings_beyond_training_are_said_and_measured(visitor: Visit) -> None:
    page = visitor.go("?context=2&n_passes=2")
    assert "Beyond what it was trained on: 2 strings (trained on 4)" in status(page)
    until(lambda: "measured now" in status(page), page)
    names = page.locator(".sk-accuracy .js-plotly-plot").evaluate("plot => plot.data.map(line => line.name)")
    assert "N = 2, measured now" in names


def test_nothing_dresses_a_figure_but_its_builder(visitor: Visit) -> None:
    """The Material page writes colours, fonts and margins of its own into figures that Panel's own pane draws."""
    page = visitor.go("?n_passes=4")
    looks = page.locator(".js-plotly-plot").evaluate_all(
        """plots => plots.map(({layout}) =>
          [layout.colorway ?? null, layout.paper_bgcolor.replaceAll(' ', ''), layout.font.color])"""
    )
    assert len(looks) >= 6
    assert {tuple(look) for look in looks} == {(None, palette("light").ground, palette("light").text)}


def test_the_dark_theme_reaches_the_figures_and_outlives_the_next_update(visitor: Visit) -> None:
    page = visitor.go("?n_passes=4")
    colour = "plot => plot.layout.font.color"
    plot = page.locator(".sk-accuracy .js-plotly-plot")
    dark = palette("dark").text
    page.get_by_label("Toggle theme").click()
    until(lambda: plot.evaluate(colour) == dark, page)
    press(page, N_SLIDER, "ArrowLeft")
    assert until(lambda: answers(page, 3), page)
    assert plot.evaluate(colour) == dark
    assert plot.evaluate("plot => plot.layout.paper_bgcolor.replaceAll(' ', '')") == palette("dark").ground
