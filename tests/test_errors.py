"""Errors are one printable line, whatever the value and whatever the operating system says."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from sleepkit.errors import (
    MOST_CHARACTERS,
    InvalidInputError,
    naming,
    one_line,
    os_error,
    os_line,
    refuse,
    require_count,
    shortened,
)


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(ANYTHING)
def test_any_value_is_shown_as_one_printable_line_of_200_characters_at_most(value: Any) -> None:
    line = shortened(value)
    assert 0 < len(line) <= MOST_CHARACTERS
    assert line.isprintable()


@pytest.mark.parametrize(
    "value",
    [10**5000, [10**5000, -(10**9000)], nested(100_000), "x" * 10**6, list(range(10**5))],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_python_cannot_print_or_only_at_length_is_outlined(value: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        refuse("value", "must be short", value)
    assert len(str(refused.value)) < 300
    assert str(refused.value).startswith("value: must be short, got ")


def test_how_long_a_huge_integer_is_stands_in_the_message() -> None:
    assert shortened(10**5000) == "<an integer of about 5001 digits>"


@given(st.text(st.characters()))
def test_whatever_an_error_says_is_one_line_that_terminals_and_files_take(text: str) -> None:
    line = one_line(ValueError(text))
    assert 0 < len(line) <= MOST_CHARACTERS
    assert line.isprintable()
    line.encode()


def test_an_error_that_says_nothing_is_named_by_its_kind() -> None:
    assert one_line(KeyError()) == "KeyError"


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, [1]])
def test_a_count_is_an_integer_and_no_boolean(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^n: must be an integer >= 1, got "):
        require_count("n", value)


def test_a_count_may_be_none_where_that_means_something() -> None:
    require_count("n", None, or_none=True)
    with pytest.raises(InvalidInputError, match=r"^n: must be None or an integer >= 0, got -1"):
        require_count("n", -1, least=0, or_none=True)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_number_of_the_operating_system_is_one_line_that_names_the_path(number: int, tmp_path: Path) -> None:
    line = os_line(OSError(number, os.strerror(number), str(tmp_path)))
    assert re.fullmatch(r"path: must .+, got '.+'", line)
    assert repr(str(tmp_path)) in line


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
        RuntimeError("Unable to flush (errno = 28, error message = 'No space left on device')"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_recognised_in_the_words_of_every_library(error: Exception) -> None:
    found = os_error(error, "model.nc")
    assert found is not None
    assert os_line(found) == "path: must be on a device with space left, which is full, got 'model.nc'"


def test_an_error_of_another_kind_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match=r"^no number$"), naming("model.nc"):
        raise ValueError("no number")


def test_what_the_system_names_itself_stays_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing, naming("another"):
        (tmp_path / "nobody").read_text()
    assert os_line(missing.value) == f"path: must exist, got {str(tmp_path / 'nobody')!r}"
