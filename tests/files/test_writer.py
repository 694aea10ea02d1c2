"""Files and folders are whole or not there, whatever the place is."""

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.files import read_folder, whole_file, whole_folder, write_whole

REPOSITORY = Path(__file__).resolve().parents[2]


class PowerCutError(Exception):
    """What goes wrong while writing."""


def write_half_and_fail(target: Path) -> None:
    with whole_file(target) as temporary:
        temporary.write_text("half")
        raise PowerCutError


def write_half_a_folder_and_fail(target: Path) -> None:
    with whole_folder(target) as temporary:
        (temporary / "note.txt").write_text("half")
        raise PowerCutError


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("old", [None, "old"])
def test_a_written_file_takes_its_place_and_leaves_nothing_beside_it(tmp_path: Path, old: str | None) -> None:
    target = tmp_path / "deep" / "note.txt"
    if old is not None:
        target.parent.mkdir()
        target.write_text(old)
    with whole_file(target) as temporary:
        temporary.write_text("new")
        assert target.exists() == (old is not None)
    assert target.read_text() == "new"
    assert names_in(target.parent) == ["note.txt"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_whose_writer_fails_stays_as_it_was(tmp_path: Path, old: str | None) -> None:
    target = tmp_path / "note.txt"
    if old is not None:
        target.write_text(old)
    with pytest.raises(PowerCutError):
        write_half_and_fail(target)
    assert names_in(tmp_path) == ([] if old is None else ["note.txt"])
    assert old is None or target.read_text() == old


@pytest.mark.parametrize("old", [False, True])
def test_a_written_folder_takes_its_place_and_leaves_nothing_beside_it(tmp_path: Path, old: bool) -> None:
    target = tmp_path / "deep" / "model"
    if old:
        target.mkdir(parents=True)
        (target / "stale.txt").write_text("old")
    with whole_folder(target) as temporary:
        (temporary / "note.txt").write_text("new")
        assert target.exists() == old
    assert names_in(target) == ["note.txt"]
    assert names_in(target.parent) == ["model"]


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_whose_writer_fails_stays_as_it_was(tmp_path: Path, old: bool) -> None:
    target = tmp_path / "model"
    if old:
        target.mkdir()
        (target / "note.txt").write_text("old")
    with pytest.raises(PowerCutError):
        write_half_a_folder_and_fail(target)
    assert names_in(tmp_path) == (["model"] if old else [])
    assert not old or (target / "note.txt").read_text() == "old"


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o022, 0o027], indirect=True)
def test_modes_follow_the_umask_in_files_and_folders_and_what_is_in_them(tmp_path: Path, umask: int) -> None:
    write_whole(tmp_path / "deep" / "note.txt", "new")
    with whole_folder(tmp_path / "model") as temporary:
        (temporary / "inner").mkdir(mode=0o700)
        (temporary / "inner" / "private.bin").touch(mode=0o600)
    files = [tmp_path / "deep" / "note.txt", tmp_path / "model" / "inner" / "private.bin"]
    folders = [tmp_path / "deep", tmp_path / "model", tmp_path / "model" / "inner"]
    assert [mode(path) for path in files] == [0o666 & ~umask] * 2
    assert [mode(path) for path in folders] == [0o777 & ~umask] * 3


def test_what_is_replaced_keeps_its_mode_and_a_mode_that_is_asked_for_wins(tmp_path: Path) -> None:
    note, model = tmp_path / "note.txt", tmp_path / "model"
    note.touch()
    note.chmod(0o640)
    model.mkdir()
    model.chmod(0o750)
    write_whole(note, "new")
    with whole_folder(model) as temporary:
        (temporary / "weights").touch()
    assert [mode(note), mode(model), mode(model / "weights")] == [0o640, 0o750, 0o640]
    write_whole(note, "secret", mode=0o600)
    assert mode(note) == 0o600


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path, old: str | None, absolute: bool) -> None:
    far, link, second = tmp_path / "far" / "note.txt", tmp_path / "link", tmp_path / "second"
    far.parent.mkdir()
    if old is not None:
        far.write_text(old)
    second.symlink_to(far if absolute else Path("far", "note.txt"))
    link.symlink_to(second.name)
    write_whole(link, "new")
    assert link.is_symlink()
    assert second.is_symlink()
    assert far.read_text() == "new"
    assert names_in(far.parent) == ["note.txt"]
    assert names_in(tmp_path) == ["far", "link", "second"]


