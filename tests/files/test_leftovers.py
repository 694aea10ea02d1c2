"""What killed writers leave goes with the next start; what is being made stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sleepkit.files import leftovers, owner, read_folder, sweep, whole_folder
from sleepkit.files.owner import Owner


@pytest.fixture(scope="module")
def gone() -> Owner:
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    made_by = owner.process(process.pid)
    assert not made_by.is_gone
    process.communicate(b"\n", timeout=60)
    return made_by


def left(folder: Path, made_by: Owner, name: str, kind: str = "part") -> Path:
    return folder / f".{name}.{made_by}-0123abcd.{kind}"


def test_an_owner_reads_as_it_is_written_and_a_process_with_its_number_is_another() -> None:
    me = owner.this_process()
    assert owner.from_text(f"{me}\n") == me
    assert not me.is_gone
    assert me._replace(born=me.born + 1).is_gone
    assert not me._replace(host="elsewhere").is_gone
    assert owner.from_text("somebody") is None


def test_only_leftovers_of_processes_that_are_gone_are_swept(tmp_path: Path, gone: Owner) -> None:
    me, elsewhere = owner.this_process(), gone._replace(host="elsewhere")
    dead = [left(tmp_path, gone, "history.nc"), left(tmp_path, gone, "model")]
    kept = [left(tmp_path, me, "history.nc"), left(tmp_path, elsewhere, "a"), tmp_path / ".history.nc.part", tmp_path / "a.part"]
    old = left(tmp_path, elsewhere, "b")
    for path in (dead[0], *kept, old):
        path.touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    (dead[1] / "inner").mkdir(parents=True)
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_folder_put_aside_by_a_killed_writer_is_read_and_put_back(tmp_path: Path, gone: Owner) -> None:
    aside = left(tmp_path, gone, "model", "old")
    aside.mkdir()
    (aside / "note.txt").write_text("old")
    sweep(tmp_path)
    assert read_folder(tmp_path / "model", lambda place: (place / "note.txt").read_text()) == "old"
    with whole_folder(tmp_path / "model") as temporary:
        assert (tmp_path / "model" / "note.txt").read_text() == "old"
        (temporary / "note.txt").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_put_aside_whose_place_is_taken_is_swept(tmp_path: Path, gone: Owner) -> None:
    left(tmp_path, gone, "model", "old").mkdir()
    (tmp_path / "model").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_sweeping_what_is_no_folder_does_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
    assert leftovers.retired(tmp_path / "nowhere" / "model") is None


def test_a_reader_gets_old_or_new_and_never_a_mixture(tmp_path: Path) -> None:
    target, n_reads = tmp_path / "session", 0

    def write(text: str) -> None:
        with whole_folder(target) as temporary:
            (temporary / "a").write_text(text)
            (temporary / "b").write_text(text)

    def read(place: Path) -> tuple[str, str]:
        nonlocal n_reads
        n_reads += 1
        first = (place / "a").read_text()
        if n_reads <= 3:
            write(f"{n_reads}")
        return first, (place / "b").read_text()

    write("0")
    assert read_folder(target, read) == ("3", "3")
    assert n_reads == 4
