"""A request to end saves a checkpoint and tells its number; workers end with whoever started them, however that dies."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sleepkit import signals
from sleepkit.training import Run, train
from tests.support.runs import assert_same_run, tiny_settings
from tests.support.sweeping import ENVIRONMENT, REPOSITORY, arguments, start, wait_for_owner

STEPS = 4000  # more than a worker makes while the test looks at it


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny_settings(checkpoint_every=1000), folder=tmp_path_factory.mktemp("straight") / "run", progress=False)


@pytest.mark.parametrize("when", ["after-step", "in-update"])
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", -signal.SIGINT)])
def test_a_run_that_is_asked_to_end_keeps_its_last_step_and_goes_on_bit_for_bit(
    name: str, status: int, when: str, straight: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "tests.support.asked_run", str(folder), name, when, "5"]
    done = subprocess.run(command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    assert ("Traceback" in done.stderr) == (name == "SIGINT")
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-00000005"]
    assert_same_run(train(tiny_settings(checkpoint_every=1000), folder=folder, progress=False), straight)


def test_the_command_ends_with_143_one_line_and_a_checkpoint(tmp_path: Path) -> None:
    settings = ["batch_size=8", "model.width=8", "model.n_heads=2", "log_every=1", f"steps={STEPS}", "checkpoint_every=100000"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    running = start("sleepkit", "train", "rule110-explorer", "--quiet", "--folder", str(tmp_path / "run"), *overrides)
    wait_until(lambda: (tmp_path / "run" / "live.jsonl").exists() and '"row"' in (tmp_path / "run" / "live.jsonl").read_text())
    running.send_signal(signal.SIGTERM)
    printed, complaints = running.communicate(timeout=120)
    assert (running.returncode, printed, complaints) == (143, "", "sleepkit: asked to end\n")
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) == 1


def wait_until(so: Callable[[], bool], *, timeout_s: float = 240) -> None:
    until = time.monotonic() + timeout_s
    while not so():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_workers_of_a_sweep_end_with_it_and_leave_checkpoints(number: int, status: int, tmp_path: Path) -> None:
    running = start("sleepkit", *arguments(tmp_path, "--workers=1", steps=STEPS))
    worker = wait_for_owner(tmp_path)
    running.send_signal(number)
    running.communicate(timeout=120)
    assert running.returncode == status
    wait_until(lambda: not is_alive(worker), timeout_s=60)
    (place,) = (path.parent for path in tmp_path.glob("*/live.jsonl"))
    newest = max(int(path.name.rpartition("-")[2]) for path in place.glob("checkpoint-*"))
    assert f'"step": {newest - newest % 10}' in (place / "live.jsonl").read_text()
    assert '"outcome": "stopped"' in (place / "live.jsonl").read_text()
    assert not list(tmp_path.glob("*/ERROR.txt"))


def test_signals_that_are_ignored_or_handled_by_somebody_else_are_left_alone() -> None:
    def other(_number: int, _frame: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, other), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.ending():
            assert signal.getsignal(signal.SIGTERM) is other
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


def test_a_request_is_kept_while_it_would_do_harm_and_then_found() -> None:
    busy = [True]
    with signals.ending(), signals.deferring(lambda: busy[0]) as asked:
        assert asked() is None
        signal.raise_signal(signal.SIGTERM)
        assert asked() == signal.SIGTERM
    with pytest.raises(signals.EndRequest) as request, signals.ending():
        signal.raise_signal(signal.SIGTERM)
    assert request.value.code == 143


def test_handlers_are_those_of_before_when_the_work_is_done() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.ending():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
