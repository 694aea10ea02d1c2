"""Digests inside saved things, so that no damage is taken for content: SHA-256, checked before anything is parsed.

* netCDF: behind the last byte of HDF5, which HDF5 does not look at: "sha256:", 64 hex digits, a line end.
* JSON: the key "digest", of all other keys and values; layout and order of keys are free.
* Lines of a log: the same in each line, 16 hex digits.
* safetensors: in the header, see ``tensors``.
"""

import hashlib
import json
import mmap
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

KEY = "digest"
_MARK, _END = b"sha256:", b"\n"
TRAILER_LEN = len(_MARK) + 64 + len(_END)
_LINE_DIGITS = 16
_warned: set[str] = set()


class SealError(ValueError):
    """A digest does not match, or what holds none is not as it was written."""


def trailer(data: bytes | memoryview) -> bytes:
    """Return what is written behind bytes: their digest."""
    return _MARK + hashlib.sha256(data).hexdigest().encode() + _END


def body_len(data: bytes | mmap.mmap) -> int | None:
    """Return how many bytes stand before the digest behind them; None if there is no digest.

    Raises:
        SealError: if the digest does not match.
    """
    end = data[-TRAILER_LEN:]
    if not (len(data) >= TRAILER_LEN and end.startswith(_MARK) and end.endswith(_END)):
        return None
    with memoryview(data) as whole, whole[:-TRAILER_LEN] as body:
        if trailer(body) != end:
            raise SealError("its digest does not match")
        return len(body)


def json_text(data: dict[str, Any], *, indent: int | None = 2) -> str:
    """Return JSON with a digest in it.

    Raises:
        ValueError: if the data has the key "digest" already.
    """
    if KEY in data:
        raise ValueError(f"must not hold the key {KEY!r}")
    return json.dumps({**data, KEY: _content_digest(data)}, indent=indent, sort_keys=True) + "\n"


def json_data(text: str | bytes, keys: Collection[str], *, source: Path) -> dict[str, Any]:
    """Return what JSON says, without its digest; warn once for each source that has none.

    Args:
        text: the JSON, in UTF-8 if bytes.
        keys: all keys it may have besides the digest; a damaged name of a key is none of them.
        source: where it was read, for the warning.

    Raises:
        SealError: if the digest does not match, or there is an unknown key.
        ValueError: if it is no JSON object.
    """
    data = _json_object(text)
    unknown = sorted(set(data) - {KEY, *keys})
    if unknown:
        raise SealError(f"unknown key {unknown[0][:40]!r}")
    known = data.pop(KEY, None)
    if known is None:
        warn_unsealed(source)
    elif known != _content_digest(data):
        raise SealError("its digest does not match; one that was edited on purpose must lose the key 'digest'")
    return data


def json_line(data: dict[str, Any]) -> str:
    """Return one line of a log, with a short digest in it."""
    return json.dumps({**data, KEY: _content_digest(data)[:_LINE_DIGITS]}) + "\n"


def line_data(line: str, *, source: Path) -> dict[str, Any]:
    """Return what a line of a log says, without its digest; warn once for each source that has lines without.

    Raises:
        SealError: if the digest does not match.
        ValueError: if it is no JSON object.
    """
    data = _json_object(line)
    known = data.pop(KEY, None)
    if known is None:
        warn_unsealed(source)
    elif known != _content_digest(data)[:_LINE_DIGITS]:
        raise SealError("its digest does not match")
    return data


def _json_object(text: str | bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(data, dict):
        raise SealError("must be a JSON object")
    return data


def warn_unsealed(source: Path) -> None:
    """Say, once for each thing, that damage to it cannot be noticed."""
    name = str(source.resolve())
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"{source}: holds no digest, so damage to it would not be noticed; 'sleepkit seal' gives it one", stacklevel=3
        )


def _content_digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
