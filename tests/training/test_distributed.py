"""Several processes on one batch: the steps of one process to rounding, and checkpoints for any number of processes.

Error budget. Two processes sum the same float64 terms of loss and gradient in another order: a relative error of some 1e-15 for
each of about a thousand terms, which 12 steps of Muon and AdamW carry on and enlarge; Muon's five iterations and AdamW's division
by the root of a small second moment cost three digits or so. 1e-9 is far above that and far below what a wrong weight of the
parts would make: they ask for unequal numbers of targets here, which the last test shows.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sleepkit import results
from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.sleep import SleepConfig
from sleepkit.tasks import NOTHING_ASKED
from sleepkit.training import TaskSettings, TrainSettings, train
from sleepkit.training.distributed import Processes, processes
from tests.support.runs import tiny_settings

REPOSITORY = Path(__file__).parents[2]
RELATIVE = 1e-9


DEPO = {"names": "single", "n_symbols": 8, "n_nodes": 6, "n_hops": 2, "n_queries": 6, "test_hops": [1, 2], "window_len": 24}


def settings(**changes: object) -> TrainSettings:
    """The tiny run on Depo, with cycles of several lengths."""
    return tiny_settings(
        task=TaskSettings(name="depo", options=DEPO),
        model=ModelConfig(vocab_size=12, width=16, n_heads=2, layers="attn gdn", mlp_ratio=2.0),
        sleep=SleepConfig(n_passes=2, window_len=24),
        dtype="float64",
        validate_every=6,
        validation_examples=16,
        **changes,
    )


def launch(n_processes: int, *arguments: str, module: str = "tests.support.several") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}", "-m", module]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*command, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def write(made: TrainSettings, folder: Path) -> str:
    path = folder / "settings.json"
    path.write_text(made.to_json())
    return str(path)


def assert_close_runs(folder: Path, expected: Path) -> None:
    history, other = (results.load(each / "history.nc") for each in (folder, expected))
    assert history.step.values.tolist() == other.step.values.tolist()
    for name in ("loss", "gradient_norm", "accuracy"):
        assert history[name].values == pytest.approx(other[name].values, rel=RELATIVE), name
    assert history.n_passes_drawn.equals(other.n_passes_drawn)
    assert history.n_total.equals(other.n_total)
    weights = HybridLM.load(expected / "model").state_dict()
    for name, tensor in HybridLM.load(folder / "model").state_dict().items():
        scale = weights[name].abs().max().item()
        assert (tensor - weights[name]).abs().max().item() <= RELATIVE * scale, name


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run in one process."""
    return train(settings(), folder=tmp_path_factory.mktemp("alone") / "run", progress=False).folder


def test_the_command_in_two_processes_makes_the_steps_of_one(tmp_path: Path) -> None:
    small = ["steps=6", "batch_size=8", "model.width=8", "model.n_heads=2", "log_every=1", "dtype=float64", "validate_every=6"]
    overrides = [part for override in small for part in ("--set", override)]
    command = ["train", "rule110-explorer", "--quiet", *overrides, "--folder"]
    done = launch(2, *command, str(tmp_path / "two"), module="sleepkit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 steps, loss") == 1  # one of them speaks
    one = subprocess.run([sys.executable, "-m", "sleepkit", *command, str(tmp_path / "one")], cwd=REPOSITORY, check=False)
    assert one.returncode == 0
    assert_close_runs(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_stopped_run_goes_on_in_another_number_of_processes(alone: Path, tmp_path: Path, before: int, after: int) -> None:
    note, folder = write(settings(), tmp_path), str(tmp_path / "run")
    stopped = launch(before, note, folder, "stop-5")
    assert stopped.returncode != 0
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))[-1] == "checkpoint-00000005"
    done = launch(after, note, folder)
    assert done.returncode == 0, done.stderr
    assert_close_runs(tmp_path / "run", alone)


def test_a_process_that_dies_ends_the_others_and_the_last_checkpoint_leads_on(alone: Path, tmp_path: Path) -> None:
    note, folder = write(settings(), tmp_path), str(tmp_path / "run")
    assert launch(2, note, folder, "die-6").returncode != 0
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-00000004"]
    train(settings(), folder=folder, progress=False)
    assert_close_runs(tmp_path / "run", alone)


def test_the_folder_of_another_run_ends_all_processes(alone: Path, tmp_path: Path) -> None:
    done = launch(2, write(settings(seed=1), tmp_path), str(alone))
    assert done.returncode != 0
    assert "folder: must belong to the same settings" in done.stderr
    assert "process 1: stops, because process 0 failed" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=15"], "batch_size: must divide by the 2 processes, got 15"),
        (["device=cuda:0"], "device: must be 'cpu' or 'cuda' with several processes, got 'cuda:0'"),
        (["device=cuda:0", "cuda_graphs=true"], "cuda_graphs: must be false with several processes, got True"),
    ],
)
def test_what_cannot_be_parted_is_refused_at_once(overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    made = settings().with_overrides(*overrides)
    with pytest.raises(InvalidInputError, match=re.escape(message)), processes(made):
        pass


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_parts_are_the_rows_of_the_batch_in_order(size: int) -> None:
    batch = settings().task_at(0).batch("train", 0, 16)
    parts = [Processes(rank, size, "cpu").part(batch) for rank in range(size)]
    assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
    assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)


def test_parts_may_ask_for_unequal_numbers_of_targets() -> None:
    """The plain mean over processes would be wrong."""
    batch = settings().task_at(0).batch("train", 0, 16)
    counts = [int((Processes(rank, 2, "cpu").part(batch).targets != NOTHING_ASKED).sum()) for rank in range(2)]
    assert counts[0] != counts[1]
