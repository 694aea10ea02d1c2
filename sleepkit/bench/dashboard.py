"""How long the dashboard takes: to the first full picture of a fresh server, and from a slider to the new picture.

Needs the test extra (playwright) and a Chromium of the system.
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepkit.errors import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM_VARIABLE = "SLEEPKIT_CHROMIUM"
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREEN = (1440, 900)
N_SLIDER, PASS_SLIDER = "Sleep passes N", "Pass looked at"
_ROOT = Path(__file__).resolve().parents[2]
_APP = Path("dashboards", "sleep.py")

_FULL = """plots => plots.length >= 4 &&
  plots.every(plot => plot.data && plot.data.length > 0 && plot.querySelector('.main-svg'))"""
# The picture is new when plotly has drawn and the numbers it drew are others than when the key went down.
_WATCH = """plot => {
  const add = row => Array.from(row).reduce((total, value) => total + (value || 0), 0)
  const sum = () => Array.from(plot.data[0].z).reduce((total, row) => total + add(row), 0)
  const clock = window.sleepkitClock = {pressed: 0, drawn: 0, sum: 0}
  const press = () => Object.assign(clock, {pressed: performance.now(), drawn: 0, sum: sum()})
  document.addEventListener('keydown', press, true)
  plot.on('plotly_afterplot', () => {
    if (clock.pressed && !clock.drawn && sum() !== clock.sum) { clock.drawn = performance.now() }
  })
}"""


def measure(*, repeats: int = 10) -> dict[str, Any]:
    """Measure first pictures of fresh servers and slider-to-picture times, medians and 95th percentiles in seconds.

    ``first_picture`` runs from the start of the server's process until a browser, which runs already, shows all panes.
    ``n_slider`` and ``scrub`` run from the key event until plotly has drawn the new fast weights;
    ``n_slider_computed`` is an example never traced before, ``n_slider_cached`` one that was.

    Raises:
        InvalidInputError: if there is no Chromium or fewer than one repeat.
    """
    require(repeats >= 1, "repeats", "must be 1 or more", repeats)
    times: dict[str, list[float]] = {"n_slider_computed": [], "n_slider_cached": [], "scrub": []}
    with chromium() as browser:
        first = [_first_picture(browser) for _ in range(repeats)]
        with serve() as address:
            for example in range(repeats):
                page = open_dashboard(browser, f"{address}?example={example}&n_passes=3")
                wait_until_full(page)
                _watch(page)
                times["n_slider_computed"].append(_press(page, N_SLIDER, "ArrowRight"))
                times["n_slider_cached"].append(_press(page, N_SLIDER, "ArrowLeft"))
                times["scrub"].append(_press(page, PASS_SLIDER, "ArrowLeft"))
                page.close()
    return {
        "repeats": repeats,
        "browser": browser.version,
        "screen": list(SCREEN),
        **{name: _summary(values) for name, values in {"first_picture": first, **times}.items()},
    }


def screenshot(path: Path, *, query: str = "", settle_s: float = 1.0) -> Path:
    """Write a PNG of the dashboard at 1440 x 900.

    Args:
        path: where the PNG goes.
        query: the view, as in the address, e.g. "?n_passes=4&window=1".
        settle_s: seconds between the first full picture and the shot, for animations to end.

    Raises:
        InvalidInputError: if there is no Chromium.
    """
    with chromium() as browser, serve() as address:
        page = open_dashboard(browser, address + query)
        wait_until_full(page)
        page.wait_for_timeout(1000 * settle_s)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path)
    return path


def chromium_path() -> str | None:
    """Return the Chromium to use: the environment's SLEEPKIT_CHROMIUM, else the system's; None if there is none."""
    return os.environ.get(CHROMIUM_VARIABLE) or shutil.which("chromium")


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """Run a headless Chromium that asks for nothing on the network by itself.

    Raises:
        InvalidInputError: if there is none.
    """
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    require(path is not None, "chromium", f"must be installed, or named by {CHROMIUM_VARIABLE}", path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def serve(log: Path | None = None) -> Iterator[str]:
    """Run ``panel serve dashboards/sleep.py`` on a free port and yield the address of the app; it may not answer yet.

    Raises:
        InvalidInputError: if this is no checkout with the dashboard.
    """
    require((_ROOT / _APP).exists(), "dashboard", "must be run from a checkout with dashboards/sleep.py", str(_ROOT))
    port = _free_port()
    command = [sys.executable, "-m", "panel", "serve", str(_APP), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    with open(log or os.devnull, "w") as output:
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield f"http://localhost:{port}/sleep"
        finally:
            process.terminate()
            process.wait(timeout=30)


def open_dashboard(browser: "Browser", address: str, *, timeout_s: float = 60.0) -> "Page":
    """Open the dashboard in a new page, waiting for the server to answer.

    Raises:
        playwright.sync_api.Error: if it does not answer in time.
    """
    page = browser.new_page(viewport={"width": SCREEN[0], "height": SCREEN[1]})
    visit(page, address, timeout_s=timeout_s)
    return page


def visit(page: "Page", address: str, *, timeout_s: float = 60.0) -> None:
    """Go to an address, waiting for the server to answer.

    Raises:
        playwright.sync_api.Error: if it does not answer in time.
    """
    end = time.perf_counter() + timeout_s
    while not _listens(address) and time.perf_counter() < end:
        time.sleep(0.02)
    page.goto(address, timeout=1000 * timeout_s)


def wait_until_full(page: "Page", *, timeout_s: float = 60.0) -> None:
    """Wait until every pane is drawn.

    Raises:
        TimeoutError: if one is still empty after ``timeout_s``.
    """
    end = time.perf_counter() + timeout_s
    while time.perf_counter() < end:
        if page.locator(".js-plotly-plot").evaluate_all(_FULL) and page.locator(".sk-answer").count():
            return
        page.wait_for_timeout(20)
    n_figures = page.locator(".js-plotly-plot").count()
    raise TimeoutError(f"dashboard: must be drawn within {timeout_s} s, got {n_figures} figures, some of them empty")


def slider(page: "Page", label: str) -> "Locator":
    """Return the input of the slider whose label begins with ``label``."""
    return page.locator(f"input[type=range][aria-label^='{label}']")


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the JSON, or write a screenshot."""
    from sleepkit.bench.report import run_suite

    parser = argparse.ArgumentParser(description="Measure the dashboard, or take its picture.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/dashboard.json"), metavar="FILE")
    parser.add_argument("--screenshot", type=Path, metavar="PNG", help="write a picture instead of measuring")
    parser.add_argument("--query", default="", help="the view of the picture, e.g. '?n_passes=4&window=1'")
    options = parser.parse_args(arguments)
    if options.screenshot is not None:
        print(screenshot(options.screenshot, query=options.query))
    else:
        print(run_suite("dashboard", options.json)["results"])