def test_a_link_to_a_folder_stays_and_the_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "stale.txt").touch()
    (tmp_path / "link").symlink_to("far")
    with whole_folder(tmp_path / "link") as temporary:
        (temporary / "note.txt").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert names_in(tmp_path / "far") == ["note.txt"]


def test_folders_rings_of_links_and_impossible_names_are_refused_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to("ring")
    (tmp_path / "link").symlink_to(tmp_path)
    for path, rule in ((tmp_path, "not a folder"), (tmp_path / "link", "not a folder"), (tmp_path / "ring", "ring of symbolic")):
        with pytest.raises(InvalidInputError, match=f"^path: must .*{rule}"):
            write_whole(path, "new")
    with pytest.raises(InvalidInputError, match=r"^path: must hold no NUL character"):
        write_whole(f"{tmp_path}/a\0b", "new")
    assert names_in(tmp_path) == ["link", "ring"]


def test_a_file_is_refused_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    with pytest.raises(InvalidInputError, match=r"^path: must be a folder"), whole_folder(tmp_path / "note.txt"):
        pass


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe, data, got = tmp_path / "pipe", os.urandom(300_000), []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, data)
    reader.join(timeout=60)
    assert got == [data]
    assert pipe.is_fifo()
    assert names_in(tmp_path) == ["pipe"]


def test_a_handle_of_the_process_is_written_into_behind_what_is_there(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("w") as out:
        out.write("printed ")
        out.flush()
        write_whole(f"/dev/fd/{out.fileno()}", "saved")
    assert (tmp_path / "out.txt").read_text() == "printed saved"
    assert names_in(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127])
def test_the_longest_names_can_be_written_and_a_longer_one_is_an_error_of_that_name(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, "new")
    with whole_folder(tmp_path / "inner" / name):
        pass
    assert names_in(tmp_path) == sorted([name, "inner"])
    with pytest.raises(OSError, match="too long") as caught:
        write_whole(tmp_path / f"{name}{name}", "new")
    assert caught.value.filename.endswith(name)


def test_a_full_disk_leaves_the_old_file_and_the_error_names_it(tmp_path: Path) -> None:
    target = tmp_path / "note.bin"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_whole(target, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(target))
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["note.bin"]


KILLED = """
import os, signal, sys
from pathlib import Path
from sleepkit.files import whole_folder, writer

moment, target = sys.argv[1], Path(sys.argv[2])
die = lambda *given, **options: os.kill(os.getpid(), signal.SIGKILL)
if moment != "exchanged":
    writer._exchange = lambda *given: False
rename = Path.rename
def renamed(self, other):
    rename(self, other)
    if (moment == "put aside") == (self == target):
        die()
    return other
Path.rename = renamed
if moment == "exchanged":
    writer.shutil.rmtree = die
with whole_folder(target) as temporary:
    (temporary / "note.txt").write_text("new")
    if moment == "half":
        die()
"""


@pytest.mark.parametrize(
    ("moment", "expected"), [("half", "old"), ("put aside", "old"), ("in place", "new"), ("exchanged", "new")]
)
def test_a_killed_writer_loses_no_folder_and_the_next_one_sweeps_what_it_left(tmp_path: Path, moment: str, expected: str) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "note.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, moment, str(target)], cwd=REPOSITORY, timeout=300, check=False)
    assert done.returncode == -9
    assert len(names_in(tmp_path)) > 1 or moment == "put aside"
    assert read_folder(target, lambda place: (place / "note.txt").read_text()) == expected
    with whole_folder(target) as temporary:
        assert read_folder(target, lambda place: (place / "note.txt").read_text()) == expected
        (temporary / "note.txt").write_text("newest")
    assert names_in(tmp_path) == ["model"]
    assert (target / "note.txt").read_text() == "newest"
