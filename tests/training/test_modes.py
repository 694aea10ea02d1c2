"""Ways of making a step: checkpointing, truncation, autocast, compilation. Each can be interrupted, and says what it does."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from sleepkit import zoo
from sleepkit.errors import InvalidInputError, SleepkitError
from sleepkit.model import HybridLM
from sleepkit.sleep import rollout
from sleepkit.training import Optimiser, Run, TrainSettings, build_model, passes_at, train
from sleepkit.training.loop import passes_range
from tests.support.compare import largest_error
from tests.support.compiling import Counting
from tests.support.doors import take_off_type_checks
from tests.support.models import layers_of
from tests.support.runs import assert_same_run, tiny_settings
from tests.support.seals import unsealed

SLIDING = tiny_settings().sleep.replace(eviction="sliding")
MODES: dict[str, dict[str, Any]] = {
    "pass": {"checkpointing": "pass"},
    "window": {"checkpointing": "window"},
    "truncated": {"gradient_passes": 1, "gradient_windows": 1},
    "autocast": {"autocast": True},
    "compiled": {"compile": True},
    "sliding": {"sleep": SLIDING, "compile": True, "checkpointing": "window"},
    "everything": {"compile": True, "autocast": True, "checkpointing": "window", "gradient_passes": 2},
}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Let ``compile=True`` trace as it would and run the traced graphs as they are."""
    counting = Counting()
    take_off_type_checks(monkeypatch)
    monkeypatch.setattr(HybridLM, "compile_blocks", functools.partialmethod(HybridLM.compile_blocks, backend=counting))
    return counting


