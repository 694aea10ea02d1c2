"""One process at a time holds a file, on file systems with locks and without."""

import errno
import fcntl
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sleepkit.files import holds, owner


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file on a file system with locks, or on one that answers so."""
    if request.param is not None:

        def refused(handle: int, kind: int) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refused)
    return tmp_path / "live.jsonl"


def taken(path: Path, *, patience_s: float = 0.0) -> holds.Hold | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return holds.take(path, patience_s=patience_s)


def test_a_held_file_is_held_by_one_and_free_after(path: Path) -> None:
    assert not holds.is_held(path)
    hold = taken(path)
    assert hold is not None
    assert holds.is_held(path)
    assert taken(path, patience_s=0.05) is None
    hold.release()
    assert not holds.is_held(path)
    again = taken(path)
    assert again is not None
    again.release()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_hold_that_is_handed_over_ends_with_the_other_process(path: Path) -> None:
    hold = taken(path)
    assert hold is not None
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(hold.handle,))
    hold.hand_over(process.pid)
    assert holds.is_held(path)
    assert taken(path) is None
    process.communicate(b"\n", timeout=60)
    assert not holds.is_held(path)
    again = taken(path)
    assert again is not None
    again.release()


def test_a_turn_yields_a_handle_to_write_with(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with holds.turn(path) as handle:
            os.write(handle, b"mine")
    assert path.read_bytes() == b"mine"


def test_without_locks_a_word_is_said_and_a_file_names_host_and_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.warns(UserWarning, match="this file system has no locks; run.held beside it says who works there"):
        hold = holds.take(tmp_path / "run")
    assert hold is not None
    assert owner.from_text((tmp_path / "run.held").read_text()) == owner.this_process()
    hold.release()


def test_a_process_elsewhere_keeps_its_hold_and_one_that_says_nothing_yet_too(tmp_path: Path) -> None:
    path, held = tmp_path / "run", tmp_path / "run.held"
    held.write_text(f"{owner.this_process()._replace(host='elsewhere')}\n")
    assert holds.is_held(path)
    assert holds.take(path) is None
    held.write_text("")
    assert holds.take(path) is None
    os.utime(held, (0, 0))
    hold = holds.take(path)
    assert hold is not None
    hold.release()
