"""What the lab page reads from a folder of runs, and what it calls the runs."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from sleepkit import results
from sleepkit.errors import InvalidInputError
from sleepkit.training import passes_at
from sleepkit.training.live import LIVE, LiveLog
from sleepkit.ui.lab.labels import differing, labels
from sleepkit.ui.lab.store import DrawnPasses, RunStore
from tests.support.lab import finished_run, stopped_run
from tests.support.runs import tiny_settings
from tests.support.seals import unsealed

pytestmark = unsealed


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, a stopped one of another seed, and two folders that are no runs."""
    root = tmp_path_factory.mktemp("runs")
    finished_run(root, validate_every=6, validation_examples=8)
    stopped_run(root, after=5, seed=1)
    (root / "notes").mkdir()
    (root / "notes" / "todo.txt").write_text("buy milk")
    (root / "broken").mkdir()
    (root / "broken" / "settings.json").write_text('{"name": 3}')
    return root


def test_finished_and_stopped_runs_are_read_and_foreign_folders_named_with_the_reason(runs: Path) -> None:
    shelf = RunStore(runs).scan()
    assert sorted((run.status, run.n_steps) for run in shelf.runs) == [("finished", 12), ("stopped", 5)]
    reasons = {each.key: each.reason for each in shelf.unreadable}
    assert reasons.keys() == {"notes", "broken"}
    assert "must hold the settings.json of a training run, got ['todo.txt']" in reasons["notes"]
    assert reasons["broken"].startswith("folder: must hold readable settings of a run (")
    assert all("\n" not in reason for reason in reasons.values())


def test_a_finished_run_is_read_from_its_history_and_a_stopped_one_from_its_log(runs: Path) -> None:
    by_status = {run.status: run for run in RunStore(runs).scan().runs}
    finished, stopped = by_status["finished"], by_status["stopped"]
    assert finished.history.identical(results.load(finished.folder / "history.nc"))
    assert stopped.history.step.values.tolist() == [1, 2, 3, 4, 5]
    assert stopped.can_resume
    assert not finished.can_resume


def test_a_run_without_a_live_log_is_read_from_its_newest_checkpoint(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "copy")
    stopped = next(run for run in RunStore(tmp_path / "copy").scan().runs if run.status == "stopped")
    (stopped.folder / LIVE).unlink()
    again = next(run for run in RunStore(tmp_path / "copy").scan().runs if run.key == stopped.key)
    assert (again.status, again.n_steps) == ("interrupted", 5)
    assert again.history.identical(stopped.history)
    (stopped.folder / "checkpoint-00000005" / "progress.json").write_text("{")
    shelf = RunStore(tmp_path / "copy").scan()
    assert "checkpoint: must be whole" in {each.key: each.reason for each in shelf.unreadable}[stopped.key]


def test_only_files_that_changed_are_read_again(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "copy")
    store = RunStore(tmp_path / "copy")
    first = store.scan()
    assert store.n_read == 4
    assert store.scan() is first
    assert store.n_read == 4
    stopped = next(run for run in first.runs if run.status == "stopped")
    row = {name: float(stopped.history[name][-1]) for name in stopped.history.data_vars}
    with (stopped.folder / LIVE).open("a") as log:
        log.write(json.dumps({"row": {"step": 6, **row}}) + "\n")
    again = store.scan()
    assert store.n_read == 5
    assert next(run for run in again.runs if run.key == stopped.key).n_steps == 6
    assert {run.key: run for run in again.runs if run.status == "finished"}.items() <= {
        run.key: run for run in first.runs
    }.items()


def test_a_run_whose_log_is_held_trains_and_one_whose_process_is_gone_was_interrupted(tmp_path: Path) -> None:
    settings = stopped_run(tmp_path, after=5)
    folder = tmp_path / f"{settings.name}-{settings.digest()}"
    store, log = RunStore(tmp_path), LiveLog(folder)
    before = store.scan().runs[0]
    log.begin([], [])
    log.row({"step": 6, "loss": 1, "accuracy": 1, "n_passes_drawn": 1, "gradient_norm": 1, "tokens_per_s": 9, "elapsed_s": 3})
    training = store.scan().runs[0]
    log.close()
    gone = store.scan().runs[0]
    assert [run.status for run in (before, training, gone)] == ["training", "training", "interrupted"]
    assert training.eta_s() == pytest.approx(3.0 / 6 * (12 - 6))
    assert gone.eta_s() is None
    assert gone.pid is None
    assert training.pid is not None


def test_runs_in_the_folder_of_a_sweep_are_found(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "root" / "sweep")
    keys = {run.key for run in RunStore(tmp_path / "root").scan().runs}
    assert keys == {f"sweep/{run.key}" for run in RunStore(runs).scan().runs}


def test_a_root_that_is_not_there_is_empty_until_it_comes(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "later")
    assert store.scan().runs == ()
    (tmp_path / "later" / "x").mkdir(parents=True)
    assert len(store.scan().unreadable) == 1


def test_labels_are_made_of_the_settings_that_differ_and_of_no_folder(runs: Path) -> None:
    shelf = RunStore(runs).scan()
    made = labels(shelf.runs)
    assert sorted(made.values()) == [
        "tiny, seed 0, validate every 6, validation examples 8",
        "tiny, seed 1, validate every 0, validation examples 512",
    ]
    assert not any(run.settings.digest() in made[run.key] for run in shelf.runs)


def test_only_runs_that_agree_in_everything_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "one")
    shutil.copytree(run.folder, tmp_path / "two")
    assert sorted(labels(RunStore(tmp_path).scan().runs).values()) == ["tiny (one)", "tiny (two)"]


def test_the_settings_that_differ_are_found_to_the_last_option() -> None:
    first = tiny_settings()
    assert differing([first, first]) == []
    second = first.with_overrides("sleep.n_passes=3", "task.options.n_strings=3", "seed=4")
    assert differing([first, second]) == ["task.options.n_strings", "sleep.n_passes", "seed"]


def test_the_n_of_every_step_is_counted_as_the_law_drew_it(runs: Path) -> None:
    run = next(run for run in RunStore(runs).scan().runs if run.status == "finished")
    drawn = [passes_at(run.settings, step) for step in range(12)]
    counts = DrawnPasses().counts(run)
    assert counts == {n: drawn.count(n) for n in sorted(set(drawn))}
    assert sum(counts.values()) == 12
    assert np.array_equal(run.history.n_passes_drawn, drawn)  # every step has a row here


def test_a_run_that_is_not_there_is_refused(runs: Path) -> None:
    with pytest.raises(InvalidInputError, match="got 'nobody'"):
        RunStore(runs).scan().get("nobody")


def test_a_scan_of_a_hundred_runs_that_have_not_changed_takes_no_time_to_speak_of(runs: Path, tmp_path: Path) -> None:
    finished = next(run for run in RunStore(runs).scan().runs if run.status == "stopped")
    for number in range(100):
        shutil.copytree(finished.folder, tmp_path / str(number))
    store = RunStore(tmp_path)
    store.scan()
    began = time.perf_counter()
    store.scan()
    assert store.n_read == 100
    assert time.perf_counter() - began < 1.0
