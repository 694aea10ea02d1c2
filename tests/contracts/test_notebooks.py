"""What every notebook of the repository promises, and that the quickstart keeps its promise."""

import ast
import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from sleepkit.experiments import figures
from sleepkit.notebook import (
    FOLDER,
    MOST_RENDERED_BYTES,
    NotebookError,
    names,
    notebook_parameters,
    notebook_path,
    run_notebook,
    strip_notebook,
)

EVERY = pytest.mark.parametrize("name", names())
WITHOUT_RESULTS = {name for name in (*figures.names(), "fig6") if not figures.results_path(name, "cpu").exists()}
EVERY_RENDERED = pytest.mark.parametrize("name", sorted(set(names()) - WITHOUT_RESULTS))
PLACES = re.compile("/(home|root|Users|tmp)/")
FORBIDDEN = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.comprehension,
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def forbidden_in(source: str) -> list[str]:
    return [type(node).__name__ for node in ast.walk(ast.parse(source)) if isinstance(node, FORBIDDEN)]


def rendered(name: str) -> NotebookNode:
    return read(FOLDER / "rendered" / f"{name}.ipynb")


def test_the_quickstart_is_among_the_notebooks() -> None:
    assert "00_quickstart" in names()


def test_a_notebook_is_rendered_unless_its_figure_was_not_run() -> None:
    made = {path.stem for path in (FOLDER / "rendered").glob("*.ipynb")}
    assert made == set(names()) - WITHOUT_RESULTS


@EVERY
def test_a_notebook_is_committed_stripped_with_cell_ids_for_the_kernel_python3(name: str) -> None:
    notebook = read(notebook_path(name))
    assert strip_notebook(notebook) == notebook
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@EVERY
def test_a_notebook_starts_with_its_claim_then_parameters_then_their_check(name: str) -> None:
    notebook = read(notebook_path(name))
    assert notebook.cells[0].cell_type == "markdown"
    first, second = code_cells(notebook)[:2]
    assert first.metadata.get("tags") == ["parameters"]
    calls = [node for node in ast.walk(ast.parse(second.source)) if isinstance(node, ast.Call)]
    checks = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "check_parameters"]
    assert len(checks) == 1
    types = checks[0].args[1]
    assert isinstance(types, ast.Dict)
    checked = {ast.literal_eval(key): ast.unparse(value) for key, value in zip(types.keys, types.values, strict=True) if key}
    declared = {key: getattr(kind, "__name__", str(kind)) for key, (kind, _) in notebook_parameters(name).items()}
    assert checked == declared


@EVERY
def test_a_notebook_defines_nothing_and_loops_over_nothing(name: str) -> None:
    for cell in code_cells(read(notebook_path(name))):
        assert forbidden_in(cell.source) == [], cell.id


@pytest.mark.parametrize(
    "source",
    [
        "def f(): pass",
        "class A: pass",
        "for i in x: pass",
        "while x: pass",
        "[i for i in x]",
        "f = lambda: 1",
        "all(i for i in x)",
    ],
)
def test_definitions_and_loops_are_recognised(source: str) -> None:
    assert forbidden_in(source) != []


@EVERY_RENDERED
def test_a_rendered_notebook_is_its_source_with_results(name: str) -> None:
    assert strip_notebook(rendered(name)) == read(notebook_path(name))
    assert [cell.execution_count for cell in code_cells(rendered(name))] == list(
        range(1, len(code_cells(read(notebook_path(name)))) + 1)
    )


@EVERY_RENDERED
def test_a_rendered_notebook_is_small_and_shows_its_figures_without_a_script(name: str) -> None:
    assert (FOLDER / "rendered" / f"{name}.ipynb").stat().st_size < MOST_RENDERED_BYTES
    outputs = [output for cell in code_cells(rendered(name)) for output in cell.outputs]
    figures = [output.data for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert figures
    for data in figures:
        assert base64.b64decode(data["image/png"]).startswith(PNG_SIGNATURE)


@EVERY_RENDERED
def test_a_rendered_notebook_has_no_errors_no_timings_and_no_machine_paths(name: str) -> None:
    notebook = rendered(name)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            texts = [output.get("text", ""), *(str(output.get("data", {}).get(kind)) for kind in ("text/plain", "text/html"))]
            assert not any(PLACES.search(text) or str(FOLDER.parent) in text for text in texts)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is tiny: on a busy machine the kernel would mostly wait for its second thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def verdict(path: Path) -> str:
    return str(code_cells(read(path))[-1].outputs[0].data["text/markdown"])


def test_the_quickstart_declares_the_four_parameters() -> None:
    assert notebook_parameters("00_quickstart") == {
        "model": (str, "rule110-explorer"),
        "n_passes": (int, 4),
        "seed": (int, 0),
        "n_examples": (int, 256),
    }


@pytest.mark.usefixtures("one_thread")
def test_the_quickstart_runs_and_reaches_a_verdict(tmp_path: Path) -> None:
    made = run_notebook("00_quickstart", tmp_path / "out.ipynb", {"n_examples": 32}, progress=False)
    text = verdict(made)
    assert text.startswith("**Verdict: ")
    assert "With N = 4, " in text
    assert "of 128 answers are right" in text
    assert "the best constant answer: " in text


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("n_passes", "curves"), [(1, [1, 2]), (2, [1, 2])])
def test_the_quickstart_runs_without_sleep_and_with_one_pass_asleep(n_passes: int, curves: list[int], tmp_path: Path) -> None:
    values = {"n_examples": 8, "n_passes": n_passes, "seed": 1}
    made = run_notebook("00_quickstart", tmp_path / "out.ipynb", values, progress=False)
    cells = {cell.id: cell for cell in code_cells(read(made))}
    traces = cells["measure"].outputs[0].data["application/vnd.plotly.v1+json"]["data"]
    drawn = {trace["name"].split(",")[0] for trace in traces if trace["name"].startswith("N = ")}
    assert drawn == {f"N = {count}" for count in curves}
    assert ("nothing slept" in verdict(made)) == (n_passes == 1)


SMOKE: dict[str, dict[str, object]] = {
    **{name: {"size": "smoke"} for name in ("fig2a", "fig2b", "fig3", "fig4", "fig5", "passes-or-layers")},
    "fig6": {"size": "smoke"},
    "generalisation": {"n_examples": 16, "most_passes": 6},
    "anatomy": {"n_examples": 64, "n_passes": 2},
}


def test_every_notebook_but_the_quickstart_has_a_small_size() -> None:
    assert {*SMOKE, "00_quickstart"} == set(names())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", SMOKE)
def test_a_notebook_runs_in_small_and_ends_with_a_verdict(name: str, tmp_path: Path) -> None:
    values = SMOKE[name] | ({"runs": str(tmp_path / "runs")} if "runs" in notebook_parameters(name) else {})
    made = run_notebook(name, tmp_path / "out.ipynb", values, progress=False)
    assert verdict(made).startswith("**Verdict: ")


@pytest.mark.usefixtures("one_thread")
def test_an_unknown_size_is_refused_by_the_notebook(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="size: must be one of smoke, cpu, paper"):
        run_notebook("fig2b", tmp_path / "out.ipynb", {"size": "huge"}, progress=False)
