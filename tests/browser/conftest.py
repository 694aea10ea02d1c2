"""One Chromium and one server for each module of browser tests.

The fixtures of pytest-playwright live as long as the session and keep an event loop running in the main thread, which
breaks every later test that needs a loop of its own; these end with their module.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sleepkit.bench.browser import CHROMIUM_VARIABLE, chromium, chromium_path, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chrome() -> Iterator["Browser"]:
    if chromium_path() is None:
        reason = f"needs a Chromium: install the system's package or set {CHROMIUM_VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI runs no test suite without one)")
        pytest.skip(reason)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "serve.log"


@pytest.fixture(scope="module")
def address(chrome: "Browser", server_log: Path) -> Iterator[str]:
    with serve(server_log) as address:
        yield address