def _first_picture(browser: "Browser") -> float:
    began = time.perf_counter()
    with serve() as address:
        page = open_dashboard(browser, address)
        wait_until_full(page)
        took = time.perf_counter() - began
        page.close()
    return took


def _watch(page: "Page") -> None:
    page.locator(".sk-fast-weights .js-plotly-plot").first.evaluate(_WATCH)


def _press(page: "Page", label: str, key: str) -> float:
    """Press a key on a slider and return the seconds until the new fast weights are drawn."""
    handle = slider(page, label)
    handle.focus()
    handle.press(key)
    page.wait_for_function("window.sleepkitClock.drawn > 0", timeout=60_000)
    # The accuracy pane and the text follow; the next key waits for them.
    page.wait_for_timeout(500)
    return float(page.evaluate("window.sleepkitClock.drawn - window.sleepkitClock.pressed")) / 1000


def _summary(values: list[float]) -> dict[str, Any]:
    ordered = sorted(values)
    return {
        "median_s": round(statistics.median(ordered), 3),
        "p95_s": round(ordered[max(0, -(-95 * len(ordered) // 100) - 1)], 3),
        "all_s": [round(value, 3) for value in values],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _listens(address: str) -> bool:
    port = int(address.rpartition(":")[2].partition("/")[0])
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


if __name__ == "__main__":
    main()
