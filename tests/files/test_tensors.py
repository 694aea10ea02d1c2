"""Digests inside safetensors files."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sleepkit.files import tensors
from sleepkit.files.seals import SealError
from tests.support.seals import unsealed

NAMED = {"b": np.arange(6.0).reshape(2, 3), "a": np.ones(3, np.float32), "é": np.zeros((0, 4), np.int8)}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A file as the library writes it."""
    save_file(NAMED, tmp_path / "bare.safetensors", metadata={"format": "np"})
    return tmp_path / "bare.safetensors"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "sealed.safetensors"
    save_file(NAMED, path, metadata={"digest": tensors.PLACEHOLDER, "b2": "b"})
    tensors.fill(path)
    return path


def test_a_sealed_file_is_whole_and_any_library_reads_it(sealed: Path) -> None:
    tensors.check(sealed)
    assert len(tensors.stored_digest(sealed) or "") == 64
    read = load_file(sealed)
    assert all(np.array_equal(read[name], value) and read[name].dtype == value.dtype for name, value in NAMED.items())


def test_a_file_that_is_given_a_digest_keeps_its_tensors_and_what_identifies_it(bare: Path) -> None:
    before = bare.read_bytes()
    identity = hashlib.blake2b(before, digest_size=16).hexdigest()
    assert tensors.unsealed_digest(bare, digest_size=16) == identity
    with pytest.warns(UserWarning, match="holds no digest"):
        tensors.check(bare)
    after = tensors.seal(bare)
    bare.write_bytes(after)
    tensors.check(bare)
    assert tensors.unsealed_digest(bare, digest_size=16) == identity
    assert tensors.seal(bare) == after
    assert tensors.stored_digest(bare) == hashlib.sha256(before).hexdigest()


def change_header(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"digest"', b'"digesT"'),
        (b"__metadata__", b"__metadat4__"),
        (b'"b2":"b"', b'"b2":"a"'),
        (b'"b2":"b"', b'"b3":"b"'),
        (b'"F32"', b'"I32"'),
        (b"[2,3]", b"[3,2]"),
        (b'"a":{', b'"c":{'),
    ],
)
def test_a_header_that_says_something_else_is_refused(sealed: Path, old: bytes, new: bytes) -> None:
    change_header(sealed, old, new)
    with pytest.raises(ValueError, match=r"."):
        tensors.check(sealed)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 20, (8).to_bytes(8, "little") + b"[1,2,3] ", b"\0" * 16])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (tensors.check, tensors.seal, tensors.stored_digest):
        with pytest.raises(ValueError, match=r"."):
            read(path)


def test_without_a_placeholder_there_is_nothing_to_fill(bare: Path) -> None:
    with pytest.raises(SealError, match="no place for a digest"):
        tensors.fill(bare)


@unsealed
def test_a_header_nested_too_deep_is_refused(tmp_path: Path) -> None:
    deep = json.dumps({"a": 1}).encode()[:-2] + b"[" * 100_000
    (tmp_path / "x.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(ValueError, match=r"."):
        tensors.check(tmp_path / "x.safetensors")
