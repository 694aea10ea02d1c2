"""The log of a server: one line for what a visitor sent in vain, the traceback for what went wrong in code of ours."""

import logging
import sys
from types import TracebackType

import pytest

from sleepkit.errors import InvalidInputError, refuse
from sleepkit.tasks.base import cuts
from sleepkit.ui.complaints import OneLine

LONG = ("a\nb" * 10_000,)


def record(
    error: BaseException | None, message: str = "error handling %r", *, args: tuple[object, ...] = ("a\nb" * 10_000,)
) -> str:
    trace: TracebackType | None = None if error is None else error.__traceback__
    info = None if error is None else (type(error), error, trace)
    made = logging.LogRecord("bokeh.server.views.ws", logging.ERROR, "ws.py", 1, message, args, info)
    assert OneLine().filter(made)
    return logging.Formatter("%(message)s").format(made)


def raised(call: object) -> BaseException:
    try:
        call()  # type: ignore[operator]
    except Exception:  # noqa: BLE001 - whatever it is, it is returned
        error = sys.exc_info()[1]
        assert error is not None
        return error
    pytest.fail("nothing was raised")


def test_what_the_libraries_refuse_is_one_short_line() -> None:
    said = record(raised(lambda: int("x" * 5000)))
    assert "\n" not in said
    assert said.startswith("refused: ValueError: invalid literal")
    assert len(said) <= 400


def test_what_ours_refuse_is_one_line_too() -> None:
    error = raised(lambda: refuse("message", "must name an action", {"a": 1}))
    assert isinstance(error, InvalidInputError)
    assert record(error) == "refused: InvalidInputError: message: must name an action, got {'a': 1}"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    said = record(raised(lambda: cuts(0, 1, 2)), "fault", args=())
    assert "Traceback" in said
    assert "ZeroDivisionError" in said


def test_a_message_without_an_error_is_cut_and_stays_on_its_line() -> None:
    said = record(None)
    assert "\n" not in said
    assert len(said) <= 400
