"""A headless Chromium, the pages served as a user serves them, and what stands where on them: every label and class of ours.

Needs the test extra (playwright) and a Chromium of the system.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sleepkit.bench.measure import ROOT
from sleepkit.errors import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

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
DESKTOP, PHONE = (1440, 900), (390, 844)
NARROW = 600  # pixels; the controls of a narrower page are opened when asked for
SLEEP, RUNS = Path("dashboards", "sleep.py"), Path("dashboards", "runs.py")
N_SLIDER, CONTEXT_SLIDER, DEPTH_SLIDER, PASS_SLIDER = "Sleep passes N", "Context length", "Depth asked", "Pass looked at"
MODEL_SELECT, HEAD_SELECT, LAYER_SELECT = "Model", "Head", "Layer, fast weights"
# The panes of each tab by css class, and how many figures each has.
PANES: Mapping[str, Mapping[str, int]] = {
    "single": {"timeline": 1, "fast-weights": 2, "accuracy": 1, "attention": 1, "probe": 1, "path": 1},
    "side by side": {"timeline": 1, "left": 2, "right": 2},
    "difference": {"timeline": 1},
    "data": {"timeline": 1},
}
# A page gets its model ready for the first change a second after it was drawn; nobody moves a slider before.
AFTER_OPENING_MS = 2500
SECOND_ROW = ("attention", "text")
# A figure is drawn when it has data, or says in words why it has none; before its turn it says "Drawing".
_DRAWN = """plots => plots.filter(plot => plot.querySelector('.main-svg') && plot.data && (plot.data.length > 0 ||
  (plot.layout.annotations || []).some(note => note.text !== 'Drawing'))).length"""


@dataclasses.dataclass(frozen=True)
class Served:
    """A server of its own process.

    Attributes:
        address: of the page.
        pid: of the process.
    """

    address: str
    pid: int


class Complaints:
    """What a page says on its console as an error, and what it asks of other hosts than this one.

    Args:
        page: listened to from now on.
    """

    def __init__(self, page: "Page") -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._on_address(request.url))
        page.on("websocket", lambda websocket: self._on_address(websocket.url))

    def _on_console(self, message: "ConsoleMessage") -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _on_address(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("data", "blob") and parts.hostname not in ("localhost", "127.0.0.1"):
            self.elsewhere.append(address)


def chromium_path() -> str | None:
    """Return the Chromium to use: the environment's SLEEPKIT_CHROMIUM, else the system's; None if there is none."""
    return os.environ.get(CHROMIUM_VARIABLE) or shutil.which("chromium")


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator["Browser"]:
    """Run a headless Chromium that asks for nothing on the network by itself.

    Args:
        flags: further ones of its command line.

    Raises:
        InvalidInputError: if there is none.
    """
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    require(path is not None, "chromium", f"must be installed, or named by {CHROMIUM_VARIABLE}", path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def served(app: Path = SLEEP, *, log: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run plain ``panel serve APP`` on a free port; it may not answer yet.

    Args:
        app: one of the applications of a checkout.
        log: gets what the server says.
        environment: variables that are set beside those of this process.

    Raises:
        InvalidInputError: if this is no checkout with the application.
    """
    require((ROOT / app).exists(), "dashboard", f"must be run from a checkout with {app}", str(ROOT))
    command = [sys.executable, "-m", "panel", "serve", str(app)]
    with serving(command, path=app.stem, log=log, environment=environment) as server:
        yield server


