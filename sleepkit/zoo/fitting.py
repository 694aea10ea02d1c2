"""Fitting the probe of a bundled model: ridge regressions on its fast weights, scored on held-out examples.

Axes: B example, X window, N pass, F feature (an entry of S), P place, C class, O output.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from safetensors.numpy import save_file
from scipy.linalg import helmert

from sleepkit.errors import naming, require
from sleepkit.files import seals, whole_file, write_whole
from sleepkit.files.tensors import PLACEHOLDER, fill, stored_digest
from sleepkit.model import HybridLM, PassView
from sleepkit.results import as_attrs, provenance
from sleepkit.seeds import stream
from sleepkit.sleep import SleepConfig, Window, rollout, schedule
from sleepkit.tasks import Batch, Depo, Rule110, Split, Task
from sleepkit.tasks.explore import at_depth
from sleepkit.zoo.card import Card
from sleepkit.zoo.folder import folder_of, weights_digest
from sleepkit.zoo.places import ABSENT, Places, automaton_classes, automaton_places, walk_classes, walk_places
from sleepkit.zoo.probe import PARTS, PROBE_FORMAT, WALK, Probe, load_probe, probe_files
from sleepkit.zoo.readout import Readout, coded, probabilities
from sleepkit.zoo.record import facts
from sleepkit.zoo.shelf import load

_RIDGES = 10.0 ** np.arange(-4, 1)
_SHARPNESS = 2.0 ** np.arange(-2, 7)
_ABOVE_FLOOR = 0.1
_PART = 256


class Source(NamedTuple):
    """What one group of readouts is fitted on.

    Attributes:
        group: name of the group.
        task: where the examples come from.
        places: what is read.
        n_classes: C, classes of a place.
    """

    group: str
    task: Task
    places: Places
    n_classes: int


class Seen(NamedTuple):
    """States and what they should be read as, a row for each window slept on of each example.

    Attributes:
        features: [N, rows, F] float32, the fast weights after each pass.
        classes: [rows, P], -1 where a place is absent.
    """

    features: np.ndarray
    classes: np.ndarray


def fit_probe(name: str, *, n_examples: int = 16384, n_held_out: int = 4096, progress: bool = True) -> Probe:
    """Fit the probe of a model and write it into its folder; an older one is replaced.

    Four fifths of the examples, of the train split, fit; one fifth chooses the ridge and how sharp probabilities are. The test
    split is used once, to count. Rule 110 has a group for each depth at which the model's own N answers 10 points better than
    the best constant does, and for the one it is first seen at: what it answers no better than a constant leaves nothing to read.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.
        n_examples: examples of the train split for each group; a string each for Rule 110.
        n_held_out: examples of the test split.
        progress: print a line for each group.

    Raises:
        InvalidInputError: for an unknown name, too few examples, or a task that no probe is made for.
        CheckpointError: if the folder is damaged.
    """
    require(n_examples >= 100, "n_examples", "must be 100 or more", n_examples)
    require(n_held_out >= 10, "n_held_out", "must be 10 or more", n_held_out)
    folder, (model, card) = folder_of(name), load(name)
    tensors: dict[str, np.ndarray] = {}
    counted = []
    for source in _sources(card, facts(name).best_depth):
        known = _seen(model, card.sleep, source, "train", n_examples)
        unknown = _seen(model, card.sleep, source, "test", n_held_out)
        fitted = [_fit(features, known.classes, source) for features in known.features]
        for part in PARTS:
            tensors[f"{source.group}.{part}"] = np.stack([getattr(true, part) for true, _ in fitted])
        counted.append(_count(fitted, known, unknown, source))
        if progress:
            print(_line(source.group, counted[-1]), flush=True)
    counts = xr.concat(counted, "group", join="outer", fill_value=0)
    counts.attrs = as_attrs({"n_examples": n_examples, "n_held_out": n_held_out, **provenance()})
    _write(folder, card, counts, tensors)
    return load_probe(name)


def _sources(card: Card, best_depth: int) -> Iterator[Source]:
    task = card.task
    probed = isinstance(task, Depo) or (isinstance(task, Rule110) and task.config.mixed)
    require(probed, "model", "must be trained on rule110 with a list of depths, or on depo", card.name)
    if isinstance(task, Depo):
        config = task.config
        whole = config.names == "single" and config.context_len <= card.sleep.window_len and config.n_hops < config.n_nodes
        require(whole, "model", "must read its whole cycle in one window, and ask fewer hops than it has nodes", card.name)
        yield Source(WALK, task, walk_places(config.n_symbols, config.n_hops), config.n_symbols - 1)
    elif isinstance(task, Rule110):
        own = card.accuracy.sel(n_passes=card.sleep.n_passes)
        answered = own.accuracy - own.floor >= _ABOVE_FLOOR
        for depth in sorted({*own.depth.values[answered.values].tolist(), best_depth}):
            yield Source(f"depth-{depth}", at_depth(task, depth), automaton_places(task.config.width, depth), 2)


def _seen(model: HybridLM, sleep: SleepConfig, source: Source, split: Split, n_examples: int) -> Seen:
    """Run examples of a split until there are as many windows slept on as examples wanted."""
    features: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    n_rows = index = 0
    while n_rows < n_examples:
        batch = source.task.batch(split, index, _PART)
        windows = [window for window in schedule(batch, sleep.window_len) if window.asleep]
        states = _states(model, batch, sleep, windows)
        features.append(states.reshape(len(states), -1, states.shape[-1]))
        classes.append(np.concatenate([_classes(source, batch, window) for window in windows]))
        n_rows, index = n_rows + len(classes[-1]), index + 1
    return Seen(np.concatenate(features, axis=1)[:, :n_examples], np.concatenate(classes)[:n_examples])


def _states(model: HybridLM, batch: Batch, sleep: SleepConfig, windows: list[Window]) -> np.ndarray:
    """Fast weights after each pass over each window: [N, X, B, F] float32."""
    views: dict[tuple[int, int], np.ndarray] = {}

    def record(number: int, _window: Window, view: PassView) -> None:
        held = [weights.flatten(1) for weights in view.state.fast_weights if weights is not None]
        views[view.n_pass, number] = torch.cat(held, dim=1).float().cpu().numpy()

    with torch.no_grad():
        rollout(model, batch, sleep, trace=record, windows=windows)
    passes = range(1, sleep.n_passes + 1)
    return np.stack([np.stack([views[n_pass, number] for number in range(len(windows))]) for n_pass in passes])


def _classes(source: Source, batch: Batch, window: Window) -> np.ndarray:
    own = batch.tokens[:, window.start : window.stop].numpy()
    if source.group == WALK:
        return walk_classes(own, source.n_classes + 1, source.places)
    return automaton_classes(own[:, 1:], source.places)


def _fit(features: np.ndarray, classes: np.ndarray, source: Source) -> tuple[Readout, Readout]:
    """Fit a readout of one pass, and the same one on shuffled labels.

    Places that are absent from the same examples share their regressions.
    """
    spread = features.std(axis=0)
    spread[spread == 0] = 1.0
    standard = features / spread
    n_outputs = source.n_classes - 1
    masks, owner = np.unique(classes != ABSENT, axis=1, return_inverse=True)
    weights, offset = np.zeros((2, features.shape[1], classes.shape[1] * n_outputs)), np.zeros((2, classes.shape[1] * n_outputs))
    sharpness = np.ones((2, classes.shape[1]))
    for number, mask in enumerate(masks.T):
        mine = np.flatnonzero(owner.ravel() == number)
        columns = (mine[:, None] * n_outputs + np.arange(n_outputs)).ravel()
        known, true = standard[mask].astype(np.float64), classes[mask][:, mine]
        made = _regressions(known, true, source.n_classes)
        for which, (own_weights, own_offset, own_sharpness) in enumerate(made):
            weights[which][:, columns], offset[which][columns], sharpness[which][mine] = own_weights, own_offset, own_sharpness
    readouts = []
    for which in range(2):
        codes, scale = coded(weights[which])
        parts = (offset[which], spread, sharpness[which])
        readouts.append(Readout(codes, scale, *(part.astype(np.float32) for part in parts)))
    return readouts[0], readouts[1]


def _regressions(features: np.ndarray, classes: np.ndarray, n_classes: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Solve the ridge regressions of some places, true and shuffled: weights [F, O], offset [O] and sharpness [P] of both.

    The shuffled ones take the ridge of the true ones.
    """
    n_fit, corner = len(features) - len(features) // 5, helmert(n_classes)
    centre = features[:n_fit].mean(axis=0)
    known, left = features[:n_fit] - centre, features[n_fit:] - centre
    values, vectors = np.linalg.eigh(known.T @ known)
    shuffled = np.random.Generator(stream(0, "probe", "shuffled labels")).permutation(classes)
    ridges, made = _RIDGES, []
    for labels in (classes, shuffled):
        targets = corner.T[labels[:n_fit]].reshape(n_fit, -1)
        middle = targets.mean(axis=0)
        turned = vectors.T @ (known.T @ (targets - middle))
        tried = []
        for ridge in ridges:
            weights = vectors @ (turned / (values + ridge * values.mean())[:, None])
            scores = (left @ weights + middle).reshape(len(left), -1, n_classes - 1) @ corner
            tried.append((float((scores.argmax(axis=-1) == labels[n_fit:]).mean()), ridge, weights, scores))
        _, best, weights, scores = max(tried, key=lambda attempt: attempt[0])
        ridges = np.array([best])
        made.append((weights, middle - centre @ weights, _sharpness(scores, labels[n_fit:])))
    return made


