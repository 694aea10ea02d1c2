"""What axe-core finds on the pages: nothing serious, nothing critical, whatever the theme, the tab and the width."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepkit.bench.browser import (
    DESKTOP,
    PHONE,
    RUNS,
    open_controls,
    open_page,
    served,
    violations,
    wait_until_full,
)
from sleepkit.bench.targets import SERIOUS
from tests.support.lab import finished_run

pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install -e .[test]")

from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser


def serious(page: Page) -> list[str]:
    """Every serious or critical finding as a line that says what and where."""
    return [
        f"{found['impact']} {found['rule']}: {element}"
        for found in violations(page)
        if found["impact"] in SERIOUS
        for element in found["elements"]
    ]


@pytest.mark.parametrize(
    ("query", "screen"),
    [
        pytest.param("", DESKTOP, id="light"),
        pytest.param("?theme=dark", DESKTOP, id="dark"),
        pytest.param("?tab=side+by+side", DESKTOP, id="side by side"),
        pytest.param("?tab=data", DESKTOP, id="data"),
        pytest.param("", PHONE, id="phone"),
    ],
)
def test_the_dashboard_has_no_serious_violation(tabs: BrowserContext, address: str, query: str, screen: tuple[int, int]) -> None:
    page, _ = open_page(tabs, address + query, screen=screen)
    wait_until_full(page)
    page.wait_for_timeout(1000)
    assert serious(page) == []
    page.close()


def test_the_controls_on_a_phone_have_no_serious_violation(tabs: BrowserContext, address: str) -> None:
    page, _ = open_page(tabs, address, screen=PHONE)
    wait_until_full(page)
    open_controls(page)
    page.wait_for_timeout(1000)
    assert serious(page) == []
    page.close()


def test_a_page_with_a_nameless_button_has_a_serious_violation(tabs: BrowserContext) -> None:
    page = tabs.new_page()
    page.set_content("<html lang='en'><title>page</title><main><h1>page</h1><button></button></main></html>")
    assert serious(page) == ["critical button-name: button"]
    page.close()


@pytest.fixture(scope="module")
def lab(tabs: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("lab") / "runs"
    for seed in (0, 1):
        finished_run(root, seed=seed, validate_every=6, validation_examples=8)
    with served(RUNS, environment={"SLEEPKIT_RUNS": str(root)}) as server:
        yield server.address


@pytest.mark.parametrize("screen", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")])
def test_the_lab_page_has_no_serious_violation(tabs: BrowserContext, lab: str, screen: tuple[int, int]) -> None:
    page, _ = open_page(tabs, lab, screen=screen)
    page.locator(".sk-runs tbody tr").nth(1).wait_for()
    page.locator(".sk-curves .main-svg").first.wait_for()
    page.wait_for_timeout(1000)
    assert serious(page) == []
    page.close()
