"""README.md and the pages of docs/ agree with the code, the cards and the committed measurements."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import sleepkit
from sleepkit import cli, tasks
from sleepkit.bench import documents
from sleepkit.bench.report import SUITES
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import explore
from sleepkit.tasks.audit import audit

ROOT = Path(__file__).parents[2]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in documents.documents()}
README = PAGES["README.md"]
PLAIN = {name: (ROOT / name).read_text() for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
EVERY = pytest.mark.parametrize("document", PAGES)
EVERY_TEXT = pytest.mark.parametrize("document", [*PAGES, *PLAIN])
MOST_README_BYTES = 12_000
# What is measured or counted by commands of their own, not by ``sleepkit bench``.
OTHER_COMMANDS = {"robustness", "torch_range", "costly"}


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that a reader of Markdown makes of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, env=_environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= MOST_README_BYTES


@EVERY
def test_generated_parts_are_up_to_date(document: str) -> None:
    assert documents.regenerate(PAGES[document]) == PAGES[document]


def test_every_generated_part_stands_in_one_place() -> None:
    found = [name for text in PAGES.values() for name in re.findall(r"<!-- begin ([\w-]+) -->", text)]
    assert sorted(found) == sorted(documents.PARTS)


def test_a_stale_part_is_noticed() -> None:
    design = PAGES["docs/design.md"]
    stale = design.replace("<!-- end notation -->", "| x | y | z | stale |\n<!-- end notation -->")
    assert stale != design
    assert documents.regenerate(stale) == design


def test_a_part_that_nobody_generates_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^part: must be one of .*, got 'weather'$"):
        documents.regenerate("<!-- begin weather -->\nrain\n<!-- end weather -->")


def test_every_committed_measurement_is_of_a_known_suite_and_is_in_the_table() -> None:
    files = sorted((ROOT / "benchmarks").glob("*.json"))
    assert files
    for path in files:
        if path.stem in OTHER_COMMANDS:
            continue
        assert json.loads(path.read_text())["suite"] == path.stem
        assert path.stem in SUITES
        assert f"| {path.stem} | not measured | |" not in PAGES["docs/performance.md"]


@EVERY_TEXT
def test_every_local_link_and_picture_exists(document: str) -> None:
    text = (PAGES | PLAIN)[document]
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = [*re.findall(r"\]\(([^)\s]+)\)", outside), *re.findall(r'src="([^"]+)"', outside)]
    for target in targets:
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", README))
    assert linked == set(PAGES) - {"README.md"}


def test_the_tree_names_every_package_and_every_module_beside_them() -> None:
    tree = PAGES["docs/design.md"].partition("## The tree")[2].partition("\n## ")[0]
    names = {path.parent.name + "/" for path in (ROOT / "sleepkit").glob("*/__init__.py")}
    names |= {path.stem for path in (ROOT / "sleepkit").glob("*.py") if not path.stem.startswith("__")}
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}", tree)} == set()


@EVERY_TEXT
def test_python_examples_compile(document: str) -> None:
    for block in blocks("python", (PAGES | PLAIN)[document]):
        compile(block, document, "exec")


def test_the_example_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    (block,) = blocks("python", README)
    assert "depth" in run_python(block, tmp_path)
    assert (tmp_path / "fast-weights.html").stat().st_size > 100_000


def test_the_first_example_from_python_and_that_of_the_workbench_run(tmp_path: Path) -> None:
    first = blocks("python", PAGES["docs/python.md"])[0].replace("n_examples=512", "n_examples=8")
    (cell,) = blocks("python", PAGES["docs/workbench.md"])
    assert "0 4096" in run_python(first + cell, tmp_path)


@EVERY_TEXT
def test_every_command_that_is_shown_is_one_that_the_command_line_takes(document: str) -> None:
    lines = [line for block in blocks("bash", (PAGES | PLAIN)[document]) for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["sleepkit"]:
            assert cli._parser().parse_args(words[1:]).command, line


def test_the_task_of_the_example_passes_the_audit_and_takes_one_line_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGES["docs/tasks.md"].partition("## Adding a task\n")[2].partition("\n## ")[0]
    (tmp_path / "readme_parity.py").write_text(re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("readme_parity")
    line = re.search(r"`(\".*?\),)`", section)[1]
    monkeypatch.setattr(tasks, "_REGISTRY", {**tasks._REGISTRY, **eval(f"{{{line}}}", vars(module))})
    task = tasks.create("parity", n_bits=30, depths=[1, 4, 30])
    findings = audit(task, n_examples=300)
    assert len(findings) > 30
    assert [finding for finding in findings if finding.n_failed] == []
    assert "question 0, depth " in task.render(task.batch("test", 0, 1), 0)
    assert tasks.describe("parity") == "Parity of the first d bits."


def test_the_task_of_the_example_is_explored_once_it_says_how_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGES["docs/tasks.md"].partition("## Adding a task\n")[2].partition("\n## ")[0]
    (tmp_path / "readme_explored.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)))
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("readme_explored")
    plain, explored = (made(module.ParityConfig(n_bits=30)) for made in (module.Parity, module.ExploredParity))
    with pytest.raises(InvalidInputError, match=r"^task: must have depth_in_text, .*, write to be explored"):
        explore.write(plain, plain.batch("test", 0, 1))
    example = explore.at_depth(explored, 3).batch("test", 0, 1)
    text = explore.write(explored, example)
    assert torch.equal(explore.read(explored, text, depth=3).tokens, example.tokens)
    assert text == "".join(map(str, example.tokens[0, :30].tolist()))
    way = explore.reasoning(explored, example)
    assert way.text[:, -1].values.tolist() == [str(answer) for answer in explored.solve(example.tokens)[0].tolist()]
    assert way.position[0].values.tolist() == [30, 0, 1, 2]
    with pytest.raises(InvalidInputError, match=r"^text: bits must be 30 of 0 and 1, got '012'$"):
        explore.read(explored, "012", depth=3)


def test_import_is_cheap_and_needs_no_face() -> None:
    code = (
        "import sys, torch, time\n"
        "began = time.perf_counter()\n"
        "import sleepkit\n"
        "took = time.perf_counter() - began\n"
        "faces = {'panel', 'papermill', 'plotly', 'xarray', 'ipywidgets'} & set(sys.modules)\n"
        "assert took < 0.2, took\n"
        "assert not faces, faces\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_core_runs_without_the_faces() -> None:
    code = (
        "import sys\n"
        "for name in ('panel', 'papermill', 'plotly', 'ipywidgets', 'h5netcdf', 'kaleido', 'panel_material_ui'):\n"
        "    sys.modules[name] = None\n"
        "import sleepkit as sk\n"
        "task = sk.tasks.create('rule110', width=8, n_strings=2, rollout_depth=1)\n"
        "model = sk.HybridLM(sk.ModelConfig(vocab_size=3, width=8, n_heads=2))\n"
        "data = sk.evaluate(model, task, n_passes=2, n_examples=8)\n"
        "assert int(data.n_total.sum()) == 16\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_citation_names_this_version_and_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert (cited["title"], cited["version"], cited["license"]) == ("sleepkit", sleepkit.__version__, "Apache-2.0")
    assert [reference["url"] for reference in cited["references"]] == ["https://arxiv.org/abs/2605.26099"]


def test_the_changelog_begins_with_what_is_not_released_or_this_version() -> None:
    first = re.search(r"^## (.*)$", PLAIN["CHANGELOG.md"], flags=re.MULTILINE)
    assert first
    assert first[1] == "Unreleased" or first[1].startswith(sleepkit.__version__)


def test_both_ends_of_the_range_of_torch_were_tried_and_nothing_failed() -> None:
    (allowed,) = re.findall(r'"torch(>=.*?)"', (ROOT / "pyproject.toml").read_text())
    lowest, beyond = (tuple(map(int, version.split("."))) for version in re.findall(r"\d+\.\d+", allowed))
    found = json.loads((ROOT / "benchmarks" / "torch_range.json").read_text())["results"]
    tried = sorted(tuple(map(int, version.split(".")[:2])) for version in found)
    assert tried[0] == lowest
    assert tried[-1] == (beyond[0], beyond[1] - 1)
    assert all(result["passed"] > 200 and result["failed"] == [] for result in found.values())
