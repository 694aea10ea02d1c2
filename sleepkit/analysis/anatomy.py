"""Anatomy of a sleep: what changes in the fast weights from pass to pass, and what can be read out of them.

Axes: B example, H head, K key channel, V value channel.
"""

import numpy as np
import torch
import xarray as xr

from sleepkit.analysis.probe import probe_accuracy
from sleepkit.errors import require
from sleepkit.model import HybridLM, PassView
from sleepkit.results import as_attrs, provenance
from sleepkit.sleep import SleepConfig, Window, rollout, schedule
from sleepkit.tasks import Batch, Split, automaton
from sleepkit.tasks.rule110 import Rule110

_PART = 256


def anatomy(model: HybridLM, task: Rule110, *, n_passes: int, depth: int, n_examples: int = 2048) -> xr.Dataset:
    """Look at the fast weights after every pass over the first window, for strings that are all asked at one depth.

    The first window, because there the fast weights hold one string and nothing else. The probe is fitted on strings of the
    training split and scored on strings that training never showed; what it finds is compared with the same probe on the string
    itself (what is linear in the input needs no computing) and with the majority.

    Args:
        model: a model trained on the task.
        task: Rule 110, mixed or fixed depth.
        n_passes: N, passes to look at.
        depth: t, the depth the strings are asked at; one of the task's.
        n_examples: strings to fit the probe on; half as many are held out.

    Returns:
        Dataset over ``sleep_pass`` (1 is reading): ``norm`` and ``effective_rank`` [sleep_pass, layer, head] of S and ``change``
        [sleep_pass, layer, head], the norm of S minus S of the pass before, means over examples; ``found`` [sleep_pass,
        automaton_step, cell], accuracy of the linear probe for each cell of the automaton's state after each step up to
        ``depth``; ``found_in_input`` and ``majority`` [automaton_step, cell].

    Raises:
        InvalidInputError: if the task has no such depth, or ``n_passes`` or ``n_examples`` is out of range.
    """
    require(isinstance(task, Rule110), "task", "must be rule110", task.name)
    require(depth in task.config.depths, "depth", f"must be one of {task.config.depths}", depth)
    require(n_examples >= 20, "n_examples", "must be 20 or more", n_examples)
    asked = _asked_at(task, depth)
    fitted = _states(model, asked, "train", n_passes, n_examples)
    held_out = _states(model, asked, "test", n_passes, n_examples // 2)
    layers = [number for number, weights in enumerate(fitted.layers) if weights]
    flat = fitted.history.reshape(len(fitted.history), -1)
    flat_held_out = held_out.history.reshape(len(held_out.history), -1)
    shape = (depth + 1, task.config.width)
    found = [
        probe_accuracy(known.reshape(len(known), -1), flat, unknown.reshape(len(unknown), -1), flat_held_out).reshape(shape)
        for known, unknown in zip(fitted.states, held_out.states, strict=True)
    ]
    in_input = probe_accuracy(fitted.history[:, 0], flat, held_out.history[:, 0], flat_held_out).reshape(shape)
    majority = (held_out.history == (fitted.history.mean(axis=0) > 0.5)).mean(axis=0)
    before = np.concatenate([np.zeros_like(held_out.states[:1]), held_out.states[:-1]])
    per_head, probed = ("sleep_pass", "layer", "head"), ("automaton_step", "cell")
    return xr.Dataset(
        {
            "norm": (per_head, np.linalg.norm(held_out.states, axis=(-2, -1)).mean(axis=1)),
            "change": (per_head, np.linalg.norm(held_out.states - before, axis=(-2, -1)).mean(axis=1)),
            "effective_rank": (per_head, effective_rank(held_out.states).mean(axis=1)),
            "found": (("sleep_pass", *probed), np.stack(found)),
            "found_in_input": (probed, in_input),
            "majority": (probed, majority),
        },
        coords={"sleep_pass": np.arange(1, n_passes + 1), "layer": layers, "automaton_step": np.arange(depth + 1)},
        attrs=as_attrs(
            {"task": task.name, "depth": depth, "n_fitted": n_examples, "n_held_out": n_examples // 2, **provenance()}
        ),
    )


def effective_rank(matrices: np.ndarray) -> np.ndarray:
    """Return exp of the entropy of the normalised singular values (Roy and Vetterli 2007): [..., K, V] -> [...], 1 to min(K, V).

    A zero matrix has rank 0.
    """
    singular = np.linalg.svd(matrices, compute_uv=False)
    total = singular.sum(axis=-1, keepdims=True)
    share = singular / np.where(total == 0, 1.0, total)
    entropy = -(share * np.log(np.where(share == 0, 1.0, share))).sum(axis=-1)
    rank: np.ndarray = np.where(total[..., 0] == 0, 0.0, np.exp(entropy))
    return rank


class _Seen:
    """Fast weights after each pass over the first window, and the true histories of the strings in it.

    Attributes:
        states: [sleep_pass, B, layer, H, K, V].
        history: [B, steps, cells].
        layers: by layer of the model, whether it has fast weights.
    """

    def __init__(self, states: np.ndarray, history: np.ndarray, layers: list[bool]) -> None:
        self.states, self.history, self.layers = states, history, layers


def _asked_at(task: Rule110, depth: int) -> Rule110:
    """Return the task with every string asked at one depth, in the same vocabulary."""
    if not task.config.mixed:
        return task
    weights = tuple(float(known == depth) for known in task.config.depths)
    return Rule110(task.config.replace(depth_weights=weights))


def _states(model: HybridLM, task: Rule110, split: Split, n_passes: int, n_examples: int) -> _Seen:
    config, sleep = task.config, SleepConfig(n_passes=n_passes, window_len=task.window_len)
    depth = next(d for d, w in zip(config.depths, config.depth_weights or (1.0,), strict=True) if w)
    parts: list[np.ndarray] = []
    histories: list[np.ndarray] = []
    layers: list[bool] = []
    for index in range(-(-n_examples // _PART)):
        batch = task.batch(split, index, _PART).rows(0, min(_PART, n_examples - index * _PART))
        views = _views(model, batch, sleep)
        layers = [weights is not None for weights in views[0].state.fast_weights]
        parts.append(np.stack([_stacked(view) for view in views]))
        start = int(config.mixed)
        cells = batch.tokens[:, start : start + config.width].numpy()
        histories.append(np.moveaxis(automaton.history_by_table(cells, depth), 0, 1))
    return _Seen(np.concatenate(parts, axis=1), np.concatenate(histories), layers)


def _views(model: HybridLM, batch: Batch, sleep: SleepConfig) -> list[PassView]:
    """Run the first window alone and return what is seen after each pass."""
    views: list[PassView] = []

    def record(_number: int, _window: Window, view: PassView) -> None:
        views.append(view)

    first = schedule(batch, sleep.window_len)[:1]
    with torch.no_grad():
        rollout(model, batch.to(model.embedding.weight.device), sleep, trace=record, windows=first)
    return views


def _stacked(view: PassView) -> np.ndarray:
    """Fast weights of all layers that have them, [B, layer, H, K, V] float64."""
    held = [weights for weights in view.state.fast_weights if weights is not None]
    return torch.stack(held, dim=1).double().cpu().numpy()
