"""The pictures of the documents, taken in a headless Chromium; ``sleepkit bench screenshots`` takes all of them anew."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from sleepkit.bench import browser, stock
from sleepkit.bench.browser import DESKTOP, PHONE
from sleepkit.bench.measure import ROOT
from sleepkit.errors import require
from sleepkit.files import whole_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = ROOT / "docs" / "images"
MAX_BYTES = 250_000
_COLOURS = 256
# Rounds of k-means after the median cut, which alone leaves steps in the colour bars.
_ROUNDS = 3
# Animations of the page end within this time.
_SETTLE_MS = 2000


class View(NamedTuple):
    """A picture of the dashboard: the screen in pixels, and the view as the address has it."""

    screen: tuple[int, int]
    query: str


VIEWS = {
    "dashboard": View(DESKTOP, "?n_passes=4&window=1&sleep_pass=3"),
    "dashboard-dark": View(DESKTOP, "?n_passes=4&window=1&sleep_pass=3&theme=dark"),
    "dashboard-compare": View(DESKTOP, "?n_passes=4&compare=1&tab=side+by+side"),
    "dashboard-phone": View(PHONE, "?n_passes=4"),
}
LAB = "runs"
_RUNS_DRAWN = ("curves", "held-out", "speed", "passes")


def take_all(folder: Path = FOLDER) -> list[Path]:
    """Take every picture into a folder and return the files; the lab page shows runs that are trained for it.

    Raises:
        InvalidInputError: if there is no Chromium, or a picture is larger than ``MAX_BYTES``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with browser.chromium() as chrome:
        with browser.served() as server:
            taken = [
                take(
                    chrome, server.address + view.query, folder / f"{name}.png", screen=view.screen, ready=browser.wait_until_full
                )
                for name, view in VIEWS.items()
            ]
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch, "runs")
            stock.small_runs(root)
            with browser.served(browser.RUNS, environment={"SLEEPKIT_RUNS": str(root)}) as server:
                taken.append(take(chrome, server.address, folder / f"{LAB}.png", screen=DESKTOP, ready=_runs_drawn))
    return taken


def take(chrome: "Browser", address: str, path: Path, *, screen: tuple[int, int], ready: Callable[["Page"], None]) -> Path:
    """Take one picture and write it as a PNG of at most 256 colours.

    Args:
        chrome: the browser.
        address: of the page.
        path: where it goes.
        screen: width and height, pixels.
        ready: waits until the page is drawn.

    Raises:
        InvalidInputError: if it is larger than ``MAX_BYTES``.
    """
    page, _ = browser.open_page(chrome, address, screen=screen)
    ready(page)
    page.wait_for_timeout(_SETTLE_MS)
    page.screenshot(path=path)
    page.close()
    compress(path)
    size = path.stat().st_size
    require(size <= MAX_BYTES, path.name, f"must have at most {MAX_BYTES:,} bytes", f"{size:,}")
    return path


def compress(path: Path) -> None:
    """Write a PNG anew with at most 256 colours, those of the picture itself; text stays sharp."""
    with Image.open(path) as image, whole_file(path) as temporary:
        few = image.convert("RGB").quantize(_COLOURS, kmeans=_ROUNDS, dither=Image.Dither.NONE)
        few.save(temporary, format="PNG", optimize=True)


def _runs_drawn(page: "Page") -> None:
    """Check all runs of the lab page and wait until its figures show them."""
    boxes = page.locator(".sk-runs tbody input[type=checkbox]")
    boxes.first.wait_for()
    for number in range(boxes.count()):
        boxes.nth(number).check()
    for name in _RUNS_DRAWN:
        browser.plots(page, name).locator(".main-svg").first.wait_for()
