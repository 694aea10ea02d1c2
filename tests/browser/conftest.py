"""One Chromium and one server for each module of browser tests.

The fixtures of pytest-playwright live as long as the session and keep an event loop running in the main thread, which
breaks every later test that needs a loop of its own; these end with their module.
"""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sleepkit.bench.browser import CHROMIUM_VARIABLE, chromium, chromium_path, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def chrome() -> Iterator["Browser"]:
    if chromium_path() is None:
        reason = f"needs a Chromium: install the system's package or set {CHROMIUM_VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI runs no test suite without one)")
        pytest.skip(reason)
    with chromium("--process-per-site") as browser:
        yield browser


@pytest.fixture(scope="module")
def tabs(chrome: "Browser") -> Iterator["BrowserContext"]:
    """A window of a browser; its pages share a process, which compiles their scripts once and lives as long as one page does."""
    server = ThreadingHTTPServer(("localhost", 0), BaseHTTPRequestHandler)  # has no page, and a site
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = chrome.new_context()
    context.new_page().goto(f"http://localhost:{server.server_port}")
    yield context
    context.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "serve.log"


@pytest.fixture(scope="module")
def address(chrome: "Browser", server_log: Path) -> Iterator[str]:
    with serve(server_log) as address:
        yield address
