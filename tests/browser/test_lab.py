"""The lab page in a real browser, served as a user serves it: a run from its start to its end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sleepkit.bench.browser import AFTER_OPENING_MS, NARROW, free_port, visit
from sleepkit.plots import palette
from sleepkit.ui.lab.store import RunStore
from tests.support.lab import finished_run, stopped_run

pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request

pytestmark = pytest.mark.browser

WAIT_S = 240.0
REPOSITORY = Path(__file__).parents[2]
FIGURES = ("curves", "held-out", "speed", "passes")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two finished runs and a folder that is none."""
    root = tmp_path_factory.mktemp("lab") / "runs"
    for seed in (0, 1):
        finished_run(root, seed=seed, validate_every=6, validation_examples=8)
    (root / "notes").mkdir()
    return root


@pytest.fixture(scope="module")
def lab(tabs: BrowserContext, root: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "panel", "serve", "dashboards/runs.py", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SLEEPKIT_RUNS": str(root), "OMP_NUM_THREADS": "1"}
    with (root.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT)
        yield f"http://localhost:{port}/runs"
        process.terminate()
        process.wait(timeout=30)
    for run in RunStore(root).scan().runs:  # they outlive the server
        if run.pid is not None:
            os.kill(run.pid, signal.SIGKILL)


class Visit:
    """One page and everything it complained about."""

    def __init__(self, tabs: BrowserContext, address: str, width: int = 1440, height: int = 900) -> None:
        self.page: Page = tabs.new_page()
        self.page.set_viewport_size({"width": width, "height": height})
        self.complaints: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)
        visit(self.page, address)
        until(lambda: self.page.locator(".sk-runs tbody tr").count() >= 3, self.page)
        until(lambda: all(lines(self.page, name) for name in FIGURES), self.page)
        if width >= NARROW:
            self.page.get_by_role("textbox", name="Steps", exact=True).wait_for()
            self.page.wait_for_timeout(AFTER_OPENING_MS)  # what is typed while the controls slide in is lost

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "localhost":
            self.complaints.append(f"asked for {request.url}")


@pytest.fixture
def visitor(tabs: BrowserContext, lab: str) -> Iterator[Visit]:
    visitor = Visit(tabs, lab)
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
    words = page.locator(".sk-runs tbody").all_inner_texts(), page.locator(".sk-status").all_inner_texts()
    raise AssertionError(f"did not happen within {WAIT_S} s; the page says {words}")


def lines(page: Page, name: str) -> list[dict[str, Any]]:
    """Name, length and dash of every line of a figure that is drawn."""
    script = """plots => plots.flatMap(plot => (plot.querySelector('.main-svg') && plot.data || []).map(
      line => ({name: line.name, n: line.x ? line.x.length : 0, dash: line.line && line.line.dash})))"""
    drawn: list[dict[str, Any]] = page.locator(f".sk-{name} .js-plotly-plot").evaluate_all(script)
    return drawn


def row(page: Page, label: str) -> Locator:
    return page.locator(".sk-runs tbody tr").filter(has=page.locator("th", has_text=re.compile(label)))


def status(page: Page) -> str:
    return page.locator(".sk-status").first.inner_text()


def write(page: Page, label: str, text: str) -> None:
    field = page.get_by_role("textbox", name=label, exact=True)
    field.fill(text)
    field.press("Tab")


def test_a_run_is_started_seen_to_train_stopped_gone_on_with_and_finished(visitor: Visit, root: Path) -> None:
    page = visitor.page
    write(page, "Steps", "1000")
    write(page, "Checkpoint every (steps)", "1000")
    write(page, "Seed", "11")
    until(lambda: page.get_by_text("1,000 steps, ").count(), page)
    page.get_by_role("button", name="Start", exact=True).click()
    run = row(page, "^fig2b-smoke")
    until(lambda: "training" in (run.inner_text() if run.count() else ""), page)
    until(lambda: any(line["name"] == "fig2b-smoke" and line["n"] >= 2 for line in lines(page, "curves")), page)
    n_before = next(line["n"] for line in lines(page, "curves") if line["name"] == "fig2b-smoke")
    until(lambda: any(line["name"] == "fig2b-smoke" and line["n"] > n_before for line in lines(page, "curves")), page)

    page.get_by_role("button", name="Start", exact=True).click()  # the same again
    until(lambda: "run: must be new" in status(page), page)
    write(page, "Seed", "12")
    page.get_by_role("button", name="Start", exact=True).click()  # one more than may train
    until(lambda: "must be at most 1 at a time" in status(page), page)

    stop = page.get_by_role("button", name=re.compile("^Stop: fig2b-smoke"))
    stop.focus()
    stop.press("Enter")
    until(lambda: "stopped" in run.inner_text(), page)
    stopped = next(each for each in RunStore(root).scan().runs if each.settings.seed == 11)
    assert 0 < stopped.n_steps < 1000
    assert list(stopped.folder.glob(f"checkpoint-{stopped.n_steps:08d}"))

    page.get_by_role("button", name=re.compile("^Resume: fig2b-smoke")).click()
    until(lambda: "training" in run.inner_text(), page)
    until(lambda: "finished" in run.inner_text(), page)
    assert "1,000 of 1,000" in run.inner_text()
    assert visitor.complaints == []