def _sharpness(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the sharpness [P], of nine octaves, at which probabilities [n, P, C] fit the classes [n, P] best."""
    likelihood = []
    for sharpness in _SHARPNESS:
        shares = probabilities(scores, np.full(scores.shape[1], sharpness))
        said = np.take_along_axis(shares, classes[..., None], axis=-1)[..., 0]
        likelihood.append(np.log(np.maximum(said, np.finfo(np.float64).tiny)).mean(axis=0))
    best: np.ndarray = _SHARPNESS[np.argmax(likelihood, axis=0)]
    return best


def _count(fitted: list[tuple[Readout, Readout]], known: Seen, unknown: Seen, source: Source) -> xr.Dataset:
    """Count right readings of held-out examples by pass and step."""
    there, steps = unknown.classes != ABSENT, np.unique(source.places.step)
    belongs = (source.places.step[:, None] == steps).astype(np.int64)

    def by_step(right: np.ndarray) -> np.ndarray:
        counts: np.ndarray = (right & there).sum(axis=0) @ belongs
        return counts

    def by_pass(which: int) -> np.ndarray:
        pairs = zip(fitted, unknown.features, strict=True)
        return np.stack([by_step(pair[which].read(features)[0] == unknown.classes) for pair, features in pairs])

    most = [np.bincount(column[column != ABSENT], minlength=source.n_classes).argmax() for column in known.classes.T]
    right = by_pass(0)
    counts = {
        "n_right": right,
        "n_shuffled": by_pass(1),
        "n_floor": np.broadcast_to(by_step(unknown.classes == np.array(most)), right.shape),
        "n_total": np.broadcast_to(by_step(there), right.shape),
    }
    coords = {"group": [source.group], "sleep_pass": np.arange(1, len(fitted) + 1), "step": steps}
    dims = ("group", "sleep_pass", "step")
    return xr.Dataset({name: (dims, count[None]) for name, count in counts.items()}, coords=coords)


def _line(group: str, counted: xr.Dataset) -> str:
    last = counted.isel(group=0, sleep_pass=-1)
    by_step = zip(last.step.values, (100 * last.n_right / last.n_total).values, strict=True)
    shares = ", ".join(f"{step}: {share:.1f}" for step, share in by_step)
    return f"{group}, percent right by step after pass {int(last.sleep_pass)}: {shares}"


def _write(folder: Path, card: Card, counts: xr.Dataset, tensors: dict[str, np.ndarray]) -> None:
    note, weights = probe_files(folder)
    data = {
        "format": PROBE_FORMAT,
        "weights_digest": weights_digest(folder),
        "task": card.task.name,
        "task_options": card.task.config.to_dict(),
        "sleep": card.sleep.to_dict(),
        "counts": counts.to_dict(),
    }
    with whole_file(weights) as temporary, naming(weights):
        save_file(tensors, temporary, metadata={seals.KEY: PLACEHOLDER})
        fill(temporary)
    write_whole(note, seals.json_text({**data, "tensors": stored_digest(weights)}, indent=1))
