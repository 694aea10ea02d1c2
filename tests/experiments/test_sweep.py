"""Sweeps: what is refused before anything runs, and that every cell is done once, whatever dies."""

import fcntl
import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import xarray as xr

from sleepkit import results
from sleepkit.cli import main
from sleepkit.errors import InvalidInputError, StoreError
from sleepkit.experiments.grid import Sweep, parse_grid
from sleepkit.experiments.sweep import gather_sweep, run_sweep, sweep_table
from sleepkit.experiments.work import owned
from tests.support.sweeping import TINY, arguments, kill, start, wait_for_owner

STEPS = 160


def sweep(steps: int = 4, **changes: object) -> Sweep:
    values = {
        "target": "rule110-explorer",
        "grid": {"sleep.n_passes": (1, 2)},
        "overrides": (*TINY, f"steps={steps}"),
        "n_examples": 8,
    }
    return Sweep(**{**values, **changes})


def assert_same_results(folder: Path, expected: Path) -> None:
    """Refuse results that differ in more than times and provenance."""
    names = sorted(path.parent.name for path in expected.glob("*/result.nc"))
    assert sorted(path.parent.name for path in folder.glob("*/result.nc")) == names
    timed = ["elapsed_s", "tokens_per_s"]
    for name in names:
        one, other = (results.load(each / name / "result.nc").drop_vars(timed) for each in (folder, expected))
        xr.testing.assert_equal(one, other)
        weights = [(each / name / "model" / "model.safetensors").read_bytes() for each in (folder, expected)]
        assert weights[0] == weights[1], name


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The longer sweep, one cell after the other and undisturbed."""
    folder = tmp_path_factory.mktemp("serial")
    assert run_sweep(sweep(STEPS), folder, workers=1, progress=False) == {}
    return folder


@pytest.fixture
def copied(serial: Path, tmp_path: Path) -> Path:
    shutil.copytree(serial, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["n_passes=1,2,4"], {"n_passes": (1, 2, 4)}),
        (["seed=0"], {"seed": (0,)}),
        (["model.layers=attn gdn,gdn"], {"model.layers": ("attn gdn", "gdn")}),
        (["n_passes_weights=[1,2],null", "seed=3"], {"n_passes_weights": ([1, 2], None), "seed": (3,)}),
        (["name=a,1"], {"name": ("a", 1)}),
    ],
)
def test_a_grid_is_json_or_bare_strings(texts: list[str], expected: dict[str, tuple[object, ...]]) -> None:
    assert parse_grid(texts) == expected


def test_the_last_name_changes_fastest() -> None:
    points = sweep(grid={"seed": (0, 1), "sleep.n_passes": (1, 2)}).points()
    assert [tuple(point.values()) for point in points] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_an_option_of_a_preset_stands_for_the_setting_it_changes() -> None:
    assert Sweep(target="fig2a", grid={"n_passes": (1, 2), "seed": (0, 1), "rollout_depth": (1, 2)}).axes() == {"seed": "seed"}
    axes = Sweep(target="rule110-explorer", grid={"steps": (4, 8), "model.width": (8, 16)}).axes()
    assert axes == {"steps": "steps", "model.width": "model.width"}
    with pytest.raises(InvalidInputError, match="grid: must give dimensions of distinct names, got 'width'"):
        Sweep(target="fig2a", grid={"model.width": (8, 16), "task.options.width": (5, 6)}).axes()


def test_cells_have_one_thread_unless_somebody_says_otherwise() -> None:
    cells = Sweep(target="fig2a", grid={"n_passes": (1,)}, overrides=("size=paper",)).cells()
    more = Sweep(target="fig2a", grid={"n_passes": (1,)}, overrides=("size=paper", "n_threads=3")).cells()
    assert [cell.settings.n_threads for cell in (*cells, *more)] == [1, 3]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--grid", "n_pases=1,2"], "n_pases: is no setting and no option of preset 'rule110-explorer'; options: steps, seed"),
        (["--grid", "sleep.n_pases=1"], "'n_pases' is no setting"),
        (["--grid", "model.n_ears=3"], "'n_ears' is no setting"),
        (["--grid", "model.mlp_ratio=-1"], "mlp_ratio: must be"),
        (["--grid", "seed="], "grid: must look like name=value,value, got 'seed='"),
        (["--grid", "seed=1,1"], "grid seed: must hold distinct values, one or more, got (1, 1)"),
        (["--grid", "seed=1", "--grid", "seed=2"], "grid seed: must be given once"),
        (["--grid", "steps=4,5"], "grid steps: must not be set for all cells too, got 4"),
        (["--grid", "optimiser.warmup_steps=1", "--grid", "warmup_steps=1"], "distinct names, got 'warmup_steps'"),
        (["--n-passes=1,2"], "n_passes: must be empty where the grid sweeps N"),
        (["--workers=0"], "workers: must be None or an integer >= 1, got 0"),
        (["--retries=-1"], "retries: must be an integer >= 0, got -1"),
        (["--set", "device=cuda:1"], "device: must be 'cpu' or 'cuda' in a sweep"),
        (["--scheduler=tcp://127.0.0.1:1", "--workers=2"], "workers: must not be given with a scheduler, got 2"),
        (["--gather"], "2 of 2 cells have no whole result"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path / "sweep", *more)) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_every_cell_is_gathered_and_a_finished_sweep_starts_no_process(serial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleepkit.experiments.local.subprocess.Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert run_sweep(sweep(STEPS), serial, progress=False) == {}
    data = results.check(results.load(serial / "sweep.nc"), "figure")
    assert data.n_passes.values.tolist() == [1, 2]
    assert int(data.n_total.sum()) == 2 * 8 * 4
    assert json.loads(data.attrs["failed"]) == {}
    assert sweep_table(sweep(STEPS), serial).count("% of 32") == 2


def test_a_truncated_result_is_refused_by_name_when_gathering_and_made_again_by_the_sweep(serial: Path, copied: Path) -> None:
    broken = sorted(copied.glob("*/result.nc"))[0]
    broken.write_bytes(broken.read_bytes()[:-500])
    before = (copied / "sweep.nc").read_bytes()
    with pytest.raises(StoreError, match=f"1 of 2 cells have no whole result.*{re.escape(str(broken))}"):
        gather_sweep(sweep(STEPS), copied)
    assert (copied / "sweep.nc").read_bytes() == before
    assert run_sweep(sweep(STEPS), copied, progress=False) == {}
    assert_same_results(copied, serial)


def test_a_cell_whose_process_is_killed_goes_on_in_another(serial: Path, tmp_path: Path) -> None:
    running = start("sleepkit", *arguments(tmp_path, "--workers=2", steps=STEPS))
    kill(wait_for_owner(tmp_path))
    printed, complaints = running.communicate(timeout=500)
    assert running.returncode == 0, complaints
    assert printed.count("% of 32") == 2
    assert_same_results(tmp_path, serial)


def test_an_interrupted_sweep_leaves_checkpoints_and_goes_on(serial: Path, tmp_path: Path) -> None:
    running = start("sleepkit", *arguments(tmp_path, "--workers=1", steps=STEPS))
    owner = wait_for_owner(tmp_path)
    running.send_signal(signal.SIGINT)
    _, complaints = running.communicate(timeout=500)
    assert running.returncode == 130
    assert complaints == "sleepkit: interrupted\n"
    assert not Path(f"/proc/{owner}").exists()
    assert list(tmp_path.glob("*/checkpoint-*"))
    assert not list(tmp_path.glob("*/ERROR.txt"))
    assert run_sweep(sweep(STEPS), tmp_path, progress=False) == {}
    assert_same_results(tmp_path, serial)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook that divides by its parameter and keeps the quotient."""
    cells = [
        nbformat.v4.new_code_cell("divisor: int = 1\nresult_path: str | None = None", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import xarray as xr\nfrom sleepkit import results\nresults.save(xr.Dataset({'quotient': 12 / divisor}), result_path)"
        ),
    ]
    path = tmp_path / "divide.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_cell_that_fails_leaves_its_error_and_its_notebook_and_the_others_go_on(
    notebook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    assert main(["sweep", str(notebook), "--grid", "divisor=0,3", "--quiet", "--folder", str(folder)]) == 1
    printed = capsys.readouterr()
    (error,) = folder.glob("*/ERROR.txt")
    assert "ZeroDivisionError" in error.read_text()
    assert (error.parent / "notebook.failed.ipynb").exists()
    assert str(error.parent) in printed.err
    data = results.load(folder / "sweep.nc")
    assert data.quotient.to_series().to_dict() == {3: 4.0}
    assert list(json.loads(data.attrs["failed"])) == [error.parent.name]
    with pytest.raises(StoreError, match=r"1 of 2 cells have no whole result.*it failed, see .*ERROR\.txt"):
        gather_sweep(Sweep(target=str(notebook), grid={"divisor": (0, 3)}), folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"divisr": (1,)}}, "divisr: unknown parameter"),
        ({"grid": {"divisor": ("one",)}}, "divisor: must be an integer, got 'one'"),
        ({"n_passes": (1,)}, "n_passes: belongs to a preset"),
    ],
)
def test_a_notebook_is_swept_over_its_own_parameters(notebook: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Sweep(**{"target": str(notebook), "grid": {"divisor": (1,)}, **changes}).cells()


def test_a_folder_is_held_by_one_process_at_a_time_and_freed_by_its_death(tmp_path: Path) -> None:
    holder = start("tests.support.sweeping", str(tmp_path / "cell"))
    lock = tmp_path / "cell" / ".lock"
    until = time.monotonic() + 120
    while not (lock.exists() and str(holder.pid) in lock.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    with lock.open("a+") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    kill(holder.pid)
    holder.communicate()
    with owned(tmp_path / "cell"):
        assert str(holder.pid) not in lock.read_text().split()[1:]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A dask scheduler with two workers on loopback, each a process of its own."""
    note = tmp_path / "scheduler.json"
    scheduler = start(
        "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard", f"--scheduler-file={note}"
    )
    workers = []
    try:
        until = time.monotonic() + 120
        while not note.exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        address = json.loads(note.read_text())["address"]
        for number in range(2):
            place = f"--local-directory={tmp_path / f'worker-{number}'}"
            workers.append(start("distributed.cli.dask_worker", address, "--nthreads=1", "--no-nanny", "--no-dashboard", place))
        yield address
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.communicate()


def test_a_cluster_with_a_worker_killed_in_mid_run_finishes_every_cell_once(cluster: str, serial: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    running = start("sleepkit", *arguments(folder, f"--scheduler={cluster}", steps=STEPS))
    kill(wait_for_owner(folder))
    printed, complaints = running.communicate(timeout=500)
    assert running.returncode == 0, complaints
    assert printed.count("% of 32") == 2
    assert_same_results(folder, serial)