def test_checked_runs_are_drawn_and_their_settings_compared(visitor: Visit) -> None:
    page = visitor.page
    for label in ("tiny, seed 0", "tiny, seed 1"):
        page.get_by_label(label, exact=True).check()
    until(lambda: {"tiny, seed 0", "tiny, seed 1"} <= {line["name"] for line in lines(page, "curves")}, page)
    drawn = lines(page, "curves")
    assert len({line["dash"] for line in drawn}) == len(drawn), "colour is not the only difference"
    page.get_by_label("tiny, seed 0", exact=True).press("Space")
    until(lambda: "tiny, seed 0" not in {line["name"] for line in lines(page, "curves")}, page)
    page.get_by_label("tiny, seed 0", exact=True).press("Space")
    newest = row(page, "^fig2b-smoke").locator("input:checked")  # of the test before, checked when the page opens
    for _ in range(newest.count()):
        newest.uncheck()
    until(lambda: page.locator(".sk-differing tr").count() == 2, page)  # the head and the one setting they differ in
    assert "seed" in page.locator(".sk-differing tr").nth(1).inner_text()
    assert "selected" in page.evaluate("location.search")
    assert "accuracy by reasoning depth" in page.locator(".sk-held-out .sk-summary").inner_text().lower()
    assert visitor.complaints == []


def test_a_folder_that_is_no_run_is_listed_with_the_reason(visitor: Visit) -> None:
    text = row(visitor.page, "^notes").inner_text()
    assert "must hold the settings.json of a training run, got []" in text


def test_a_bad_setting_is_refused_while_it_is_written(visitor: Visit) -> None:
    page = visitor.page
    field = page.get_by_label("Batch (examples)")
    field.fill("")
    field.press_sequentially("0")
    until(lambda: "batch_size: must be an integer >= 1, got 0" in page.locator("[role=alert]").inner_text(), page)
    assert page.get_by_role("button", name="Start", exact=True).is_disabled()
    field.press("Backspace")
    field.press_sequentially("8")
    until(lambda: page.locator("[role=alert]").count() == 0, page)
    assert page.get_by_role("button", name="Start", exact=True).is_enabled()


def test_a_finished_run_is_published_and_then_opens_in_the_explorer(visitor: Visit, root: Path) -> None:
    page = visitor.page
    page.get_by_role("button", name="Publish: tiny, seed 1").click()
    link = page.get_by_role("link", name="Open: tiny, seed 1")
    until(link.count, page)
    run = next(each for each in RunStore(root).scan().runs if each.settings.seed == 1)
    assert run.published is not None
    assert (run.published / "card.json").exists()
    assert (link.get_attribute("href") or "").startswith("sleep?model=")
    assert visitor.complaints == []


def test_every_pane_is_above_the_fold_and_fits_a_phone(tabs: BrowserContext, lab: str) -> None:
    wide = Visit(tabs, lab).page
    for name in (*FIGURES, "runs", "compared"):
        box = wide.locator(f".sk-{name}").first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 1440
        assert box["y"] + box["height"] <= 900
    wide.close()
    narrow = Visit(tabs, lab, 390, 844).page
    for name in (*FIGURES, "runs", "compared"):
        box = narrow.locator(f".sk-{name}").first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
    narrow.close()


def test_the_dark_theme_reaches_figures_and_table_and_outlives_the_next_update(visitor: Visit) -> None:
    page = visitor.page
    page.get_by_label("Toggle theme").click()
    plot = page.locator(".sk-curves .js-plotly-plot")
    until(lambda: plot.evaluate("plot => plot.layout.font.color") == palette("dark").text, page)
    page.get_by_label("tiny, seed 0", exact=True).check()
    until(lambda: "tiny, seed 0" in {line["name"] for line in lines(page, "curves")}, page)
    assert plot.evaluate("plot => plot.layout.font.color") == palette("dark").text
    ink = page.locator(".sk-runs tbody th").first.evaluate("cell => getComputedStyle(cell).color")
    assert ink == "rgb(229, 231, 235)"


def test_a_run_that_another_process_trains_comes_into_the_list_by_itself(visitor: Visit, root: Path) -> None:
    stopped_run(root, after=3, name="elsewhere")
    until(lambda: "stopped" in "".join(row(visitor.page, "^elsewhere").all_inner_texts()), visitor.page)
