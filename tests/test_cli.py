"""The command line: what it prints, what it refuses, and with which exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sleepkit import results, tasks, zoo
from sleepkit.cli import main
from sleepkit.experiments import presets
from tests.support.seals import change_note

TINY = ["steps=4", "batch_size=8", "checkpoint_every=2", "model.width=8", "model.n_heads=2", "log_every=2"]


def tiny_run(folder: Path, *more: str) -> list[str]:
    overrides = [part for override in (*TINY, *more) for part in ("--set", override)]
    return ["train", "rule110-explorer", "--quiet", "--folder", str(folder), *overrides]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nobody"], "preset: must be one of"),
        (["train", "rule110-explorer", "--set", "model.n_heads=7"], "n_heads: must divide width=64, got 7"),
        (["train", "rule110-explorer", "--set", "model.loop=[0, 9]"], "loop: must be [start, stop) inside the 2 layers, got"),
        (["train", "rule110-explorer", "--set", "sleep.n_passes=-1"], "n_passes: must be an integer >= 1, got -1"),
        (["train", "rule110-explorer", "--set", "sleep.n_passes=1.5"], "n_passes: must be an integer, got 1.5"),
        (["train", "rule110-explorer", "--set", "nonsense=1"], "'nonsense' is no setting"),
        (["train", "rule110-explorer", "--set", "task.options.widht=3"], "widht: unknown setting"),
        (["evaluate", "nobody"], "model name: must be one of"),
        (["evaluate", "rule110-explorer", "--n-passes=0"], "n_passes: must be an integer >= 1, got 0"),
        (["evaluate", "rule110-explorer", "--window-len=2"], "window_len: must hold the label block of 4 tokens, got 2"),
        (["trace", "rule110-explorer", "--index=-1"], "index: must be an integer >= 0, got -1"),
        (["tasks", "show", "chess"], f"task name: must be one of {', '.join(tasks.names())}, got 'chess'"),
        (["tasks", "show", "depo", "--set", "n_nodes=8"], "n_queries: must be between 1 and n_nodes=8, got 10"),
        (["tasks", "audit", "depo", "--set", "hops=3"], "DepoConfig.hops: unknown setting"),
        (["tasks", "audit", "depo", "--n-examples=0"], "n_examples: must be an integer >= 1, got 0"),
        (["tasks", "sample", "depo", "--set", "n_nodes"], "override: must look like name.name=value, got 'n_nodes'"),
        (["tasks", "sample", "depo", "--split=dev"], "split: must be one of 'train', 'validation', 'test', got 'dev'"),
        (["tasks", "sample", "depo", "--n-examples=0"], "--n-examples: must be an integer >= 1, got 0"),
        (["tasks", "bench", "depo", "--batch-size=0"], "--batch-size: must be an integer >= 1, got 0"),
        (["notebook", "nobody"], "nobody"),
        (["notebook", "00_quickstart", "-p", "n_passes", "2", "-p", "n_passes", "3"], "-p n_passes: must be given once, got 2"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("sleepkit: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_number_of_passes_that_is_no_number_exits_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "rule110-explorer", "--n-passes", "x"])
    assert stopped.value.code == 2


def test_presets_and_models_are_listed_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*presets.names(), *zoo.names()]
    assert all(len(line.split()) > 1 for line in lines)


SMALL_DEPO = ["depo", "--set", "n_nodes=8", "--set", "n_queries=4", "--set", "names=single", "--set", "n_symbols=12"]


def test_tasks_are_listed_shown_and_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == tasks.names()
    assert main(["tasks", "show", *SMALL_DEPO]) == 0
    shown = capsys.readouterr().out
    assert '"n_nodes": 8' in shown
    assert "vocabulary 30 tokens, seq_len 32, window_len 75" in shown
    assert "floors of test (exact)" in shown
    assert "       1   0.1250   0.0833" in shown
    assert main(["tasks", "sample", *SMALL_DEPO, "--index=3", "--n-examples=2"]) == 0
    sampled = capsys.readouterr().out
    assert "test[3]\ncycle of 8: " in sampled
    assert "test[4]\ncycle of 8: " in sampled


@pytest.mark.parametrize("task", [["rule110"], SMALL_DEPO])
def test_an_audit_of_a_sound_task_passes(task: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "audit", *task, "--n-examples=50"]) == 0
    assert "FAIL" not in capsys.readouterr().out


def test_an_audit_of_a_task_that_lies_exits_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.Rule110.solve
    monkeypatch.setattr(tasks.Rule110, "solve", lambda task, tokens: 1 - honest(task, tokens))
    assert main(["tasks", "audit", "rule110", "--n-examples=5"]) == 1
    assert "FAIL the oracle finds every answer" in capsys.readouterr().out


def test_the_speed_of_a_generator_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "bench", *SMALL_DEPO]) == 0
    assert re.fullmatch(r"[\d.]+ million tokens a second \([\d.]+ to [\d.]+\), \d+ examples a second\n", capsys.readouterr().out)


def test_the_doctor_finds_every_needed_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert re.search("gated delta rule: (native|chunked): ", capsys.readouterr().out)


def test_a_run_is_trained_published_and_reproduced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = tmp_path / "tiny"
    options = ["--publish", str(published), "--n-examples", "64", "--summary", "A test."]
    assert main([*tiny_run(tmp_path / "run"), *options]) == 0
    assert main(["evaluate", str(published), "--check", "--quiet"]) == 0
    assert "The counts are those on the card." in capsys.readouterr().out
    card = json.loads((published / "card.json").read_text())
    counts = card["accuracy"]["data_vars"]["n_correct"]["data"]
    counts[0][0] += 1
    change_note(published / "card.json", accuracy=card["accuracy"])
    assert main(["evaluate", str(published), "--check", "--quiet"]) == 1
    assert "The counts differ from the card." in capsys.readouterr().out


def test_an_evaluation_and_a_trace_can_be_written(tmp_path: Path) -> None:
    evaluation, recorded = tmp_path / "evaluation.nc", tmp_path / "trace.nc"
    assert main(["evaluate", "rule110-explorer", "--n-passes=1,2", "--n-examples=8", "--quiet", "--output", str(evaluation)]) == 0
    assert main(["trace", "rule110-explorer", "--n-passes=2", "--output", str(recorded)]) == 0
    assert results.load(evaluation).n_passes.values.tolist() == [1, 2]
    assert results.load_tree(recorded)["fast_weights"].sizes["sleep_pass"] == 3


def test_eviction_can_be_chosen_and_an_unknown_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation, recorded = tmp_path / "evaluation.nc", tmp_path / "trace.nc"
    few = ["--n-passes=1", "--n-examples=8", "--quiet", "--eviction=sliding"]
    assert main(["evaluate", "rule110-explorer", *few, "--output", str(evaluation)]) == 0
    assert results.load(evaluation).attrs["eviction"] == "sliding"
    assert main(["trace", "rule110-explorer", "--n-passes=1", "--eviction=sliding", "--output", str(recorded)]) == 0
    assert results.load_tree(recorded).attrs["eviction"] == "sliding"
    capsys.readouterr()
    for command in ("evaluate", "trace"):
        assert main([command, "rule110-explorer", "--eviction=soft"]) == 2
        assert capsys.readouterr().err.startswith("sleepkit: eviction: ")


def test_a_folder_of_other_settings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny_run(tmp_path / "run")) == 0
    assert main(tiny_run(tmp_path / "run", "seed=5")) == 2
    assert "must belong to the same settings" in capsys.readouterr().err


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "sleepkit", "presets"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "rule110-explorer" in done.stdout
