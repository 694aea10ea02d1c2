"""Training: exact resumption after any death, refusals, the law of N, and learning itself."""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sleepkit import results
from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.files import owner
from sleepkit.model import HybridLM
from sleepkit.sleep import rollout
from sleepkit.training import Run, Stage, TaskSettings, build_model, evaluate, passes_at, train
from sleepkit.training.checkpoint import checkpoints as known_checkpoints
from sleepkit.training.checkpoint import read_settings
from sleepkit.training.muon import Muon
from tests.support.compare import assert_same_bits
from tests.support.runs import assert_same_run, tiny_settings
from tests.support.seals import unsealed

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run, never interrupted."""
    return train(tiny_settings(), folder=tmp_path_factory.mktemp("runs") / "straight", progress=False)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("checkpoint"))


def test_a_run_killed_three_times_ends_with_the_same_bits(straight: Run, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    left = {
        "after-step-3": [],
        "while-writing-8": ["checkpoint-00000004"],
        "after-step-11": ["checkpoint-00000004", "checkpoint-00000008"],
    }
    for moment, expected in left.items():
        command = [sys.executable, "-m", "tests.support.killed_run", str(folder), moment]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert checkpoints(folder) == expected, moment
    assert_same_run(train(tiny_settings(), folder=folder, progress=False), straight)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in straight.folder.iterdir())


@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_a_run_stopped_on_request_goes_on_from_its_last_step(straight: Run, tmp_path: Path, stop_after: int) -> None:
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        train(
            tiny_settings(),
            folder=tmp_path / "run",
            progress=False,
            on_row=lambda step, _: seen.append(step),
            should_stop=lambda: len(seen) == stop_after,
        )
    assert checkpoints(tmp_path / "run")[-1] == f"checkpoint-{stop_after:08d}"
    assert_same_run(train(tiny_settings(), folder=tmp_path / "run", progress=False), straight)


def test_an_interrupt_in_the_middle_of_an_update_never_reaches_a_checkpoint(
    straight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after Muon has moved its matrices and before AdamW has moved the rest."""
    update, n_updates = Muon.step, 0

    def update_then_interrupt(self: Muon, closure: None = None) -> None:
        nonlocal n_updates
        update(self, closure)
        n_updates += 1
        if n_updates == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Muon, "step", update_then_interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_settings(), folder=tmp_path / "run", progress=False)
    assert_same_run(train(tiny_settings(), folder=tmp_path / "run", progress=False), straight)


def test_an_interrupt_between_an_update_and_its_row_loses_no_row(straight: Run, tmp_path: Path) -> None:
    def interrupt(step: int, _: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_settings(), folder=tmp_path / "run", progress=False, on_row=interrupt)
    assert_same_run(train(tiny_settings(), folder=tmp_path / "run", progress=False), straight)


