"""The GPU bench where there is no GPU: it says so; its training loop and its independent evaluation run anywhere."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sleepkit import ops
from sleepkit.bench import gpu, gpu_checks, gpu_training, measure
from sleepkit.experiments import presets
from tests.support.compare import assert_close

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


@without_gpu
def test_without_a_device_it_says_so_and_ends_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path / "report.json")]) == 2
    assert capsys.readouterr().err == "sleepkit.bench.gpu: there is no CUDA device here\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("case", [case for case in gpu_checks.CASES if case.tokens * case.heads * case.batch <= 1000])
def test_the_independent_evaluation_without_rounding_is_the_rule_itself(case: gpu_checks.Case, corrected: bool) -> None:
    inputs, valid, _ = gpu_checks.make_inputs(case._replace(batch=2), torch.float32, device="cpu")
    out, state = gpu_checks.rounded(inputs, valid, torch.float32, corrected=corrected)
    expected = (ops.gated_delta_rule if corrected else ops.gated_hebbian)(*inputs, valid_BT=valid, impl="chunked")
    counts = slice(None) if valid is None else valid
    assert_close(out[counts], expected.out[counts], tolerance=1e-5, what="out")
    assert_close(state, expected.state, tolerance=1e-5, what="state")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: gpu_checks.convolution(dtype, device="cpu", tokens=5),
        lambda dtype: gpu_checks.convolution(dtype, device="cpu", tokens=2, tail=True),
        lambda dtype: gpu_checks.convolution(dtype, device="cpu", tokens=5, tail=True, dynamic=True),
        lambda dtype: gpu_checks.norm(dtype, device="cpu", channels=24),
    ],
)
def test_the_formulas_are_what_the_operations_compute(make: Callable[..., gpu_checks.Subject], dtype: torch.dtype) -> None:
    subject = make(dtype)
    inputs = [x.to(dtype) for x in subject.inputs.values()]
    assert_close(subject.ours(*inputs)[0], subject.exact(*inputs)[0], tolerance=1e-5)


def test_every_kernel_has_a_check_in_every_dtype() -> None:
    names = list(gpu_checks.subjects(device="cpu"))
    for operation in ("from projections", "Hebbian", "short convolution", "dynamic convolution", "gated norm", "L1 K64"):
        for dtype in gpu_checks.DTYPES:
            assert any(operation in name and dtype in name for name in names), (operation, dtype)


def test_checks_run_in_processes_of_their_own_and_what_fails_there_is_told() -> None:
    found = dict(gpu_checks.check_all(device="cpu", names=["gated norm V64 fp32", "no such check"], workers=2))
    assert found["gated norm V64 fp32"]["passed"]
    assert "status 1: sleepkit.errors.InvalidInputError: name: must be one of" in found["no such check"]["unavailable"]


def test_a_check_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "_LONGEST_CHECK_S", 0.01)
    found = dict(gpu_checks.check_all(device="cpu", names=["gated norm V64 fp32"], workers=1))
    assert found["gated norm V64 fp32"] == {"unavailable": "it did not end within 0 s"}


def test_a_part_that_fails_leaves_its_reason() -> None:
    def broken() -> dict[str, float]:
        raise AssertionError("PassManager::run failed")

    found = measure.guarded(broken)
    assert found == {"unavailable": "AssertionError: PassManager::run failed"}
    assert gpu._line(found) == "not measured: AssertionError: PassManager::run failed"


def test_every_verdict_and_time_has_a_line() -> None:
    assert gpu._line({"passed": False, "same_bits": True, "error_to_allowed": {"out": 0.1, "d_k": 3.0}}).startswith(
        "WRONG  worst d_k 3"
    )
    part = {"us": {"median": 3.0}, "floor_us": 1.0, "graph_us": {"unavailable": "no"}, "launches": ["forward"]}
    line = gpu._line({"triton": {"forward": part, "forward_backward": part}, "fla": {"unavailable": "not there"}})
    assert "forward: 3.0 us, graph - us, floor 1.0 us, 1 launches" in line
    assert "not measured: not there" in line


def test_its_training_loop_makes_the_losses_of_the_real_one(tmp_path: Path) -> None:
    from sleepkit.training import train

    settings = presets.get("rule110-explorer").replace(
        batch_size=4, steps=3, log_every=1, n_passes_weights=None, curriculum=(), checkpoint_every=3
    )
    rows: list[float] = []
    train(settings, folder=tmp_path, progress=False, on_row=lambda _, row: rows.append(row["loss"]))
    losses, _ = gpu_training._train(settings, steps=3)
    assert losses == rows


def test_steps_as_the_loop_makes_them_are_timed() -> None:
    settings = presets.get("rule110-explorer").replace(batch_size=4, n_passes_weights=None, curriculum=())
    assert 0 < gpu_training.steady_step_s(settings) < 10


def test_the_deep_model_fits_its_task() -> None:
    settings = gpu_training.deep_settings(n_passes=2)
    assert settings.model.layer_kinds.count("gdn") == 5
    assert settings.task.create().window_len == settings.sleep.window_len
