"""The C library in the cache: built once, checked before it is loaded, and the torch path with a word where it cannot be had."""

import ctypes
import hashlib
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepkit import ops
from sleepkit.errors import ImplUnavailableError
from sleepkit.kernels import build


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has not looked for the library yet."""
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path))
    build._loaded_once.cache_clear()
    yield tmp_path
    build._loaded_once.cache_clear()


@pytest.fixture
def compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler of one's own making, in a folder with a space in its name; it does nothing and says so."""
    path = fresh / "my tools" / "cc"
    path.parent.mkdir()
    monkeypatch.setenv("CC", f"'{path}' -pipe")
    say(path, "exit 0")
    return path


def say(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="latin-1")
    path.chmod(0o755)


def assert_torch_path(reason: str) -> None:
    """The library is not there: a word once, a reason to whoever asks, one line to whoever insists."""
    with pytest.warns(UserWarning, match="the C kernels are not used, torch computes in their place") as told:
        assert ops.explain().startswith("chunked: ")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason in str(build.why_unavailable())
        with pytest.raises(ImplUnavailableError, match=r"^impl: 'native' .*; use 'chunked'$"):
            build.library("float")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "wrote no library"),
        ("exit 3", "ended with status 3"),
        ("echo 'fatal error: f\xfcr dich' >&2; exit 1", "fatal error"),
        ('for x; do last=$prev; prev=$x; [ "$last" = -o ] && printf "%2000s" rubbish > "$x"; done; exit 0', "invalid ELF header"),
        ('for x; do last=$prev; prev=$x; [ "$last" = -o ] && : > "$x"; done; exit 0', "file too short"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_a_compiler_that_gives_no_library_leads_to_the_torch_path_and_leaves_nothing(
    compiler: Path, fresh: Path, script: str, reason: str
) -> None:
    say(compiler, script)
    assert_torch_path(reason)
    assert list(fresh.rglob("*.so")) == []


@pytest.mark.parametrize("named", ["no-such-compiler", "'unbalanced", "/"])
def test_a_compiler_that_cannot_be_started_leads_to_the_torch_path(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("CC", named)
    assert_torch_path("impl: 'native' must build and load here")


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_name_of_a_compiler_is_none(fresh: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("CC", blank)
    monkeypatch.setenv("PATH", str(fresh))
    assert_torch_path("needs a C compiler")


def kept(place: Path, data: bytes) -> Path:
    path = place / f"native-float-0123-{hashlib.sha256(data).hexdigest()[:32]}.so"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("damage", [b"", b"cut", b"whole librarz", b"another library"])
def test_a_kept_library_is_found_whole_and_removed_damaged(tmp_path: Path, damage: bytes) -> None:
    path = kept(tmp_path, b"whole library")
    assert build._find(tmp_path, "native-float-0123") == path
    assert build._find(tmp_path, "native-double-0123") is None
    path.write_bytes(damage)
    assert build._find(tmp_path, "native-float-0123") is None
    assert list(tmp_path.iterdir()) == []


def test_a_library_without_our_functions_is_an_error_of_its_file(tmp_path: Path) -> None:
    import math

    shutil.copy(math.__file__, tmp_path / "foreign.so")
    with pytest.raises(OSError, match="undefined symbol: gated_delta_rule_forward"):
        build._opened(tmp_path / "foreign.so")


def test_without_a_home_the_temporary_folder_is_one_for_all_and_for_its_owner_alone(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (build.CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(build.Path, "home", no_home)
    first, second = build._places()
    with pytest.raises(OSError, match="home directory"):
        first()
    assert second() == second() == fresh / f"sleepkit-{os.getuid()}"
    assert stat.S_IMODE(second().stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("what", ["open to others", "a link", "a file"])
def test_a_temporary_folder_that_others_could_fill_is_refused(fresh: Path, what: str) -> None:
    folder = fresh / f"sleepkit-{os.getuid()}"
    if what == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif what == "a link":
        (fresh / "elsewhere").mkdir()
        folder.symlink_to(fresh / "elsewhere")
    else:
        folder.touch()
    with pytest.raises(OSError, match="must be a folder that its owner alone can write"):
        build._temporary()


def test_where_the_named_cache_is_a_file_the_next_folder_is_tried_and_a_word_is_said(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh / "cache").write_text("a file")
    monkeypatch.setattr(build, "_build", lambda place, *given: place / "made.so")
    opened: list[Path] = []
    monkeypatch.setattr(build, "_opened", lambda path: opened.append(path) or ctypes.CDLL(None))
    with pytest.warns(UserWarning, match=r"built libraries are kept in .*sleepkit-.* instead"):
        build._load("float")
    assert opened == [fresh / f"sleepkit-{os.getuid()}" / "made.so"]