def test_a_finished_run_started_again_trains_nothing_and_returns_the_same(straight: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(straight.folder, folder)
    rows: list[int] = []
    again = train(tiny_settings(), folder=folder, progress=False, on_row=lambda step, _: rows.append(step))
    assert rows == []
    assert_same_run(again, straight)


def test_what_a_run_leaves_behind_can_be_read_back(straight: Run) -> None:
    assert checkpoints(straight.folder) == ["checkpoint-00000008", "checkpoint-00000012"]
    loaded = HybridLM.load(straight.folder / "model")
    for name, tensor in loaded.state_dict().items():
        assert_same_bits(tensor, straight.model.state_dict()[name], what=name)
    history = results.load(straight.folder / "history.nc")
    assert results.check(history, "history").loss.values.tolist() == straight.history.loss.values.tolist()
    assert history.attrs["digest"] == tiny_settings().digest()
    assert read_settings(straight.folder) == tiny_settings()


def test_validation_while_training_counts_what_evaluate_counts(tmp_path: Path) -> None:
    settings = tiny_settings(validate_every=5, validation_examples=24)
    run = train(settings, folder=tmp_path / "run", progress=False)
    assert run.history.validation_step.values.tolist() == [5, 10, 12]
    counted = evaluate(
        run.model, settings.task.create(), n_passes=settings.sleep.n_passes, n_examples=24, split="validation", window_len=7
    )
    assert run.history.n_correct.values[-1].tolist() == counted.n_correct.values[0].tolist()
    assert run.history.n_total.values[-1].tolist() == counted.n_total.values[0].tolist()


def test_validation_evicts_as_training_does(tmp_path: Path) -> None:
    settings = tiny_settings(validate_every=12, validation_examples=64).with_overrides("sleep.eviction=sliding")
    run = train(settings, folder=tmp_path / "run", progress=False)
    shared = {"n_passes": 2, "n_examples": 64, "split": "validation", "window_len": 7}
    counted = evaluate(run.model, settings.task.create(), eviction="sliding", **shared)
    assert run.history.n_correct.values[-1].tolist() == counted.n_correct.values[0].tolist()


def test_validation_changes_no_bit_of_a_run_and_survives_an_interruption(straight: Run, tmp_path: Path) -> None:
    settings, stopped = tiny_settings(validate_every=5, validation_examples=24), [False]
    whole = train(settings, folder=tmp_path / "whole", progress=False)
    for name, tensor in whole.model.state_dict().items():
        assert_same_bits(tensor, straight.model.state_dict()[name], what=name)

    def stop(step: int, _: dict[str, float]) -> None:
        stopped[0] = step == 7

    with pytest.raises(KeyboardInterrupt):
        train(settings, folder=tmp_path / "cut", progress=False, on_row=stop, should_stop=lambda: stopped[0])
    again = train(settings, folder=tmp_path / "cut", progress=False)
    assert again.history.n_correct.equals(whole.history.n_correct)


def test_the_history_holds_the_loss_of_the_rollout_at_that_step(straight: Run) -> None:
    settings = tiny_settings()
    sleep = settings.sleep.replace(n_passes=passes_at(settings, 0))
    batch = settings.task_at(0).batch("train", 0, settings.batch_size)
    loss = rollout(build_model(settings), batch, sleep).loss
    assert straight.history.loss.values[0] == loss.item()
    assert straight.history.n_passes_drawn.values.tolist() == [passes_at(settings, step) for step in range(12)]


@pytest.fixture
def half_done(straight: Run, tmp_path: Path) -> Path:
    """A run whose newest checkpoint is that of step 8 and which has not finished."""
    folder = tmp_path / "half"
    shutil.copytree(straight.folder, folder)
    for name in ("checkpoint-00000012", "model"):
        shutil.rmtree(folder / name)
    shutil.copytree(folder / "checkpoint-00000008", folder / "checkpoint-00000004")
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def drop_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path)


