"""What an installation holds: few packages for the core, the rest in extras, and all that was published in the wheel."""

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from sleepkit import extras, published
from sleepkit.errors import MissingPackageError
from sleepkit.experiments import figures

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(lines: Iterable[str]) -> set[str]:
    return {plain(Requirement(line).name) for line in lines}


def with_what_they_need(names: Iterable[str]) -> set[str]:
    """Packages and all packages that those need, as installed here."""
    found: set[str] = set()
    waiting = [plain(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        wanted = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [plain(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def modules_beyond(names: set[str]) -> list[str]:
    """Top-level modules of what is installed here besides these packages."""
    return sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not names & set(map(plain, owners)) and module.isidentifier() and module != "sleepkit"
    )


def run_without(modules: list[str], code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run code in a fresh interpreter in which these modules cannot be found."""
    hide = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        f"hidden = {set(modules)!r}\n"
        "class Without(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name.partition('.')[0] in hidden else super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Without\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
    )
    return subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True, timeout=300, cwd=folder)


def imported_modules() -> dict[str, set[str]]:
    """Every foreign top-level module that the package imports, and the files that do."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "sleepkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                top = name.partition(".")[0]
                if top != "sleepkit" and top not in sys.stdlib_module_names:
                    found.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return found


def test_the_core_needs_at_most_nine_packages() -> None:
    assert len(packages(PROJECT["dependencies"])) <= 9


def test_every_module_that_is_imported_comes_with_a_declared_package() -> None:
    core = with_what_they_need(packages(PROJECT["dependencies"]))
    owners = importlib.metadata.packages_distributions()
    undeclared = {
        module: files
        for module, files in imported_modules().items()
        if not core & set(map(plain, owners.get(module, []))) and extras.extra_of(module) is None and module != "triton"
    }
    assert undeclared == {}


def test_every_package_of_the_core_is_imported() -> None:
    assert packages(PROJECT["dependencies"]) - set(map(plain, imported_modules())) == set()


def test_the_table_of_extras_is_that_of_the_project_file() -> None:
    declared = {name: packages(lines) - {"sleepkit"} for name, lines in EXTRAS.items() if name not in ("test", "gpu")}
    assert {name: set(lines) for name, lines in extras.EXTRAS.items()} == declared


def test_the_test_extra_contains_everything_optional() -> None:
    (own,) = [Requirement(line) for line in EXTRAS["test"] if plain(Requirement(line).name) == "sleepkit"]
    assert own.extras == set(EXTRAS) - {"test", "bench"}


def test_triton_comes_with_the_extras_gpu_and_test_alone() -> None:
    assert "triton" not in packages(PROJECT["dependencies"])
    assert [name for name, lines in EXTRAS.items() if "triton" in packages(lines)] == ["gpu"]
    assert [name for name, lines in EXTRAS.items() if any("gpu" in Requirement(line).extras for line in lines)] == ["test"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("panel", "workbench"),
        ("panel_material_ui.template", "workbench"),
        ("bokeh.server", "workbench"),
        ("argon2", "workbench"),
        ("IPython.display", "workbench"),
        ("distributed", "cluster"),
        ("playwright.sync_api", "bench"),
        ("PIL", "bench"),
        ("torch", None),
        ("sleepkit.nothing", None),
    ],
)
def test_a_missing_module_is_known_by_its_extra(module: str, extra: str | None) -> None:
    assert extras.extra_of(module) == extra


def test_a_missing_package_is_one_line_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingPackageError) as raised, extras.named():
        raise ModuleNotFoundError("No module named 'panel'", name="panel")
    assert str(raised.value).startswith("panel: must be installed, it comes with the extra workbench (pip install 'sleepkit[wor")
    assert "\n" not in str(raised.value)


def test_a_missing_module_of_no_extra_stays_what_it_is() -> None:
    with pytest.raises(ModuleNotFoundError) as raised, extras.named():
        raise ModuleNotFoundError("No module named 'torhc'", name="torhc")
    assert type(raised.value) is ModuleNotFoundError


CORE = """
import contextlib, io, json
from pathlib import Path
import sleepkit as sk
from sleepkit.cli import main

def run(*arguments):
    assert main(arguments) == 0, arguments

run("evaluate", "rule110-explorer", "--n-passes", "1,2", "--n-examples", "8", "--quiet", "--output", "counts.nc")
run("trace", "rule110-explorer", "--n-passes", "2", "--output", "trace.nc")
run("figure", "fig2b", "--quiet")
run("figure", "fig3", "--quiet")
run("presets")
run("zoo")
run("tasks", "list")
run("tasks", "sample", "depo")
sk.train(sk.presets.get("fig2b", size="smoke").with_overrides("steps=2"), folder="run", progress=False)
assert (Path("run") / "model").is_dir()
sk.plots.accuracy_by_depth(sk.zoo.load_card("rule110-explorer").accuracy)
sk.zoo.load_probe("rule110-explorer")
refused = {}
for arguments in (["dashboard"], ["notebook", "fig2b"], ["bench", "screenshots"]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = main(arguments)
    refused[arguments[0]] = [status, said.getvalue()]
print(json.dumps(refused))
"""


def test_the_core_trains_evaluates_traces_draws_and_names_the_extra_of_what_is_missing(tmp_path: Path) -> None:
    core = with_what_they_need(packages(PROJECT["dependencies"]))
    done = run_without(modules_beyond(core), CORE, tmp_path)
    assert done.returncode == 0, done.stderr
    refused = json.loads(done.stdout.strip().rpartition("\n")[2])
    for name, extra in (("dashboard", "workbench"), ("notebook", "workbench"), ("bench", "bench")):
        status, line = refused[name]
        assert status == 2
        assert line.count("\n") == 1
        assert f"comes with the extra {extra} (pip install 'sleepkit[{extra}]')" in line


WITHOUT_TRITON = """
import torch
import sleepkit as sk
from sleepkit import ops

task = sk.tasks.create("rule110", width=8, n_strings=2, rollout_depth=1)
for layers in ("attn gdn", "attn jet", "attn mamba2"):
    model = sk.HybridLM(sk.ModelConfig(vocab_size=3, width=8, n_heads=2, layers=layers))
    result = sk.rollout(model, task.batch("train", 0, 4), sk.SleepConfig(n_passes=2, window_len=9))
    result.loss.backward()
print(ops.explain(device="cuda"))
q = torch.zeros(1, 2, 1, 4)
try:
    ops.gated_delta_rule(q, q, q, torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), torch.zeros(1, 1, 4, 4), impl="triton")
except sk.ImplUnavailableError as error:
    print(error)
"""


def test_everything_runs_without_triton_and_says_that_it_is_missing(tmp_path: Path) -> None:
    done = run_without(["triton"], WITHOUT_TRITON, tmp_path)
    assert done.returncode == 0, done.stderr
    explained, refused = done.stdout.strip().splitlines()
    assert "triton is not installed" in explained
    assert "triton is not installed" in refused


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built without a network."""
    (made,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return Path(made)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip would unpack it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, code: str, folder: Path) -> str:
    """What code prints that runs outside the clone with the installed package."""
    start = (
        f"import sys\nsys.path[:] = [{str(installed)!r}, *[place for place in sys.path if place not in ('', {str(ROOT)!r})]]\n"
    )
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def published_files(folder: Path) -> dict[str, bytes]:
    """What of the clone travels, or what came with an installed package."""
    files = [*folder.glob("notebooks/*.ipynb"), *folder.glob("notebooks/results/*.nc"), *folder.glob("dashboards/*.py")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_notebooks_dashboards_and_results_travel_in_the_wheel_byte_for_byte(installed: Path) -> None:
    expected = published_files(ROOT)
    assert len(expected) >= 15
    assert published_files(installed / "sleepkit" / "_published") == expected


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"sleepkit", f"sleepkit-{importlib.import_module('sleepkit').__version__}.dist-info"}
    listed = subprocess.run(["git", "ls-files", "sleepkit"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(listed.splitlines()) - names == set()
    assert "sleepkit/py.typed" in names
    assert wheel.stat().st_size < 10_000_000


def test_a_published_notebook_runs_outside_a_clone_and_leaves_its_copy_there(installed: Path, tmp_path: Path) -> None:
    before = published_files(installed / "sleepkit" / "_published")
    code = "from sleepkit.cli import main\nassert main(['notebook', 'fig6']) == 0\n"
    assert run_installed(installed, code, tmp_path).strip() == str(Path("out", "fig6.ipynb"))
    assert "**Verdict: " in (tmp_path / "out" / "fig6.ipynb").read_text()
    assert published_files(installed / "sleepkit" / "_published") == before


INSTALLED = """
import json
import sleepkit as sk
from sleepkit import notebook, published
from sleepkit.bench import windows
from sleepkit.experiments import figures

refused = []
for publish in (
    lambda: figures.publish("fig2b", "cpu"),
    lambda: windows.publish("smoke"),
    lambda: notebook.render("fig2b"),
    lambda: notebook.strip("fig2b"),
):
    try:
        publish()
    except sk.InvalidInputError as error:
        refused.append(str(error))
made = [name for name in figures.names() if figures.load(name, "cpu").sizes["depth"]]
print(json.dumps([published.clone(), notebook.names(), made, int(windows.load_or_measure("cpu").attrs["threads_used"]), refused]))
"""


def test_an_installed_package_finds_what_was_published_and_is_not_published_into(installed: Path, tmp_path: Path) -> None:
    clone, names, made, threads, refused = json.loads(run_installed(installed, INSTALLED, tmp_path))
    assert clone is None
    assert names == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert made == figures.names()
    assert threads == 1
    assert len(refused) == 4
    assert all("must be done in a clone of the repository" in line for line in refused)


def test_in_a_clone_its_own_folders_are_used() -> None:
    assert published.clone() == ROOT
    assert published.folder("notebooks") == ROOT / "notebooks"
    assert published.require_clone("argument", "value") == ROOT


def test_the_environment_file_installs_the_project_with_everything() -> None:
    python, pip, extra = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    assert extra == {"pip": ["-c constraints.txt", "-e .[test]"]}


def test_constraints_pin_every_package_of_the_core_and_of_the_test_extra() -> None:
    wanted = packages(PROJECT["dependencies"]) | packages(EXTRAS["test"]) | {"triton"}
    wanted |= {name for extra in ("workbench", "cluster") for name in packages(EXTRAS[extra])}
    pinned = {plain(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    assert wanted - pinned == {"sleepkit"}