@contextlib.contextmanager
def serving(
    command: list[str], *, path: str, log: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Run a server in a process of its own on a free port; it may not answer yet.

    Args:
        command: what to run; "--port PORT" is added.
        path: of the page, after the host.
        log: gets what the server says.
        environment: variables that are set beside those of this process.
    """
    port = free_port()
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": paths, **(environment or {})}
    with open(log or os.devnull, "w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield Served(f"http://localhost:{port}/{path}", process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextlib.contextmanager
def serve(log: Path | None = None) -> Iterator[str]:
    """Run ``panel serve dashboards/sleep.py`` on a free port and yield the address of the app; it may not answer yet.

    Raises:
        InvalidInputError: if this is no checkout with the dashboard.
    """
    with served(log=log) as server:
        yield server.address


def open_page(
    browser: "Browser | BrowserContext", address: str, *, screen: tuple[int, int] = DESKTOP
) -> tuple["Page", Complaints]:
    """Open an address in a new page of a screen, width and height in pixels, and listen to its complaints.

    Raises:
        playwright.sync_api.Error: if the server does not answer within a minute.
    """
    page = browser.new_page()
    page.set_viewport_size({"width": screen[0], "height": screen[1]})
    complaints = Complaints(page)
    visit(page, address)
    return page, complaints


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
    """Wait until every pane of the tab that the address opens is drawn, and the controls stand beside them where there is room.

    Raises:
        TimeoutError: if one is still empty after ``timeout_s``; it is named.
    """
    tab = parse_qs(urlsplit(page.url).query).get("tab", ["single"])[0]
    end = time.perf_counter() + timeout_s
    empty, missing = dict(PANES[tab]), list[str]()
    while time.perf_counter() < end:
        for name in list(empty):
            if _n_drawn(page, name) < empty[name]:
                break
            del empty[name]
        missing = sorted(empty)  # looking is work for the page as well: one thing after the other
        if not missing and tab == "single" and not page.locator(".sk-text .sk-answer").count():
            missing = ["text"]
        if not missing and not _has_controls(page):
            missing = ["controls"]
        if not missing:
            return
        page.wait_for_timeout(20)
    raise TimeoutError(f"dashboard: must be drawn within {timeout_s} s, got a page without {', '.join(missing)}: {page.url}")


def slider(page: "Page", label: str) -> "Locator":
    """Return the input of the slider whose label begins with ``label``."""
    return page.locator(f"input[type=range][aria-label^='{label}']")


def select(page: "Page", label: str) -> "Locator":
    """Return what opens the list of a select."""
    return page.get_by_role("combobox", name=label, exact=True)


def choose(page: "Page", label: str, option: str, *, before: Callable[[], None] = lambda: None) -> None:
    """Open the list of a select and click on an option.

    Args:
        page: the dashboard.
        label: of the select.
        option: its whole text.
        before: called when the list is open and the click is next.
    """
    select(page, label).click()
    item = page.locator(".MuiMenuItem-root:visible").filter(has_text=re.compile(f"^{re.escape(option)}$"))
    item.wait_for()
    before()
    item.click()


def press(page: "Page", label: str, key: str) -> None:
    """Press a key on a slider."""
    handle = slider(page, label)
    handle.focus()
    handle.press(key)


def plots(page: "Page", pane: str) -> "Locator":
    """Return the figures of a pane."""
    return page.locator(f".sk-{pane} .js-plotly-plot")


def open_controls(page: "Page") -> None:
    """Open the drawer with the controls, if it is closed, as it is on a phone."""
    handle = slider(page, PASS_SLIDER)
    if _is_narrow(page) and not handle.count():
        page.get_by_role("button", name="Open drawer").click()
    handle.wait_for(state="attached")


def violations(page: "Page") -> list[dict[str, Any]]:
    """Return what axe-core finds on a page: rule, impact, help and the selectors of the elements.

    Raises:
        ImportError: without the test extra.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        {
            "rule": each["id"],
            "impact": each["impact"],
            "help": each["help"],
            "elements": [_selector(node["target"]) for node in each["nodes"]],
        }
        for each in found
    ]


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _selector(target: list[Any]) -> str:
    """Return the way of axe-core to an element as one line: a list stands for shadow roots on the way."""
    return " ".join(" >>> ".join(part) if isinstance(part, list) else str(part) for part in target)


def _has_controls(page: "Page") -> bool:
    """Whether the controls are to be seen, or the page is too narrow for them."""
    return _is_narrow(page) or slider(page, PASS_SLIDER).is_visible()


def _is_narrow(page: "Page") -> bool:
    size = page.viewport_size
    return size is not None and size["width"] < NARROW


def _n_drawn(page: "Page", pane: str) -> int:
    return int(plots(page, pane).evaluate_all(_DRAWN))


def _listens(address: str) -> bool:
    parts = urlsplit(address)
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", parts.port or 80)) == 0
