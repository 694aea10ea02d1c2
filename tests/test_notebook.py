"""The strict notebook runner: what it refuses, what it leaves behind, and whose Python runs the cells."""

import copy
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sleepkit import notebook as runner
from sleepkit.errors import InvalidInputError, NotebookError
from sleepkit.jupyter import RENDERER

PARAMETERS = """
count: int = 3  # how many
rate: float = 0.5
name = "plain"
wide: bool = False
items: list = [1, 2]
label: str | None = None
"""
SHOW = "print([count, rate, name, wide, items, label])"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a notebook with a parameters cell and some code cells."""

    def write(*sources: str, parameters: str | None = PARAMETERS, name: str = "tiny.ipynb") -> Path:
        cells = [new_markdown_cell("A claim.")]
        if parameters is not None:
            cells.append(new_code_cell(parameters.strip(), metadata={"tags": ["parameters"]}))
        cells += [new_code_cell(source) for source in sources]
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        nbformat.write(runner.strip_notebook(new_notebook(cells=cells)), path)
        return path

    return write


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a kernel was about to start")

    monkeypatch.setattr(runner, "_execute", refuse)


def run(path: Path, output: Path | None = None, **parameters: Any) -> str:
    """Run a notebook quietly and return everything it printed."""
    made = runner.run_notebook(path, output, parameters, progress=False)
    cells = nbformat.read(made, as_version=4).cells
    return "".join(output.text for cell in cells for output in cell.get("outputs", []) if output.get("name") == "stdout")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_one_line(error: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_notebook_is_found_by_name_by_prefix_and_by_path(make: Make) -> None:
    by_name = runner.notebook_path("00_quickstart")
    assert by_name == runner.FOLDER / "00_quickstart.ipynb"
    assert runner.notebook_path("00_") == by_name
    assert runner.notebook_path(str(by_name)) == by_name
    path = make(SHOW)
    assert runner.notebook_path(path) == path


@pytest.mark.parametrize("name", ["99_missing", "", "missing.ipynb", 3])
def test_an_unknown_notebook_is_refused(name: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "10_a.ipynb").touch()
    (tmp_path / "11_b.ipynb").touch()
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook(name)
    assert_one_line(error, "notebook", repr(name))


def test_the_refusal_of_a_name_lists_the_known_names() -> None:
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook("99_missing")
    assert_one_line(error, "00_quickstart", "'99_missing'")


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text("{")
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook(path)
    assert_one_line(error, "readable notebook", "broken.ipynb")


def test_parameters_are_read_with_type_and_default(make: Make) -> None:
    assert runner.notebook_parameters(make()) == {
        "count": (int, 3),
        "rate": (float, 0.5),
        "name": (str, "plain"),
        "wide": (bool, False),
        "items": (list, [1, 2]),
        "label": (str | None, None),
    }


def test_a_notebook_without_parameters_has_none(make: Make) -> None:
    assert runner.notebook_parameters(make(parameters=None)) == {}


@pytest.mark.parametrize(
    "cell",
    [
        "import os",
        "a = b = 1",
        "a: int",
        "a = open('x')",
        "a = None",
        "a: int = 'x'",
        "a: bool = 1",
        "a: bytes = b'x'",
        "a: list[int] = [1]",
        "a = (",
    ],
)
def test_a_parameters_cell_holds_literal_assignments_only(cell: str, make: Make) -> None:
    with pytest.raises(InvalidInputError) as error:
        runner.notebook_parameters(make(parameters=cell))
    assert_one_line(error)


def test_two_parameters_cells_are_refused(make: Make) -> None:
    path = make()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell("other = 1", metadata={"tags": ["parameters"]}))
    nbformat.write(notebook, path)
    with pytest.raises(InvalidInputError, match="one cell tagged 'parameters'"):
        runner.notebook_parameters(path)


@pytest.mark.usefixtures("nothing_runs")
def test_an_unknown_parameter_is_refused_before_anything_runs(make: Make, tmp_path: Path) -> None:
    path = make(SHOW)
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook(path, parameters={"cuont": 4})
    assert_one_line(error, "cuont: unknown parameter", "known: count, rate", "got 4")
    assert files(tmp_path) == ["tiny.ipynb"]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", "4"),
        ("count", True),
        ("count", 4.0),
        ("count", np.int64(4)),
        ("count", None),
        ("rate", "fast"),
        ("rate", True),
        ("rate", float("nan")),
        ("name", 4),
        ("name", Path("x")),
        ("wide", 1),
        ("wide", "true"),
        ("items", (1, 2)),
        ("items", "12"),
        ("items", [Path("x")]),
        ("items", [(1, 2)]),
        ("items", [float("inf")]),
        ("label", 4),
    ],
)
def test_an_ill_typed_value_is_refused_before_anything_runs(name: str, value: Any, make: Make, tmp_path: Path) -> None:
    path = make(SHOW)
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook(path, parameters={name: value})
    assert_one_line(error, f"{name}: ", "must be", "got ")
    assert files(tmp_path) == ["tiny.ipynb"]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "arguments",
    [
        {"parameters": [("count", 4)]},
        {"timeout_s": 0},
        {"timeout_s": 1.5},
        {"timeout_s": True},
        {"output": "out.json"},
    ],
)
def test_other_bad_arguments_are_refused_before_anything_runs(arguments: dict[str, Any], make: Make) -> None:
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook(make(SHOW), **arguments)
    assert_one_line(error, next(iter(arguments)))


@pytest.mark.usefixtures("nothing_runs")
def test_the_output_is_never_the_notebook_itself(make: Make) -> None:
    path = make(SHOW)
    with pytest.raises(InvalidInputError, match="must not be the notebook itself"):
        runner.run_notebook(path, path.parent / "." / path.name)


@pytest.mark.usefixtures("nothing_runs")
def test_an_output_folder_that_cannot_be_made_is_refused(make: Make) -> None:
    path = make(SHOW)
    with pytest.raises(InvalidInputError) as error:
        runner.run_notebook(path, path / "out.ipynb")
    assert_one_line(error, "output: must be in a folder that can be made")


def test_values_arrive_as_they_were_given_and_the_source_stays_as_it_was(make: Make, tmp_path: Path) -> None:
    path = make(SHOW)
    before = path.read_bytes()
    target = tmp_path / "new {folder}" / "done.ipynb"
    printed = run(path, target, count=7, rate=2, name="it's", wide=True, items=[None, "a", 1.5], label="x")
    assert printed == "[7, 2.0, \"it's\", True, [None, 'a', 1.5], 'x']\n"
    assert files(tmp_path) == ["new {folder}/done.ipynb", "tiny.ipynb"]
    assert path.read_bytes() == before


def test_a_notebook_without_kernelspec_runs_in_this_interpreter_whatever_is_called_python3(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = tmp_path / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    broken = {"argv": ["/bin/false", "{connection_file}"], "display_name": "decoy", "language": "python"}
    (decoy / "kernel.json").write_text(json.dumps(broken))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    from jupyter_client.kernelspec import KernelSpecManager

    assert KernelSpecManager().get_kernel_spec("python3").display_name == "decoy"
    path = make("import sys, sleepkit\nprint(sys.executable, sleepkit.__file__)")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict({})
    nbformat.write(notebook, path)
    assert run(path).split() == [sys.executable, str(runner.FOLDER.parent / "sleepkit" / "__init__.py")]
    assert (tmp_path / "out" / "tiny.ipynb").exists()


def test_values_of_an_earlier_run_do_not_linger(make: Make, tmp_path: Path) -> None:
    first = runner.run_notebook(make(SHOW), tmp_path / "first.ipynb", {"count": 7}, progress=False)
    assert run(first, tmp_path / "second.ipynb").startswith("[3, ")


def test_a_failing_cell_leaves_the_failed_notebook_and_no_output(make: Make, tmp_path: Path) -> None:
    path = make("print('before')", "raise KeyError('first line\\nsecond line')", "print('after')")
    with pytest.raises(NotebookError) as error:
        run(path, tmp_path / "out" / "done.ipynb", count=4)
    assert_one_line(error, "tiny.ipynb", "cell 4 (", "raise KeyError", "got KeyError: 'first line", "done.failed.ipynb")
    assert files(tmp_path) == ["out/done.failed.ipynb", "tiny.ipynb"]
    failed = nbformat.read(tmp_path / "out" / "done.failed.ipynb", as_version=4)
    assert failed.metadata.papermill.exception is True
    assert [cell.execution_count for cell in failed.cells if cell.cell_type == "code"] == [1, 2, 3, 4, None]


def test_a_failure_keeps_an_older_output_and_a_success_removes_an_older_failure(make: Make, tmp_path: Path) -> None:
    path, target = make("assert count != 5", SHOW), tmp_path / "done.ipynb"
    run(path, target, count=4)
    before = target.read_bytes()
    with pytest.raises(NotebookError, match="AssertionError"):
        run(path, target, count=5)
    assert target.read_bytes() == before
    assert files(tmp_path) == ["done.failed.ipynb", "done.ipynb", "tiny.ipynb"]
    run(path, target, count=6)
    assert files(tmp_path) == ["done.ipynb", "tiny.ipynb"]


def test_a_cell_that_takes_too_long_is_a_failure(make: Make, tmp_path: Path) -> None:
    path, start = make("import time", "time.sleep(300)"), time.monotonic()
    with pytest.raises(NotebookError) as error:
        runner.run_notebook(path, timeout_s=1, progress=False)
    assert_one_line(error, "cell 4 ('time.sleep(300)')", "must finish within 1 s")
    assert files(tmp_path) == ["out/tiny.failed.ipynb", "tiny.ipynb"]
    assert nbformat.read(tmp_path / "out" / "tiny.failed.ipynb", as_version=4).metadata.papermill.exception is True
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("source", "reason"), [("import sys; sys.exit()", "exit"), ("import os; os._exit(1)", "must leave the kernel alive")]
)
def test_a_notebook_that_stops_early_is_a_failure(source: str, reason: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotebookError) as error:
        run(make(source, "print('never')"))
    assert_one_line(error, "cell 3", reason)
    assert files(tmp_path) == ["out/tiny.failed.ipynb", "tiny.ipynb"]


def test_two_notebooks_run_side_by_side_in_threads(make: Make, tmp_path: Path) -> None:
    path, barrier = make(SHOW), threading.Barrier(2)

    def work(count: int) -> str:
        barrier.wait(timeout=60)
        return run(path, tmp_path / f"{count}.ipynb", count=count)

    with ThreadPoolExecutor(2) as pool:
        assert [text[:3] for text in pool.map(work, [4, 5])] == ["[4,", "[5,"]


def test_stripping_removes_everything_a_run_adds(make: Make, tmp_path: Path) -> None:
    path = make(SHOW)
    source = nbformat.read(path, as_version=4)
    executed = nbformat.read(runner.run_notebook(path, progress=False), as_version=4)
    assert executed != source
    assert runner.strip_notebook(executed) == source
    noisy = tmp_path / "noisy.ipynb"
    executed.cells[2].outputs.append(new_output("stream", text="more"))
    executed.cells[0].metadata["editable"] = False
    nbformat.write(executed, noisy)
    assert runner.strip(noisy) == noisy
    assert noisy.read_bytes() == path.read_bytes()


def test_rendering_keeps_figures_as_data_and_picture_and_nothing_of_this_machine(make: Make, tmp_path: Path) -> None:
    path = make(
        "import plotly.graph_objects as go\n"
        "from sleepkit.notebook import use_offline_figures\n"
        "use_offline_figures()\n"
        "go.Figure(go.Scatter(y=[1, 2]))",
        parameters=None,
    )
    made = runner.render(path, progress=False)
    assert made == tmp_path / "rendered" / "tiny.ipynb"
    notebook = nbformat.read(made, as_version=4)
    figure = next(output for output in notebook.cells[1].outputs if output.output_type == "display_data")
    assert {"application/vnd.plotly.v1+json", "image/png"} <= set(figure.data)
    assert runner.strip_notebook(notebook) == nbformat.read(path, as_version=4)
    assert "papermill" not in notebook.metadata
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys; print(sys.prefix + '/x')", "must not name a folder of this machine"),
        ("print('x' * 1_000_000)", "must be below 1,000,000 bytes"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_rendering_that_cannot_be_published_is_refused(source: str, reason: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotebookError) as error:
        runner.render(make(source), progress=False)
    assert_one_line(error, reason, "tiny.ipynb")
    assert files(tmp_path) == ["tiny.ipynb"]


def test_checked_parameters_pass() -> None:
    types = {"n_passes": int, "label": str | None, "rate": float}
    scope = {"n_passes": 1, "label": None, "rate": 2, "other": object(), "In": ["", "# Parameters\nn_passes = 1\n"]}
    runner.check_parameters(scope, types, at_least={"n_passes": 1})


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"n_passes": "x"}, "n_passes: must be an integer, got 'x'"),
        ({"n_passes": True}, "n_passes: must be an integer, got True"),
        ({"n_passes": 0}, "n_passes: must be >= 1, got 0"),
        ({}, "n_passes: is required, got None"),
        (
            {"n_passes": 1, "n_pases": 3, "In": ["", "n_passes = 1", "# Parameters\nn_pases = 3\n"]},
            "n_pases: unknown parameter; known: n_passes, got 3",
        ),
    ],
)
def test_parameters_are_checked_inside_the_notebook_too(scope: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        runner.check_parameters(scope, {"n_passes": int}, at_least={"n_passes": 1})
    assert str(error.value) == message


def test_figures_travel_as_data_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import plotly.io as pio

    before = pio.renderers.default
    try:
        monkeypatch.delenv("PLOTLY_RENDERER", raising=False)
        runner.use_offline_figures()
        assert pio.renderers.default == RENDERER
        monkeypatch.setenv("PLOTLY_RENDERER", "json")
        runner.use_offline_figures()
        assert pio.renderers.default == "json"
    finally:
        pio.renderers.default = before


def test_importing_the_runner_imports_nothing_heavy() -> None:
    heavy = {"papermill", "nbformat", "nbclient", "jupyter_client", "plotly", "torch"}
    code = f"import sys, sleepkit.notebook; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=runner.FOLDER.parent)
    assert done.stdout.strip() == "[]"


def without(data: dict[str, Any], *path: str | int) -> str:
    """Return a notebook as text, without one of its entries."""
    changed = copy.deepcopy(data)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return json.dumps(changed)


def test_a_notebook_with_a_missing_key_is_refused_in_one_line(make: Make, tmp_path: Path) -> None:
    whole = json.loads(make("print(1)").read_text())
    keys: list[tuple[str | int, ...]] = [("cells",), ("metadata",), ("nbformat",), ("nbformat_minor",)]
    keys += [("cells", -1, key) for key in ("cell_type", "metadata", "source", "outputs", "execution_count")]
    texts = [without(whole, *path) for path in keys] + ["{}", "[]", "3", "", '{"nbformat": "x"}', '{"nbformat": 4, "cells": 3}']
    for text in texts:
        (tmp_path / "damaged.ipynb").write_text(text)
        with pytest.raises(InvalidInputError, match=r"^notebook: must be a readable notebook \(") as refused:
            runner.notebook_parameters(tmp_path / "damaged.ipynb")
        assert "\n" not in str(refused.value)
