"""``sleepkit dashboard`` in a real browser: who may come in, and what a page that only looks offers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepkit.bench.browser import open_page, serving, visit, wait_until_full
from sleepkit.ui.auth import add_user
from tests.support.lab import finished_run

pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")

from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

PASSWORD = "eight letters and more"
COMMAND = [sys.executable, "-m", "sleepkit", "dashboard"]
WRITING = ("Start", "Stop", "Resume", "Publish")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lab") / "runs"
    finished_run(root, validate_every=6, validation_examples=8)
    return root


@pytest.fixture(scope="module")
def guarded(chrome: Browser, root: Path) -> Iterator[str]:
    users = root.parent / "users"
    add_user(users, "ada", PASSWORD)
    with serving([*COMMAND, "--auth", str(users), "--root", str(root)], path="sleep") as server:
        yield server.address


@pytest.fixture(scope="module")
def open_to_look(chrome: Browser, root: Path) -> Iterator[str]:
    with serving([*COMMAND, "--read-only", "--root", str(root)], path="runs") as server:
        yield server.address


def test_a_password_is_asked_for_and_only_the_right_one_lets_in(chrome: Browser, guarded: str) -> None:
    page, complaints = open_page(chrome, guarded)
    assert "/login" in page.url
    assert page.locator("input[type=password]").count() == 1
    assert page.locator(".sk-finding").count() == 0
    for password in ("wrong", PASSWORD):
        page.locator("input[name=username]").fill("ada")
        page.locator("input[type=password]").fill(password)
        page.locator("input[type=password]").press("Enter")
        page.wait_for_load_state()
        if password == "wrong":
            assert page.locator("input[type=password]").count() == 1
            assert page.locator(".sk-finding").count() == 0
    wait_until_full(page)
    assert page.url.partition("?")[0] == guarded
    assert complaints.elsewhere == []
    page.close()


def test_a_second_browser_without_the_cookie_is_asked_again(chrome: Browser, guarded: str) -> None:
    context = chrome.new_context()
    page = context.new_page()
    visit(page, guarded.replace("/sleep", "/runs"))
    assert "/login" in page.url
    assert page.locator(".sk-runs").count() == 0
    context.close()


def test_a_page_that_only_looks_offers_no_way_to_start_stop_or_publish(chrome: Browser, open_to_look: str) -> None:
    page, complaints = open_page(chrome, open_to_look)
    page.locator(".sk-runs tbody tr").first.wait_for()
    page.locator(".sk-curves .main-svg").first.wait_for()
    buttons = [text.strip() for text in page.get_by_role("button").all_inner_texts()]
    assert [text for text in buttons if text.startswith(WRITING)] == []
    assert page.locator(".sk-runs tbody button:visible").count() == 0
    assert page.get_by_role("textbox", name="Steps", exact=True).count() == 0
    assert complaints.errors == []
    page.close()
