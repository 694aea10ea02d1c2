"""The live log: the history while a run trains, who holds it, how it ended, and what a torn line does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sleepkit.errors import CheckpointError, StoreError
from sleepkit.files.holds import is_held
from sleepkit.training import train
from sleepkit.training.history import as_dataset
from sleepkit.training.live import LIVE, LiveLog, read_live
from tests.support.runs import tiny_settings
from tests.support.seals import unsealed

REPOSITORY = Path(__file__).parents[2]


def test_the_log_of_a_finished_run_holds_its_history_to_the_bit(tmp_path: Path) -> None:
    run = train(tiny_settings(validate_every=6, validation_examples=8), folder=tmp_path / "run", progress=False)
    told = read_live(run.folder)
    assert told.outcome == "finished"
    assert as_dataset(told.rows, told.validations).identical(run.history.drop_attrs())
    assert told.began is not None
    assert told.began["pid"] == os.getpid()


def test_rows_can_be_read_between_checkpoints_while_the_run_holds_its_log(tmp_path: Path) -> None:
    folder, seen = tmp_path / "run", []

    def look(step: int, row: dict[str, float]) -> None:
        told = read_live(folder)
        seen.append((step, is_held(folder / LIVE), told.rows[-1]["loss"] == row["loss"], told.outcome))

    train(tiny_settings(), folder=folder, progress=False, on_row=look)
    assert seen == [(step, True, True, None) for step in range(1, 13)]
    assert not is_held(folder / LIVE)


def test_a_stopped_run_says_so_and_goes_on_without_doubling_its_rows(tmp_path: Path) -> None:
    folder, seen = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        train(
            tiny_settings(),
            folder=folder,
            progress=False,
            on_row=lambda step, _: seen.append(step),
            should_stop=lambda: len(seen) == 5,
        )
    assert read_live(folder).outcome == "stopped"
    train(tiny_settings(), folder=folder, progress=False)
    assert [row["step"] for row in read_live(folder).rows] == list(range(1, 13))


def test_a_killed_run_has_no_outcome_and_is_held_by_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "tests.support.killed_run", str(folder), "after-step-6"]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=300, check=False)
    told = read_live(folder)
    assert (told.outcome, len(told.rows), is_held(folder / LIVE)) == (None, 6, False)
    train(tiny_settings(), folder=folder, progress=False)
    assert [row["step"] for row in read_live(folder).rows] == list(range(1, 13))


def test_a_failed_run_says_why_in_one_line(tmp_path: Path) -> None:
    def fail(step: int, row: dict[str, float]) -> None:
        raise ValueError("two\nlines")

    with pytest.raises(ValueError, match="two"):
        train(tiny_settings(), folder=tmp_path, progress=False, on_row=fail)
    told = read_live(tmp_path)
    assert (told.outcome, told.error) == ("failed", "ValueError: two lines")


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleepkit.training.live._PATIENCE_S", 0.05)
    train(tiny_settings(), folder=tmp_path, progress=False)
    before = (tmp_path / LIVE).read_bytes()
    log = LiveLog(tmp_path)
    with pytest.raises(CheckpointError, match="one process at a time"):
        train(tiny_settings(), folder=tmp_path, progress=False)
    log.close()
    assert (tmp_path / LIVE).read_bytes() == before


@unsealed
def test_a_torn_last_line_is_not_read_and_a_damaged_one_inside_is_named(tmp_path: Path) -> None:
    row = json.dumps({"row": {"step": 1, "loss": 2.0}})
    (tmp_path / LIVE).write_text(f'{row}\n{{"row": {{"st')
    assert [row["step"] for row in read_live(tmp_path).rows] == [1]
    for damaged in ('{"row": {"st', '{"other": 1}', '{"row": {"loss": "low"}}', "[]"):
        (tmp_path / LIVE).write_text(f"{row}\n{damaged}\n{row}\n")
        with pytest.raises(StoreError, match="line 2"):
            read_live(tmp_path)
    with pytest.raises(StoreError, match="must be the live log"):
        read_live(tmp_path / "nowhere")