@unsealed
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", truncate),
        ("model.safetensors", drop_a_tensor),
        ("model.safetensors", Path.unlink),
        ("optimiser.safetensors", truncate),
        ("optimiser.safetensors", drop_a_tensor),
        ("optimiser.safetensors", Path.unlink),
        ("progress.json", truncate),
        ("progress.json", lambda path: path.write_text("{}")),
        ("progress.json", lambda path: path.write_text('{"step": 8}')),
        ("progress.json", lambda path: path.write_text("[]")),
        ("progress.json", Path.unlink),
    ],
)
def test_a_damaged_newest_checkpoint_is_refused_by_its_name(half_done: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(half_done / "checkpoint-00000008" / name)
    with pytest.raises(CheckpointError, match="checkpoint-00000008"):
        train(tiny_settings(), folder=half_done, progress=False)


def test_with_the_damaged_checkpoint_deleted_an_older_one_leads_to_the_same_end(straight: Run, half_done: Path) -> None:
    truncate(half_done / "checkpoint-00000008" / "optimiser.safetensors")
    shutil.rmtree(half_done / "checkpoint-00000008")
    assert_same_run(train(tiny_settings(), folder=half_done, progress=False), straight)


def test_a_folder_of_another_run_is_refused_and_left_alone(half_done: Path) -> None:
    before = sorted(path.name for path in half_done.iterdir())
    with pytest.raises(CheckpointError, match="folder: must belong to the same settings"):
        train(tiny_settings(seed=1), folder=half_done, progress=False)
    assert sorted(path.name for path in half_done.iterdir()) == before


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(CheckpointError, match="folder: must be new, empty or a run of these settings"):
        train(tiny_settings(), folder=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("device", ["tpu", "cuda:99x"])
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(InvalidInputError, match="device: must be 'cpu', or 'cuda' where there is one"):
        train(tiny_settings(device=device), folder=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_two_seeds_give_two_models_and_two_orders_of_data() -> None:
    one, other = build_model(tiny_settings()), build_model(tiny_settings(seed=1))
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    assert_same_bits(one.embedding.weight, build_model(tiny_settings()).embedding.weight)


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_model(tiny_settings())
    assert_same_bits(torch.rand(3), expected)


def test_the_number_of_passes_is_a_pure_function_of_the_step() -> None:
    settings = tiny_settings(n_passes_weights=(0.0, 1.0, 3.0))
    forwards = [passes_at(settings, step) for step in range(2000)]
    torch.manual_seed(9)
    backwards = [passes_at(settings.replace(batch_size=3), step) for step in reversed(range(2000))]
    assert forwards == backwards[::-1]
    assert set(forwards) == {2, 3}
    assert abs(np.mean(np.array(forwards) == 3) - 0.75) <= 4 * np.sqrt(0.75 * 0.25 / 2000)
    assert forwards != [passes_at(settings.replace(seed=1), step) for step in range(2000)]


def test_without_a_law_the_number_of_passes_is_that_of_sleep() -> None:
    assert {passes_at(tiny_settings(n_passes_weights=None), step) for step in range(20)} == {2}


def test_a_curriculum_replaces_task_options_from_its_start_step_on() -> None:
    stages = (Stage(start_step=2, options={"depth_weights": [1, 0]}), Stage(start_step=5, options={"depth_weights": [0, 1]}))
    settings = tiny_settings(curriculum=stages)
    asked = [settings.task_at(step).floor().depth.tolist() for step in range(7)]
    assert asked == [[0, 1]] * 2 + [[0]] * 3 + [[1]] * 2


def test_sixty_steps_of_training_learn_an_easy_task(tmp_path: Path) -> None:
    """One step of the automaton on rings of five cells: from chance to most answers right."""
    task = TaskSettings(name="rule110", options={"width": 5, "n_strings": 2, "rollout_depth": 1})
    settings = tiny_settings(
        task=task, steps=60, batch_size=64, checkpoint_every=60, sleep={"n_passes": 2, "window_len": 5}, n_passes_weights=None
    )
    history = train(
        settings.with_overrides("optimiser.muon_lr=0.02", "optimiser.adamw_lr=0.01"), folder=tmp_path / "run", progress=False
    ).history
    first, last = history.loss.values[:5].mean(), history.loss.values[-5:].mean()
    assert first >= 0.6
    assert last <= 0.5 * first


def test_copies_backups_and_notes_are_neither_gone_on_from_nor_removed(straight: Run, half_done: Path) -> None:
    newest = half_done / "checkpoint-00000008"
    kept = ["checkpoint-best", "checkpoint-00000008.bak", "checkpoint-8", "checkpoint-00000099 (copy)", "checkpoint-٠٠٠٠٠٠٠٩"]
    for name in (*kept, "checkpoint-00000099"):  # the last one is a name of ours, with an older step in it
        shutil.copytree(half_done / "checkpoint-00000004", half_done / name)
    (half_done / "checkpoint-notes.txt").write_text("keep me")
    (half_done / "checkpoint-00000010").write_text("keep me")
    assert newest in known_checkpoints(half_done)
    assert_same_run(train(tiny_settings(), folder=half_done, progress=False), straight)
    left = {path.name for path in half_done.iterdir()}
    assert {*kept, "checkpoint-notes.txt", "checkpoint-00000010"} <= left


def test_a_later_start_sweeps_what_a_killed_one_left(half_done: Path, straight: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    made_by = owner.process(process.pid)
    process.communicate(b"\n", timeout=60)
    for name in ("history.nc", "model", "settings.json", "checkpoint-00000009"):
        (half_done / f".{name}.{made_by}-0123abcd.part").mkdir()
    assert_same_run(train(tiny_settings(), folder=half_done, progress=False), straight)
    assert [path.name for path in half_done.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("emptied", [False, True])
def test_an_older_checkpoint_that_a_killed_run_did_not_drop_is_dropped_by_the_next_start(
    straight: Run, tmp_path: Path, emptied: bool
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(straight.folder, folder)
    older = folder / "checkpoint-00000004"
    shutil.copytree(folder / "checkpoint-00000008", older)
    if emptied:
        for path in older.iterdir():
            path.unlink()
    assert_same_run(train(tiny_settings(), folder=folder, progress=False), straight)
    assert checkpoints(folder) == checkpoints(straight.folder)


@pytest.mark.parametrize(("steps", "told"), [(10_000_000, 1), (12, 0)])
def test_a_long_run_says_once_how_long_it_takes_and_how_to_stop_it(
    steps: int, told: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    with contextlib.suppress(KeyboardInterrupt):
        train(
            tiny_settings(steps=steps),
            folder=tmp_path,
            on_row=lambda step, _: seen.append(step),
            should_stop=lambda: len(seen) == 3,
        )
    assert capsys.readouterr().err.count("Ctrl-C saves a checkpoint, the same command goes on") == told
