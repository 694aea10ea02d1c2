"""The doctor: status 1 and the line to type where something needed is missing, a mark where something optional is."""

import importlib.metadata
from pathlib import Path

import pytest

from sleepkit import doctor, extras
from sleepkit.cli import main


def without(monkeypatch: pytest.MonkeyPatch, *missing: str, **versions: str) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_what_is_needed_is_found_and_the_rest_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    what = [line[5:].partition(":")[0] for line in lines[:-1]]
    wanted = ["sleepkit", "Python", "torch", "platform", "C compiler", "cache folder", "threads", "GPU", "gated delta rule"]
    assert [name for name in what if name in wanted] == wanted
    assert {f"extra {extra}" for extra in (*extras.EXTRAS, "gpu")} < set(what)
    assert lines[-1].startswith("Everything needed is there")


@pytest.mark.parametrize("version", ["2.10.9", "2.14.0", "3.0+cpu", "1.13"])
def test_a_torch_outside_the_range_that_was_tried_is_missed(
    version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, torch=version)
    monkeypatch.setattr(doctor, "_models", list)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"MISS torch: {version} was not tried, " in said
    assert "(pip install 'torch" in said


def test_a_missing_package_of_the_core_is_missed_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "safetensors")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "MISS safetensors: not installed (pip install 'safetensors>=" in said
    assert said.splitlines()[-1] == "Missing: safetensors."


def test_a_missing_extra_is_no_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without(monkeypatch, "panel", "distributed", "triton", "pillow")
    monkeypatch.setattr(doctor, "_models", list)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "--   extra workbench: without panel (pip install 'sleepkit[workbench]')" in said
    assert "--   extra gpu: without triton, which only GPUs need (pip install 'sleepkit[gpu]')" in said


@pytest.mark.parametrize(
    ("version", "asked", "good"),
    [
        ("2.13.0+cpu", ">=2.11,<2.14", True),
        ("2.14.0", "<2.14,>=2.11", False),
        ("2.9", ">=2.11", False),
        ("2.11", ">=2.11", True),
        ("6.10.1", ">=6.1,<8", True),
        ("8.0.0rc1", "<8,>=6.1", False),
        ("2", ">=2.0", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_number_by_number(version: str, asked: str, good: bool) -> None:
    assert doctor.fits(version, asked) is good


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_cannot_be_written_is_told(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLEEPKIT_CACHE", str(tmp_path / place))
    found = doctor._cache()
    assert (found.good, found.needed) == (False, False)
    assert "SLEEPKIT_CACHE=FOLDER names another" in found.detail
