"""Files and folders are whole or not there."""

from pathlib import Path

import pytest

from sleepkit.files import whole_file, whole_folder


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
    assert oct(target.stat().st_mode & 0o777) == "0o644"


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
    assert oct(target.stat().st_mode & 0o777) == "0o755"


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
