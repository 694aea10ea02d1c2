"""How the time of a training step grows with the passes made, and what running windows side by side could gain at most.

Axes: B example, T token, E channel.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sleepkit.bench import measure
from sleepkit.bench.counts import step_flops
from sleepkit.bench.measure import Figures
from sleepkit.model import HybridLM, ModelState
from sleepkit.sleep import rollout, schedule
from sleepkit.training import Optimiser, TrainSettings, build_model


def linearity(settings: TrainSettings, *, n_passes: tuple[int, ...], rounds: int, progress: bool = False) -> Figures:
    """Time whole training steps (rollout, backward, optimiser) at fixed N and fit seconds = a + b work.

    Work is the FLOPs of the blocks, counted from shapes (``counts.step_flops``): the last pass of a window that is slept on is
    cut short, so it is not quite proportional to N. The fit minimises the relative deviations.

    Returns:
        ``largest_deviation_percent`` of the fit, the ratios to the step at the smallest N beside those of N and of the work,
        and by N the milliseconds, the work, the deviation and the naive milliseconds a pass.
    """
    model = build_model(settings)
    optimiser = Optimiser(model, settings.optimiser, steps=settings.steps)
    batch = settings.task_at(0).batch("train", 0, settings.batch_size).to(settings.device)
    windows = schedule(batch, settings.sleep.window_len)

    def step(n: int) -> None:
        result = rollout(model, batch, settings.sleep.replace(n_passes=n), windows=windows)
        assert result.loss is not None
        result.loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(0)

    calls = {str(n): (lambda n=n: step(n)) for n in n_passes}
    seconds = measure.interleave(calls, rounds=rounds, device=settings.device, progress=progress)
    medians = np.array([float(np.median(seconds[str(n)])) for n in n_passes])
    work = [step_flops(settings.model, windows, n_passes=n, batch_size=settings.batch_size) for n in n_passes]
    offset, slope, deviations = fit(np.array(work, float), medians)
    asleep = sum(window.asleep for window in windows)
    first = str(n_passes[0])
    return {
        "largest_deviation_percent": measure.digits(float(np.abs(deviations).max())),
        "fixed_ms": measure.digits(1e3 * offset),
        "GFLOP_per_s_beyond": measure.digits(1e-9 / slope),
        "batch_size": settings.batch_size,
        "by_n_passes": {
            str(n): {
                "ms": measure.spread(seconds[str(n)], factor=1e3),
                f"time : time at N = {first}": measure.spread(measure.ratios(seconds[str(n)], seconds[first])),
                f"work : work at N = {first}": measure.digits(flops / work[0]),
                "work_GFLOP": measure.digits(flops / 1e9),
                "deviation_percent": measure.digits(deviation),
                "naive_ms_per_pass": measure.digits(1e3 * median / (asleep * n + len(windows) - asleep)),
            }
            for n, flops, median, deviation in zip(n_passes, work, medians.tolist(), deviations.tolist(), strict=True)
        },
    }


def fit(work: np.ndarray, seconds: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Fit seconds = a + b work with the least squares of the relative deviations; return a, b and the deviations in percent."""
    columns = np.stack([1 / seconds, work / seconds], axis=1)
    (offset, slope), *_ = np.linalg.lstsq(columns, np.ones(len(seconds)), rcond=None)
    return float(offset), float(slope), 100 * (seconds / (offset + slope * work) - 1)


def side_by_side(settings: TrainSettings, *, rounds: int, progress: bool = False) -> Figures:
    """Bound what any order of windows and layers can gain at N = 1, such as the diagonal one (arXiv 2506.05229).

    The blocks run over the context windows one after the other, as they must, and over all of them as one batch, as if no
    window waited for the fast weights of the one before: the same layers on the same tokens, with no dependency left. Only the
    attention before the first fast weights is really free; the diagonal order reaches at most this bound.

    Returns:
        ``ratios`` one after the other : side by side, forward with backward and forward alone, and the milliseconds.
    """
    model = build_model(settings)
    batch = settings.task_at(0).batch("train", 0, settings.batch_size).to(settings.device)
    windows = [window for window in schedule(batch, settings.sleep.window_len) if window.asleep]
    with torch.no_grad():
        pieces = [model.embed(batch.tokens[:, window.start : window.stop]) for window in windows]
    sequential, parallel = _in_turn(model, pieces), _at_once(model, pieces)
    report: Figures = {"ratios": {}, "ms": {}, "batch_size": settings.batch_size, "n_windows": len(pieces)}
    for direction, calls in (
        ("forward_backward", {"in turn": lambda: _backward(model, sequential), "at once": lambda: _backward(model, parallel)}),
        ("forward", {"in turn": lambda: _forward(sequential), "at once": lambda: _forward(parallel)}),
    ):
        seconds = measure.interleave(calls, rounds=rounds, warmups=1, device=settings.device, progress=progress)
        report["ratios"][direction] = measure.spread(measure.ratios(seconds["in turn"], seconds["at once"]))
        report["ms"][direction] = {name: measure.spread(took, factor=1e3) for name, took in seconds.items()}
    return report


Run = Callable[[], Tensor]


def _in_turn(model: HybridLM, pieces: list[Tensor]) -> Run:
    def run() -> Tensor:
        state, total = model.initial_state(pieces[0].shape[0]), pieces[0].new_zeros(())
        for piece in pieces:
            hidden, state, _ = model.run_layers(piece, state, (0, model.config.n_layers))
            total = total + hidden.sum()
        return total + _sum(state)

    return run


def _at_once(model: HybridLM, pieces: list[Tensor]) -> Run:
    together = torch.cat(pieces)

    def run() -> Tensor:
        hidden, state, _ = model.run_layers(together, model.initial_state(together.shape[0]), (0, model.config.n_layers))
        return hidden.sum() + _sum(state)

    return run


def _sum(state: ModelState) -> Tensor:
    return torch.stack([layer.sum() for layer in state.fast_weights if layer is not None]).sum()


def _backward(model: HybridLM, run: Run) -> None:
    used = list(model.layers.parameters())
    torch.autograd.grad(run(), used)


@torch.no_grad()
def _forward(run: Run) -> Tensor:
    return run()
