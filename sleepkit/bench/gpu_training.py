"""Training on a CUDA device: throughput, memory, and a loss curve held against the CPU's."""

import time
from pathlib import Path

import torch

from sleepkit.bench.gpu_timings import peak_memory
from sleepkit.bench.measure import Figures, digits
from sleepkit.experiments import presets
from sleepkit.model import ModelConfig
from sleepkit.sleep import rollout, schedule
from sleepkit.training import TrainSettings
from sleepkit.training.loop import Trainer, build_model
from sleepkit.training.optimiser import Optimiser
from sleepkit.training.prefetch import prefetched

_WARMUPS, _STEPS = 3, 15
# Rounding moves a loss curve apart step by step; a wrong gradient moves it apart at once.
_CURVE_STEPS = 20


def paper_settings(*, n_passes: int) -> TrainSettings:
    """Return Figure 2b on the device, products in bf16."""
    return presets.get("fig2b", size="paper", n_passes=n_passes).replace(device="cuda", autocast=True)


def deep_settings(*, n_passes: int) -> TrainSettings:
    """Return ten layers of 512 channels on windows of 64 cells, as large as the paper's multi-hop models."""
    task = presets.get("fig2b", size="paper").task.replace(options={"width": 64, "n_strings": 4, "rollout_depth": 8})
    model = ModelConfig(vocab_size=3, width=512, layers=" ".join(["attn gdn"] * 5), n_heads=8)
    base = paper_settings(n_passes=n_passes)
    return base.replace(
        name="deep", task=task, model=model, sleep=base.sleep.replace(window_len=task.create().window_len), batch_size=128
    )


def throughput(settings: TrainSettings) -> Figures:
    """Train a few steps and return tokens a second and the largest memory held."""
    with peak_memory() as figures:
        losses, times = _train(settings, steps=_WARMUPS + _STEPS)
    took = sorted(times[_WARMUPS:])[_STEPS // 2]
    n_tokens = settings.batch_size * settings.task.create().seq_len
    return {"tokens_per_s": digits(n_tokens / took), "step_s": digits(took), "last_loss": digits(losses[-1]), **figures}


def steady(settings: TrainSettings) -> Figures:
    """Train as the loop does between two rows, each step one CUDA graph; return tokens a second and the largest memory."""
    with peak_memory() as figures:
        took = steady_step_s(settings.replace(cuda_graphs=True))
    n_tokens = settings.batch_size * settings.task.create().seq_len
    return {"tokens_per_s": digits(n_tokens / took), "step_s": digits(took), **figures}


def steady_step_s(settings: TrainSettings) -> float:
    """Return the seconds of a step of the loop between two rows, where nothing waits for the device."""
    settings = settings.replace(log_every=settings.steps)
    model = build_model(settings)
    optimiser = Optimiser(model, settings.optimiser, steps=settings.steps, captured=settings.cuda_graphs)
    trainer = Trainer(
        settings, Path(), model, optimiser, {"step": 0, "rows": [], "elapsed_s": 0.0, "compile_s": 0.0, "validations": []}
    )
    began = time.perf_counter()
    with prefetched(trainer.make_batch, range(_WARMUPS + _STEPS)) as batches:
        for number, (batch, windows) in enumerate(batches):
            if number == _WARMUPS:
                _wait(settings.device)
                began = time.perf_counter()
            trainer.one_step(batch, windows)
    _wait(settings.device)
    return (time.perf_counter() - began) / _STEPS


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def curve() -> Figures:
    """Train a small model in fp32 on both devices and return both loss curves and their largest difference."""
    settings = presets.get("rule110-explorer").replace(batch_size=32, dtype="float32")
    curves = {device: _train(settings.replace(device=device), steps=_CURVE_STEPS)[0] for device in ("cuda", "cpu")}
    gaps = [abs(a - b) for a, b in zip(curves["cuda"], curves["cpu"], strict=True)]
    return {**{name: [digits(loss, 6) for loss in losses] for name, losses in curves.items()}, "largest_gap": digits(max(gaps))}


def _train(settings: TrainSettings, *, steps: int) -> tuple[list[float], list[float]]:
    model = build_model(settings)
    optimiser = Optimiser(model, settings.optimiser, steps=settings.steps)
    kind, losses, times = torch.device(settings.device).type, [], []
    for step in range(steps):
        batch = settings.task_at(step).batch("train", step, settings.batch_size).to(settings.device)
        windows = schedule(batch, settings.sleep.window_len)
        began = time.perf_counter()
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=settings.autocast, cache_enabled=False):
            loss = rollout(model, batch, settings.sleep, windows=windows).loss
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(step)
        losses.append(loss.item())  # waits for the device
        times.append(time.perf_counter() - began)
    return losses, times
