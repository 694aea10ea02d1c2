"""The command line: what it prints, what it refuses, and with which exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import sleepkit
from sleepkit import catalogue, notebook, results, tasks, zoo
from sleepkit.bench import report
from sleepkit.cli import main
from sleepkit.experiments import figures, presets
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
        (["train", "rule110-explorer", "--set", "nonsense=1"], "nonsense: is no setting and no option of preset"),
        (["train", "rule110-explorer", "--set", "task.options.widht=3"], "widht: unknown setting"),
        (["train", "rule110-explorre"], "(did you mean 'rule110-explorer'?), got 'rule110-explorre'"),
        (["train", "rule110-explorer", "--set", "sleep.n_pases=1"], "(did you mean 'n_passes'?)"),
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


def test_the_lists_are_those_of_the_modules_word_for_word() -> None:
    assert {name: presets.describe(name) for name in presets.names()} == catalogue.PRESETS
    assert {name: tasks.describe(name) for name in tasks.names()} == catalogue.TASKS
    assert sorted([*figures.names(), "fig6"]) == list(catalogue.FIGURES)
    assert list(report.SUITES) == list(catalogue.SUITES)
    assert get_args(presets.Size) == catalogue.SIZES


def test_presets_figures_and_notebooks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for command, names in (("presets", presets.names()), ("figure", list(catalogue.FIGURES)), ("notebook", notebook.names())):
        assert main([command]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names


def test_the_zoo_is_a_table_of_sizes_and_accuracies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("  ") for line in lines[1 : 1 + len(zoo.names())]]
    assert [row[0] for row in rows] == zoo.names()
    for name, row in zip(zoo.names(), rows, strict=True):
        model, card = zoo.load(name)
        own = card.accuracy.sel(n_passes=card.sleep.n_passes)
        assert f"{sum(parameter.numel() for parameter in model.parameters()):,}" in [cell.strip() for cell in row]
        assert f"{100 * int(own.n_correct.sum()) / int(own.n_total.sum()):.1f} %" in [cell.strip() for cell in row]


@pytest.mark.parametrize("arguments", [[], ["tasks"]])
def test_a_command_that_needs_another_prints_its_help_alone(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: sleepkit")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"sleepkit {sleepkit.__version__}\n"


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
NUMBERS = ["9" * 5000, "1" * 21, "1e400", "NaN", "-Infinity"]
UNFIT = [DEEP, "[" * 5000 + "]" * 5000, *NUMBERS, '{"a":1,"a":2}', "a\0b", "\ud800", '"\\ud800"']


@pytest.mark.parametrize("value", UNFIT, ids=lambda value: ascii(value[:12]))
def test_values_that_no_setting_could_hold_are_one_short_line(
    value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    doors = [
        ["train", "rule110-explorer", "--set", f"steps={value}"],
        ["train", "rule110-explorer", "--set", f"task.options.seed={value}"],
        ["train", "rule110-explorer", "--set", f"{value}=1"],
        ["tasks", "show", "depo", "--set", f"seed={value}"],
        ["notebook", "00_quickstart", "-p", "n_passes", value],
        ["sweep", "rule110-explorer", "--grid", f"seed={value}"],
        *([command, value] for command in ("train", "evaluate", "trace", "notebook", "sweep", "figure", "bench", value)),
        ["tasks", "show", value],
        ["trace", "rule110-explorer", "--index", value],
        ["evaluate", "rule110-explorer", "--n-passes", value],
    ]
    for arguments in doors:
        assert main(arguments) == 2, arguments[:3]
        said = capsys.readouterr().err
        assert said.startswith("sleepkit: ")
        assert said.count("\n") == 1
        assert len(said) < 800
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["\u0663", "1_000", "1.0", "0x10", "inf", "", "\uff11"])
def test_integers_are_plain_digits(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["trace", "rule110-explorer", "--index", value],
        ["evaluate", "rule110-explorer", "--n-passes", value],
        ["train", "rule110-explorer", "--set", f"steps={value}"],
    ):
        assert main(arguments) == 2, arguments
        assert "integer" in capsys.readouterr().err


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_overrides_mean_the_same_in_any_order(order: tuple[int, ...]) -> None:
    given = ["model.width=24", "model.n_heads=3", 'task.options={"width": 5, "n_strings": 2, "rollout_depth": [1, 2]}']
    base = presets.get("rule110-explorer").replace(curriculum=())
    made = base.with_overrides("sleep.window_len=9", *(given[number] for number in order))
    assert (made.model.width, made.model.n_heads, made.task.options["width"]) == (24, 3, 5)


def test_presets_are_for_a_laptop_unless_another_size_is_asked_for() -> None:
    for name in presets.names():
        if "size" in presets.options_of(name):
            assert presets.get(name) == presets.get(name, size="cpu")
            assert presets.changed(name, {"size": "paper"}) == presets.get(name, size="paper")


def test_an_unpublished_figure_is_not_trained_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure", "fig2b", "--size", "smoke"]) == 2
    assert "must be published at this size, or made here with --run (4 trainings), got 'smoke'" in capsys.readouterr().err


MISTYPED = [
    ["trian"],
    ["train", "nobody"],
    ["train", "nobody", "--set", "steps=1"],
    ["evaluate", "nobody"],
    ["trace", "nobody"],
    ["notebook", "nobody"],
    ["sweep", "nobody"],
    ["figure", "nobody"],
    ["bench", "nobody"],
    ["tasks", "show", "nobody"],
    ["--help"],
    ["train", "--help"],
    ["presets"],
    ["tasks", "list"],
]


@pytest.mark.parametrize("arguments", MISTYPED, ids=" ".join)
def test_a_list_or_a_mistyped_name_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
from sleepkit.__main__ import run
sys.argv = ["sleepkit", *{arguments!r}]
try:
    run()
except SystemExit:
    pass
heavy = {{"torch", "numpy", "xarray", "panel", "plotly", "pandas", "nbformat"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


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


@pytest.mark.parametrize(
    "arguments", [["dashboard", "--port=--"], ["figure", "fig2b", "--size=--"], ["tasks", "show", "depo", "--set=--"]]
)
def test_two_dashes_are_no_value(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "must be given a value, got '--'" in said
    assert said.count("\n") == 1
