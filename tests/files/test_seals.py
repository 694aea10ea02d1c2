"""Digests inside netCDF, JSON and lines: what does not match is refused, what has none is said once."""

import json
import warnings
from pathlib import Path

import pytest

from sleepkit.files import seals
from sleepkit.files.seals import SealError

HERE = Path("note.json")
NOTE = {"format": "note", "b": [1, 2.5, None, True], "a": {"é": "\u2028", "nan": float("inf")}}


def test_json_comes_back_equal_and_its_layout_is_free() -> None:
    text = seals.json_text(NOTE)
    assert seals.json_data(text, NOTE, source=HERE) == NOTE
    again = json.dumps(dict(reversed(json.loads(text).items())), indent=7, ensure_ascii=False)
    assert seals.json_data(again.encode(), NOTE, source=HERE) == NOTE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.5", "2.6"),
        ("true", "false"),
        ('"b"', '"c"'),
        ('"digest"', '"digesu"'),
        ('"note"', '"nose"'),
        ("Infinity", "1e999999"),
    ],
)
def test_json_that_was_changed_is_refused_unless_it_says_the_same(old: str, new: str) -> None:
    changed = seals.json_text(NOTE).replace(old, new)
    if json.loads(changed) == json.loads(seals.json_text(NOTE)):
        assert seals.json_data(changed, NOTE, source=HERE) == NOTE
    else:
        with pytest.raises(SealError):
            seals.json_data(changed, NOTE, source=HERE)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", "", "null", "{", "1" * 5000, b"\xff{}"])
def test_what_is_no_json_object_is_a_value_error(text: str | bytes) -> None:
    for read in (lambda: seals.json_data(text, (), source=HERE), lambda: seals.line_data(str(text), source=HERE)):
        with pytest.raises(ValueError, match=r"."):
            read()


def test_a_key_named_digest_cannot_be_saved() -> None:
    with pytest.raises(ValueError, match="must not hold the key 'digest'"):
        seals.json_text({"digest": 1})


def test_a_line_comes_back_equal_and_a_changed_one_is_refused() -> None:
    line = seals.json_line({"row": {"loss": 0.5}})
    assert line.count("\n") == 1
    assert seals.line_data(line, source=HERE) == {"row": {"loss": 0.5}}
    with pytest.raises(SealError, match="digest"):
        seals.line_data(line.replace("0.5", "0.6"), source=HERE)


def test_bytes_are_opened_by_their_digest_alone() -> None:
    data = b"anything at all" * 100
    sealed = data + seals.trailer(data)
    assert len(sealed) - len(data) == seals.TRAILER_LEN
    assert seals.body_len(sealed) == len(data)
    assert seals.body_len(data) is None
    with pytest.raises(SealError, match="digest does not match"):
        seals.body_len(b"A" + sealed[1:])


def test_a_thing_without_a_digest_is_read_and_said_once(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        with pytest.warns(UserWarning, match=rf"{name}: holds no digest, so damage to it would not be noticed; 'sleepkit seal'"):
            assert seals.json_data('{"a": 1}', ("a",), source=tmp_path / name) == {"a": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seals.json_data('{"a": 1}', ("a",), source=tmp_path / "a.json")
