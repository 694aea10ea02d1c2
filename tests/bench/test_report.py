"""JSON whole or not at all; one suite that cannot run leaves the others alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sleepkit.bench import report
from sleepkit.bench.documents import performance
from sleepkit.bench.rows import ROWS, held_against
from sleepkit.cli import main
from sleepkit.errors import InvalidInputError
from sleepkit.settings import Settings, settings


@settings
class Given(Settings):
    """Settings of a suite that takes no time."""

    rounds: int = 2
    against: str | None = None


def raises(error: BaseException) -> Any:
    def run(*_: Any, **__: Any) -> None:
        raise error

    return run


@pytest.fixture
def suites(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the suites by ones that take no time: two that work, one that cannot run."""
    modules = {
        "quick": SimpleNamespace(Given=Given, run=lambda given, progress: {"rounds": given.rounds, "against": given.against}),
        "old": SimpleNamespace(measure=lambda: {"answer": 42}),
        "broken": SimpleNamespace(measure=raises(InvalidInputError("chromium: must be installed"))),
    }
    monkeypatch.setattr(report.importlib, "import_module", lambda name: modules[name])
    known = {"broken": report.Suite("broken"), "train": report.Suite("quick", "Given"), "old": report.Suite("old")}
    monkeypatch.setattr(report, "SUITES", known)
    return modules


def test_a_report_holds_results_settings_load_and_provenance(suites: dict[str, Any], tmp_path: Path) -> None:
    made = report.run_suite("train", tmp_path / "new" / "train.json", overrides=["rounds=3"])
    assert made == json.loads((tmp_path / "new" / "train.json").read_text())
    assert made["results"] == {"rounds": 3, "against": None}
    assert made["settings"] == {"rounds": 3, "against": None}
    assert {"load_before", "load_after", "processor", "n_cores", "version_torch", "git_revision"} <= set(made)
    assert "settings" not in report.run_suite("old", tmp_path / "old.json")


def test_a_suite_that_fails_leaves_the_file_as_it_was(suites: dict[str, Any], tmp_path: Path) -> None:
    old = tmp_path / "broken.json"
    old.write_text("old")
    with pytest.raises(InvalidInputError):
        report.run_suite("broken", old)
    suites["broken"].measure = raises(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        report.run_suite("broken", old)
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_all_suites_run_into_a_folder_and_the_broken_one_is_named(
    suites: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "all", "--json", str(tmp_path / "out"), "--quiet"]) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "not measured (InvalidInputError: chromium: must be installed)" in printed.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["old.json", "train.json"]


def test_a_revision_reaches_the_suite_train_even_if_it_looks_like_a_number(suites: dict[str, Any], tmp_path: Path) -> None:
    overrides = [report.against_override("1234567")]
    assert report.run_suite("train", tmp_path / "train.json", overrides=overrides)["results"]["against"] == "1234567"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nobody"],
            "suite: must be one of ops, train, latency, memory, session, tasks, dashboard, all, screenshots, got 'nobody'",
        ),
        (["tasks", "--set", "rounds=1"], "--set: the suite tasks has no settings"),
        (["ops", "--set", "nothing=1"], "'nothing' is no setting"),
        (["ops", "--set", "rounds=0"], "rounds: must be an integer >= 1, got 0"),
        (["ops", "--against", "HEAD"], "--against: belongs to the suite train"),
        (["train", "--against", "no-such-revision"], "--against: must be a revision of this checkout"),
        (["all", "--against", "no-such-revision"], "--against: must be a revision of this checkout"),
        (["all", "--set", "rounds=1"], "--set: belongs to one suite"),
        (["ops", "--json", "."], "--json: must be a file"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("sleepkit: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


def test_every_suite_has_rows_in_the_readme() -> None:
    assert set(ROWS) == set(report.SUITES)


def test_a_suite_without_a_file_is_not_measured(tmp_path: Path) -> None:
    lines = performance(tmp_path).splitlines()[2:]
    assert lines == [f"| {name} | not measured | |" for name in ROWS]


def test_a_figure_is_shown_with_what_it_is_held_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleepkit.bench.rows.TARGETS", {"train": ">= 3"})
    assert held_against("train", "3.1") == "target >= 3, measured 3.1"
    assert held_against("sleep", "0.9") == "0.9"
