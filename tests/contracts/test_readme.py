"""The README agrees with the code, the cards and the committed measurements."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sleepkit import tasks
from sleepkit.bench import readme
from sleepkit.bench.report import SUITES
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import explore
from sleepkit.tasks.audit import audit

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_generated_parts_are_up_to_date() -> None:
    assert readme.regenerate(README) == README


def test_every_generated_part_stands_in_the_readme() -> None:
    assert set(re.findall(r"<!-- begin ([\w-]+) -->", README)) == set(readme.PARTS)


def test_a_stale_part_is_noticed() -> None:
    stale = README.replace("<!-- end notation -->", "| x | y | z | stale |\n<!-- end notation -->")
    assert stale != README
    assert readme.regenerate(stale) == README


def test_every_committed_measurement_is_of_a_known_suite_and_is_in_the_table() -> None:
    files = sorted((ROOT / "benchmarks").glob("*.json"))
    assert files
    for path in files:
        assert json.loads(path.read_text())["suite"] == path.stem
        assert path.stem in SUITES
        assert f"| {path.stem} | not measured | |" not in README


def test_every_local_link_and_picture_exists() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_tree_names_every_package() -> None:
    tree = README.partition("## The tree")[2].partition("## Notation")[0]
    packages = [path.parent.name for path in (ROOT / "sleepkit").glob("*/__init__.py")]
    assert packages
    assert [name for name in packages if f"  {name}/" not in tree] == []


def test_python_examples_compile() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, "README.md", "exec")


def test_the_first_python_example_runs() -> None:
    block = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0].replace("n_examples=512", "n_examples=8")
    done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_task_of_the_example_passes_the_audit_and_takes_one_line_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = README.partition("## Adding a task\n")[2].partition("\n## ")[0]
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
    section = README.partition("## Adding a task\n")[2].partition("\n## ")[0]
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
