"""Digests inside safetensors files: metadata of the header, over everything else, tensors, names, types, shapes and ties.

A file is written with a placeholder, which is filled in place. The digest is that of the file as it would be without it, so that
giving one to a file changes neither its tensors nor what identifies them (``unsealed``).
"""

import contextlib
import hashlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sleepkit.files.seals import KEY, SealError, warn_unsealed

PLACEHOLDER = "0" * 64
_METADATA = "__metadata__"
_ENTRY = {"dtype", "shape", "data_offsets"}
_LONGEST_HEADER = 100_000_000  # bytes, as in the format


def fill(path: Path) -> None:
    """Put the digest into a file that was written with the placeholder in its metadata.

    Raises:
        SealError: if there is no placeholder.
    """
    wanted = f'"{KEY}":"{PLACEHOLDER}"'.encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        found = data.find(wanted, 0, _start(data))
        if found < 0:
            raise SealError("has no place for a digest")
        place = found + len(wanted) - 1 - len(PLACEHOLDER)
        data[place : place + len(PLACEHOLDER)] = _digest(data).encode()


def check(path: Path) -> None:
    """Check the digest of a file; warn once if it has none.

    Raises:
        SealError: if it does not match, or the header is not as it was written.
        OSError: if the file cannot be read.
    """
    with _mapped(path) as data:
        metadata = _header(data).get(_METADATA, {})
        if KEY not in metadata:
            warn_unsealed(path)
        elif metadata[KEY] != _digest(data):
            raise SealError("its digest does not match")


def seal(path: Path) -> bytes:
    """Return a file with its digest, whether or not it had one; its tensors keep their bytes.

    Raises:
        SealError: if it has one that does not match, or the header is damaged.
        OSError: if the file cannot be read.
    """
    with _mapped(path) as data:
        header = _header(data)
        metadata = header.pop(_METADATA, {})
        if metadata.get(KEY, _digest(data)) != _digest(data):
            raise SealError("its digest does not match")
        return _packed({_METADATA: {**metadata, KEY: _digest(data)}, **header}) + data[_start(data) :]


def stored_digest(path: Path) -> str | None:
    """Return the digest that a file holds, unchecked; None if it has none."""
    with _mapped(path) as data:
        found: str | None = _header(data).get(_METADATA, {}).get(KEY)
        return found


def unsealed_digest(path: Path, *, digest_size: int) -> str:
    """Return the BLAKE2b digest of a file as it is without its own digest: what identifies it with or without one."""
    with _mapped(path) as data:
        hashed = hashlib.blake2b(_bare_header(data), digest_size=digest_size)
        with memoryview(data) as view, view[_start(data) :] as body:
            hashed.update(body)
        return hashed.hexdigest()


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise SealError("is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _start(data: mmap.mmap) -> int:
    """Return where the tensors begin."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _LONGEST_HEADER):
        raise SealError("its header is cut short")
    return 8 + length


def _header(data: mmap.mmap) -> dict[str, Any]:
    """Return the header; every key of its metadata must be one that is written: a damaged name is none."""
    try:
        header = json.loads(data[8 : _start(data)])
    except RecursionError:
        raise SealError("its header is nested too deep") from None
    if not isinstance(header, dict) or not all(isinstance(each, dict) for each in header.values()):
        raise SealError("its header is no header of tensors")
    if any(name != _METADATA and set(entry) != _ENTRY for name, entry in header.items()):
        raise SealError("its header is no header of tensors")
    for name, value in header.get(_METADATA, {}).items():
        if name not in (KEY, "format") and not (isinstance(value, str) and value in header):
            raise SealError(f"its header has the unknown metadata {name[:40]!r}")
    return header


def _digest(data: mmap.mmap) -> str:
    hashed = hashlib.sha256(_bare_header(data))
    with memoryview(data) as view, view[_start(data) :] as body:
        hashed.update(body)
    return hashed.hexdigest()


def _bare_header(data: mmap.mmap) -> bytes:
    """Return the header as it would be written without a digest."""
    header = _header(data)
    metadata = {name: value for name, value in sorted(header.pop(_METADATA, {}).items()) if name != KEY}
    return _packed({_METADATA: metadata, **header} if metadata else header)


def _packed(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