def run(folder: Path, **changes: Any) -> Run:
    return train(tiny_settings(**changes), folder=folder, progress=False)


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracing
@pytest.mark.parametrize("mode", MODES)
def test_a_run_of_every_kind_that_is_stopped_ends_with_the_same_bits(mode: str, tmp_path: Path, backend: Counting) -> None:
    settings, seen = tiny_settings(steps=6, **MODES[mode]), list[int]()
    straight = train(settings, folder=tmp_path / "straight", progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(
            settings,
            folder=tmp_path / "stopped",
            progress=False,
            on_row=lambda step, _: seen.append(step),
            should_stop=lambda: len(seen) == 3,
        )
    assert_same_run(train(settings, folder=tmp_path / "stopped", progress=False), straight)
    assert np.isfinite(straight.history.loss.values).all()


@pytest.mark.parametrize("mode", ["pass", "window"])
def test_checkpointing_changes_no_bit_of_a_run(mode: str, tmp_path: Path) -> None:
    plain, other = run(tmp_path / "plain", steps=6), run(tmp_path / "other", steps=6, **MODES[mode])
    assert_same_run(other, plain)


def test_truncation_changes_the_gradient_and_no_loss_of_the_first_step(tmp_path: Path) -> None:
    law = {"n_passes_weights": (0.0, 0.0, 1.0), "steps": 2}
    plain = run(tmp_path / "plain", **law)
    for number, truncation in enumerate(({"gradient_passes": 1}, {"gradient_windows": 1})):
        other = run(tmp_path / str(number), **law, **truncation)
        assert other.history.loss[0] == plain.history.loss[0]
        assert other.history.gradient_norm[0] != plain.history.gradient_norm[0]


def test_eviction_of_the_settings_reaches_training(tmp_path: Path) -> None:
    hard, seen = (run(tmp_path / name, steps=1, **changes) for name, changes in (("hard", {}), ("seen", {"sleep": SLIDING})))
    with torch.no_grad():
        batch = seen.settings.task_at(0).batch("train", 0, seen.settings.batch_size)
        sleep = SLIDING.replace(n_passes=passes_at(seen.settings, 0))
        expected = rollout(build_model(seen.settings), batch, sleep).loss
    assert float(seen.history.loss[0]) == pytest.approx(float(expected), rel=1e-5)
    assert float(seen.history.loss[0]) != float(hard.history.loss[0])


def test_under_autocast_only_matrix_products_are_rounded(tmp_path: Path) -> None:
    """Logits are off by up to 3 roundings of the largest one (2^-8 each) where measured; their errors cancel in the loss."""
    rounding = 2**-8
    for seed in range(3):
        settings = tiny_settings(seed=seed)
        model, batch = build_model(settings), settings.task_at(0).batch("train", 0, 64)
        exact = rollout(model, batch, settings.sleep)
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            rounded = rollout(model, batch, settings.sleep)
        assert {layer.dtype for layer in layers_of(rounded.state)} == {torch.float32}
        assert rounded.answered[0][1].dtype == torch.bfloat16
        assert rounded.loss.dtype == torch.float32
        largest = exact.answered[0][1].abs().max().item()
        error = largest_error(rounded.answered[0][1], exact.answered[0][1])
        assert 0 < error <= 6 * rounding * largest
        assert 0 < abs((rounded.loss - exact.loss).item()) <= rounding * exact.loss.item()


def test_training_under_autocast_keeps_weights_gradients_and_momenta_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, gradients = Optimiser.update, set[torch.dtype]()

    def look(self: Optimiser) -> torch.Tensor:
        gradients.update(parameter.grad.dtype for parameter in self.parameters if parameter.grad is not None)
        return update(self)

    monkeypatch.setattr(Optimiser, "update", look)
    settings = tiny_settings(steps=1, autocast=True)
    plain, rounded = run(tmp_path / "plain", steps=1), run(tmp_path / "rounded", steps=1, autocast=True)
    assert gradients == {torch.float32}
    assert {parameter.dtype for parameter in rounded.model.parameters()} == {torch.float32}
    assert {t.dtype for t in load_file(rounded.folder / "checkpoint-00000001" / "optimiser.safetensors").values()} == {
        torch.float32
    }
    for (name, before), after in zip(build_model(settings).named_parameters(), rounded.model.parameters(), strict=True):
        assert (before != after).any(), name
    loss, exact = (float(each.history.loss[0]) for each in (rounded, plain))
    assert 0 < abs(loss - exact) <= 2**-8 * exact


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"autocast": True, "dtype": "float64"}, "autocast: must be false where dtype is float64, got True"),
        ({"gradient_passes": 0}, "gradient_passes: must be None or an integer >= 1, got 0"),
        ({"gradient_windows": -1}, "gradient_windows: must be None or an integer >= 1, got -1"),
        ({"gradient_passes": 1.5}, "gradient_passes: must be int or NoneType, got 1.5"),
        ({"gradient_windows": True}, "gradient_windows: must be int or NoneType, got True"),
        ({"checkpointing": "all"}, "checkpointing: must be one of 'none', 'pass', 'window', got 'all'"),
        ({"compile": "yes"}, "compile: must be of type bool, got 'yes'"),
        ({"autocast": 1}, "autocast: must be of type bool, got 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tiny_settings(**changes)
    assert str(caught.value) == message


@pytest.mark.filterwarnings("ignore")
def test_all_code_is_made_before_the_first_step_and_the_time_is_told(
    tmp_path: Path, backend: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_rows: list[int] = []
    settings = tiny_settings(compile=True)
    done = train(settings, folder=tmp_path / "run", on_row=lambda *_: at_rows.append(backend.n_graphs))
    assert {passes_at(settings, step) for step in range(settings.steps)} == {1, 2, 3}
    assert set(at_rows) == {5}
    said = [line for line in capsys.readouterr().out.splitlines() if "compiling" in line]
    assert said == [f"compiling the blocks ... {done.history.attrs['compile_s']:.1f} s"]
    rollout(done.model, settings.task_at(0).batch("test", 0, 3), settings.sleep)
    assert backend.n_graphs == 5
    again = train(settings, folder=tmp_path / "run", progress=False)
    assert again.history.attrs["compile_s"] == done.history.attrs["compile_s"]


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_trains_as_a_plain_one_does(tmp_path: Path, backend: Counting) -> None:
    """In fp64, where what is compiled to the same operations in another order can be told from what is wrong."""
    plain, compiled = (run(tmp_path / str(on), steps=4, dtype="float64", compile=on) for on in (False, True))
    assert "compile_s" not in plain.history.attrs
    np.testing.assert_allclose(compiled.history.loss, plain.history.loss, rtol=1e-12)
    np.testing.assert_allclose(compiled.history.gradient_norm, plain.history.gradient_norm, rtol=1e-10)
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())


def test_the_range_of_passes_is_that_of_the_law() -> None:
    assert passes_range(tiny_settings(n_passes_weights=(0.0, 1.0, 0.0, 2.0, 0.0))) == (2, 4)
    assert passes_range(tiny_settings(n_passes_weights=None)) == (2, 2)


class NumbersRead(TorchDispatchMode):
    """Counts how often a tensor's value was asked for, which waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_no_step_between_two_rows_waits_for_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This check is made on a CPU alone, where nothing has to be waited for.
    monkeypatch.setattr(sys.modules["sleepkit.sleep.rollout"], "_check_tokens", lambda *_: None)
    counts = []
    for steps in (2, 12):
        with NumbersRead() as numbers:
            run(tmp_path / str(steps), steps=steps, log_every=100, checkpoint_every=100)
        counts.append(numbers.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("spoilt", "rows", "checkpoints", "noticed", "kept"),
    [
        (6, 1, 4, 7, "the checkpoint of step 4 stays"),
        (6, 5, 4, 8, "the checkpoint of step 4 stays"),
        (2, 5, 4, 4, "no checkpoint was written"),
        (9, 5, 4, 10, "the checkpoint of step 8 stays"),
    ],
)
def test_a_run_that_diverges_stops_at_its_next_row_or_checkpoint_and_saves_nothing_spoilt(
    spoilt: int, rows: int, checkpoints: int, noticed: int, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, n_updates = Optimiser.update, 0

    def spoil(self: Optimiser) -> torch.Tensor:
        nonlocal n_updates
        norm = update(self)
        n_updates += 1
        if n_updates == spoilt:
            with torch.no_grad():
                self.parameters[0].fill_(float("nan"))
        return norm

    monkeypatch.setattr(Optimiser, "update", spoil)
    with pytest.raises(SleepkitError) as caught:
        run(tmp_path / "run", log_every=rows, checkpoint_every=checkpoints)
    message = str(caught.value)
    assert message.startswith("loss: must stay finite")
    assert message.endswith(f"{kept}), got nan and a gradient of norm nan at step {noticed}")
    for folder in (tmp_path / "run").glob("checkpoint-*"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(folder / "model.safetensors").values())


def test_a_gradient_that_overflows_while_the_loss_does_not_is_noticed_before_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, n_updates = Optimiser.update, 0

    def overflow(self: Optimiser) -> torch.Tensor:
        nonlocal n_updates
        n_updates += 1
        if n_updates == 4:
            self.parameters[0].grad.fill_(float("inf"))
        return update(self)

    monkeypatch.setattr(Optimiser, "update", overflow)
    with pytest.raises(SleepkitError, match=r"and a gradient of norm inf at step 4$"):
        run(tmp_path / "run", log_every=100)
    assert list((tmp_path / "run").glob("checkpoint-*")) == []


def test_settings_of_the_first_version_load_and_keep_their_digest() -> None:
    path = Path(zoo.__file__).parent / "rule110-explorer" / "card.json"
    card = json.loads(path.read_text())
    assert "checkpointing" not in card["settings"]
    settings = TrainSettings.from_dict(card["settings"])
    assert settings.digest() == card["provenance"]["settings_digest"]
    assert TrainSettings.from_json(settings.to_json()) == settings


def test_every_setting_that_came_later_changes_the_digest_where_it_is_used() -> None:
    changes = ({}, *MODES.values(), {"gradient_passes": 1}, {"gradient_windows": 1})
    digests = [tiny_settings(**change).digest() for change in changes]
    assert len(set(digests)) == len(digests)
    assert tiny_settings(checkpointing="none", gradient_passes=None, compile=False).digest() == digests[0]


@unsealed
def test_a_run_begun_by_the_first_version_goes_on(tmp_path: Path) -> None:
    straight, folder = run(tmp_path / "straight"), tmp_path / "old"
    with pytest.raises(KeyboardInterrupt):
        train(tiny_settings(), folder=folder, progress=False, should_stop=lambda: True)
    later = {"checkpointing", "gradient_passes", "gradient_windows", "autocast", "compile", "compile_s", "files", "digest"}
    for file in (folder / "settings.json", folder / "checkpoint-00000001" / "progress.json"):
        known = json.loads(file.read_text())
        assert later & known.keys()
        file.write_text(json.dumps({name: value for name, value in known.items() if name not in later}))
    assert_same_run(train(tiny_settings(), folder=folder, progress=False), straight)


def test_an_error_of_the_task_surfaces_where_training_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task_at = TrainSettings.task_at

    def fail_at_five(self: TrainSettings, step: int) -> Any:
        if step == 5:
            raise ValueError("no batch 5")
        return task_at(self, step)

    monkeypatch.setattr(TrainSettings, "task_at", fail_at_five)
    steps: list[int] = []
    with pytest.raises(ValueError, match="no batch 5"):
        train(tiny_settings(), folder=tmp_path / "run", progress=False, on_row=lambda step, _: steps.append(step))
    assert steps == [1, 2, 3, 4, 5]


def test_a_run_whose_last_update_spoils_the_weights_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No later loss tells: the loss and the gradient of the last step were finite."""
    update, n_updates = Optimiser.update, 0

    def spoil(self: Optimiser) -> torch.Tensor:
        nonlocal n_updates
        norm = update(self)
        n_updates += 1
        if n_updates == 6:
            with torch.no_grad():
                self.parameters[0].view(-1)[0] = float("inf")
        return norm

    monkeypatch.setattr(Optimiser, "update", spoil)
    with pytest.raises(SleepkitError, match=r"^weights: must stay finite .*of step 4 stays\), got 1 of \d+ entries of"):
        run(tmp_path / "run", steps=6, log_every=2, checkpoint_every=4)
    assert not (tmp_path / "run" / "model").exists()
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-00000004"]
