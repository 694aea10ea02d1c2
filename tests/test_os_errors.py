"""What the disk says, at every command that reads or writes: one line that names the path, and status 2."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sleepkit.cli import main

LONG = "x" * 300
TINY = ["--set", "steps=1", "--set", "batch_size=4", "--set", "model.width=8", "--set", "model.n_heads=2", "--quiet"]
WRITES: dict[str, Callable[[str], list[str]]] = {
    "train --folder": lambda path: ["train", "rule110-explorer", "--folder", path, *TINY],
    "trace --output": lambda path: ["trace", "rule110-explorer", "--n-passes=1", "--output", path],
    "evaluate --output": lambda path: [
        *["evaluate", "rule110-explorer", "--n-passes=1", "--n-examples=2", "--quiet"],
        *["--output", path],
    ],
    "notebook --output": lambda path: ["notebook", "00_quickstart", "--output", path],
    "sweep --folder": lambda path: ["sweep", "rule110-explorer", "--grid", "seed=0", "--workers=1", *TINY, "--folder", path],
    "figure --runs": lambda path: ["figure", "fig2b", "--size=smoke", "--run", "--quiet", "--runs", path],
    "bench --json": lambda path: ["bench", "session", "--quiet", "--json", path],
}
READS: dict[str, Callable[[str], list[str]]] = {
    "evaluate": lambda path: ["evaluate", path, "--quiet"],
    "trace": lambda path: ["trace", path],
    "notebook": lambda path: ["notebook", f"{path}.ipynb"],
    "sweep": lambda path: ["sweep", f"{path}.ipynb"],
    "zoo probe": lambda path: ["zoo", "probe", path],
    "zoo openings": lambda path: ["zoo", "openings", path],
    "seal": lambda path: ["seal", path],
    "dashboard --auth": lambda path: ["dashboard", "--auth", path],
}


def below_a_file(folder: Path) -> str:
    (folder / "file").touch()
    return str(folder / "file" / "below.ipynb")


def a_name_that_is_too_long(folder: Path) -> str:
    return str(folder / f"{LONG}.ipynb")


def links_in_a_circle(folder: Path) -> str:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return str(folder / "one" / "below.ipynb")


BAD_PLACES = [below_a_file, a_name_that_is_too_long, links_in_a_circle]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused; return its one line."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("sleepkit: ")
    assert said.count("\n") == 1
    assert len(said) < 1000
    return said


@pytest.mark.parametrize("place", BAD_PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("command", WRITES)
def test_a_place_that_cannot_be_written_is_one_line(
    command: str,
    place: Callable[[Path], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(WRITES[command](place(tmp_path)), capsys)


@pytest.mark.parametrize("place", BAD_PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("command", READS)
def test_a_place_that_cannot_be_read_is_one_line(
    command: str,
    place: Callable[[Path], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(READS[command](place(tmp_path)), capsys)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("command", ["train --folder", "trace --output", "evaluate --output"])
def test_what_the_disk_says_in_the_middle_is_one_line(
    command: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    assert str(tmp_path) in refused(WRITES[command](str(tmp_path / "x.nc")), capsys)


@pytest.mark.parametrize("command", ["trace --output", "evaluate --output"])
def test_a_folder_where_a_file_must_be_is_refused_before_anything_is_computed(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sleepkit.zoo.load", lambda _: pytest.fail("a model was loaded"))
    assert (
        refused(WRITES[command](str(tmp_path)), capsys)
        == f"sleepkit: path: must be a file, not a folder, got {str(tmp_path)!r}\n"
    )
