"""Limits of a process: what they refuse, in which words, and that a seat is free again when its page is gone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from sleepkit.errors import InvalidInputError
from sleepkit.tasks.explore import LONGEST_TEXT
from sleepkit.ui import limits, seats
from sleepkit.ui.limits import Limits
from sleepkit.ui.seats import Seats, seated
from sleepkit.ui.subject import subject


@pytest.fixture(autouse=True)
def strict() -> Iterator[Limits]:
    given = Limits(max_input_len=10, max_passes=4, max_queue=2, max_sessions=2)
    before = limits.impose(given)
    yield given
    limits.impose(before)


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> Seats:
    """The seats of a process that nobody visits yet."""
    empty = Seats()
    monkeypatch.setattr(seats, "SEATS", empty)
    return empty


class Visitor:
    """A session of a server: a document with a context, as Bokeh makes them."""

    def __init__(self, name: str) -> None:
        request = SimpleNamespace(arguments={}, headers={}, cookies={})
        self.context: Any = SimpleNamespace(id=name, request=request)
        self.document = Document()
        self.document._session_context = lambda: self.context

    def open(self, build: Any) -> Any:
        with set_curdoc(self.document):
            return seated(build)()

    def leave(self) -> None:
        for callback in self.document.session_destroyed_callbacks:
            callback(self.context)


def shown(page: Any) -> str:
    return str(page.main[0][0].object) if hasattr(page, "main") else page


@pytest.mark.parametrize("name", ["max_input_len", "max_passes", "max_queue", "max_sessions"])
def test_a_limit_below_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}: must be 1 or more, got 0"):
        replace(Limits(), **{name: 0})


def test_a_full_queue_is_refused_in_words_and_one_place_left_is_not() -> None:
    limits.require_room(1)
    with pytest.raises(InvalidInputError, match=r"queue: must be shorter than 2 \(this server is busy: try again .*\), got 2"):
        limits.require_room(2)


def test_no_text_is_granted_that_tasks_refuse_to_read() -> None:
    assert Limits().max_input_len == LONGEST_TEXT


def test_text_and_passes_are_granted_up_to_the_limit_and_refused_above() -> None:
    limits.require_input_len("0" * 10)
    limits.require_passes(4)
    with pytest.raises(InvalidInputError, match="text: must have 10 characters or fewer on this server, got 11"):
        limits.require_input_len("0" * 11)
    with pytest.raises(InvalidInputError, match="n_passes: must be 4 or less on this server, got 5"):
        limits.require_passes(5)


def test_only_a_read_only_process_refuses_to_write(strict: Limits) -> None:
    limits.require_writable("start a run")
    limits.impose(replace(strict, read_only=True))
    with pytest.raises(InvalidInputError, match="read-only: this server only shows what is there, got 'start a run'"):
        limits.require_writable("start a run")


def test_a_read_only_process_opens_bundled_models_and_those_of_its_own_runs_alone(strict: Limits, tmp_path: Path) -> None:
    limits.require_model_folder(tmp_path / "elsewhere")
    limits.impose(replace(strict, read_only=True, models=tmp_path / "runs"))
    limits.require_model_folder(tmp_path / "runs" / "mine" / "published")
    assert subject("rule110-explorer")
    for folder in (tmp_path, tmp_path / "runs" / ".." / "elsewhere"):
        with pytest.raises(InvalidInputError, match="model: must be bundled or published in this server's folder of runs"):
            subject(str(folder))


def test_imposing_returns_what_held_before(strict: Limits) -> None:
    other = replace(strict, max_queue=7)
    assert limits.impose(other) == strict
    assert limits.current() == other


def test_one_page_too_many_says_so_and_a_page_that_leaves_makes_room(taken: Seats) -> None:
    first, second, third = (Visitor(name) for name in ("a", "b", "c"))
    assert shown(first.open(lambda: "page")) == "page"
    assert shown(second.open(lambda: "page")) == "page"
    assert "All seats are taken" in shown(third.open(lambda: "page"))
    assert "shows 2 open pages" in shown(third.open(lambda: "page"))
    first.leave()
    assert shown(third.open(lambda: "page")) == "page"
    second.leave()
    third.leave()
    assert len(taken) == 0


def test_a_page_that_cannot_be_built_keeps_no_seat(taken: Seats) -> None:
    def broken() -> str:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Visitor("a").open(broken)
    assert len(taken) == 0


def test_a_page_built_outside_a_server_needs_no_seat(strict: Limits, taken: Seats) -> None:
    assert [seated(lambda: "page")() for _ in range(strict.max_sessions + 1)] == ["page"] * 3
    assert len(taken) == 0
