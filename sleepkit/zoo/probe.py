"""What a bundled probe reads out of the fast weights of a trace (Alain and Bengio 2016, arXiv 1610.01644). No torch.

One set of weights for each pass, because what is written moves from pass to pass. The state after a window holds all strings so
far; what is read is the window's own one, by the same weights in every window. Of older strings even weights of their own find
little but the answer.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sleepkit import results
from sleepkit.errors import CheckpointError, SleepkitError, one_line
from sleepkit.files import seals, tensors
from sleepkit.zoo.folder import folder_of, weights_digest
from sleepkit.zoo.places import (
    ABSENT,
    Places,
    automaton_classes,
    automaton_places,
    walk_classes,
    walk_name,
    walk_places,
)
from sleepkit.zoo.readout import Readout

PROBE_FORMAT = "sleepkit-probe"
PROBE_KEYS = ("format", "weights_digest", "task", "task_options", "sleep", "counts", "tensors")
PARTS = tuple(field.name for field in dataclasses.fields(Readout))
WALK = "walk"


class NoReadingError(SleepkitError):
    """There is no probe, or it cannot read this moment of this trace; the message says why."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Linear readouts of a model's fast weights, fitted on the train split.

    Attributes:
        task: name of the task.
        task_options: every option of the task.
        sleep: the N, window_len and eviction at which the readouts were fitted.
        counts: of readings on the test split: ``n_total``, ``n_right``, ``n_floor`` (right if the class that is most frequent in
            training is always said), ``n_shuffled`` (right if the same probe is fitted on shuffled labels), each [group,
            sleep_pass, step]; 0 of 0 where a group has no such step. Groups are "depth-1", ... for Rule 110 and "walk" for Depo.
        tensors: the parts of the readouts, by "group.part", each with the pass as its first axis.
    """

    task: str
    task_options: dict[str, Any]
    sleep: dict[str, Any]
    counts: xr.Dataset
    tensors: dict[str, np.ndarray]

    @property
    def groups(self) -> list[str]:
        """Names of the groups of places that were fitted together."""
        return [str(group) for group in self.counts.group.values]

    def readout(self, group: str, sleep_pass: int) -> Readout:
        """Return the readout of one group after one pass, from 1."""
        return Readout(**{part: self.tensors[f"{group}.{part}"][sleep_pass - 1] for part in PARTS})

    def read(self, tree: xr.DataTree, window: int, sleep_pass: int) -> xr.Dataset:
        """Read the intermediate states of what a window said out of the fast weights after one pass over it.

        Args:
            tree: a trace of the model.
            window: a window that is slept on.
            sleep_pass: from 1, at most the N at which the probe was fitted.

        Returns:
            Dataset over ``step`` and ``place`` (labels of cells, with the asked one in the middle, or of start nodes):
            ``decoded`` and ``truth`` (texts, "" where nothing is read), ``probability`` of what is decoded (NaN there), ``right``
            (1, 0, or -1 there); by ``step``: ``accuracy``, ``n_total``, ``floor``, ``shuffled``, held out, at this pass. attrs:
            form ("automaton" or "walk"), window, sleep_pass, n_passes (of the trace), fitted_n_passes, depth (of an automaton).

        Raises:
            NoReadingError: if the probe knows nothing of this moment.
        """
        self._check(tree, window, sleep_pass)
        tokens = results.group(tree, "tokens")
        own = tokens.isel(token=slice(int(tokens["start"].values[window]), int(tokens["stop"].values[window])))
        state = results.group(tree, "fast_weights")["state"].values[window, sleep_pass].reshape(-1)
        if self.task == "rule110":
            dataset, group = self._automaton(own, state, sleep_pass)
        else:
            dataset, group = self._walk(own["id"].values, results.group(tree, "answers").choice.values, state, sleep_pass)
        dataset.attrs |= {
            "window": window,
            "sleep_pass": sleep_pass,
            "n_passes": int(tree.attrs["n_passes"]),
            "fitted_n_passes": int(self.sleep["n_passes"]),
        }
        counts = self.counts.sel(group=group, sleep_pass=sleep_pass, drop=True).sel(step=dataset.step)
        shares = {"accuracy": counts.n_right, "floor": counts.n_floor, "shuffled": counts.n_shuffled}
        return dataset.assign(n_total=counts.n_total, **{name: count / counts.n_total for name, count in shares.items()})

    def _check(self, tree: xr.DataTree, window: int, sleep_pass: int) -> None:
        tokens, fitted = results.group(tree, "tokens"), int(self.sleep["n_passes"])
        _can(0 <= window < tokens.sizes["window"], f"window {window} is not in this trace")
        _can(bool(tokens["asleep"].values[window]), "this window is answered, not slept on: it brings nothing new to read")
        _can(sleep_pass >= 1, "before it is read, nothing of this window is in the fast weights")
        last = int(tokens["n_passes"].values[window])
        _can(sleep_pass <= last, f"this window has {last} passes, and no pass {sleep_pass}")
        _can(sleep_pass <= fitted, f"the probe was fitted after passes 1 to {fitted}, and this is pass {sleep_pass}")
        for name in ("window_len", "eviction"):
            now, known = tree.attrs[name], self.sleep[name]
            _can(now == known, f"the probe was fitted at {name} {known}, and this trace has {now}")

    def _automaton(self, own: xr.Dataset, state: np.ndarray, sleep_pass: int) -> tuple[xr.Dataset, str]:
        ids, width = own["id"].values, int(self.task_options["width"])
        _can(len(ids) == width + 1, f"the probe reads windows of one whole string, and this one has {len(ids)} tokens")
        depth = int(str(own["text"].values[0]).removeprefix("t="))
        group = f"depth-{depth}"
        _can(group in self.groups, f"the probe reads {_listed(self.groups)}, and this string is asked at depth {depth}")
        places = automaton_places(width, depth)
        found, probability = self.readout(group, sleep_pass).read(state)
        truth = automaton_classes(ids[None, 1:], places)[0]
        order = np.roll(np.arange(width), (width - 1) // 2)  # the ring, cut open opposite the asked cell
        dataset = _laid_out(places, order, found.astype(str), truth.astype(str), probability)
        dataset = dataset.assign_coords(place=order.astype(str))
        return dataset.assign_attrs(form="automaton", depth=depth), group

    def _walk(self, ids: np.ndarray, vocab: np.ndarray, state: np.ndarray, sleep_pass: int) -> tuple[xr.Dataset, str]:
        n_symbols, n_nodes = int(self.task_options["n_symbols"]), int(self.task_options["n_nodes"])
        whole = len(ids) == 2 * n_nodes and bool(((ids >= 1) & (ids <= n_symbols)).all())
        _can(whole, f"the probe reads windows that hold a whole cycle of {n_nodes} nodes")
        places = walk_places(n_symbols, int(self.counts.step.max()))
        found, probability = self.readout(WALK, sleep_pass).read(state)
        truth = walk_classes(ids[None], n_symbols, places)[0]
        names = np.array([*vocab[1 : n_symbols + 1], ""])  # the last one is said of what is absent
        order = ids[::2] - 1
        decoded, true = (names[walk_name(each, places.place)] for each in (np.where(truth == ABSENT, ABSENT, found), truth))
        dataset = _laid_out(places, order, decoded, true, probability).assign_coords(place=names[order])
        return dataset.assign_attrs(form=WALK), WALK


def load_probe(name: str) -> Probe:
    """Load the probe that is bundled with a model.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.

    Raises:
        InvalidInputError: for an unknown name.
        NoReadingError: if the model has no probe.
        CheckpointError: if the probe is damaged or was fitted on other weights.
    """
    folder = folder_of(name)
    note, weights = probe_files(folder)
    _can(note.exists(), f"no probe is bundled with {name}")
    try:
        data = seals.json_data(note.read_bytes(), PROBE_KEYS, source=note)
        if data["format"] != PROBE_FORMAT:
            raise ValueError(f"format {data['format']!r}")
        digest, counts = data["weights_digest"], xr.Dataset.from_dict(data["counts"])
        probe = Probe(data["task"], data["task_options"], data["sleep"], counts, _read_tensors(weights, data.get("tensors")))
        for group in probe.groups:
            probe.readout(group, 1)
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"probe: must be a whole sleepkit probe ({one_line(error)}), got {str(note)!r}") from None
    if digest != weights_digest(folder):
        raise CheckpointError(f"probe: must be fitted on the weights beside it, got {str(note)!r}")
    return probe


def probe_files(folder: Path) -> tuple[Path, Path]:
    """Return where a probe lies in a model's folder: its note and its weights."""
    return folder / "probe.json", folder / "probe.safetensors"


def _read_tensors(path: Path, digest: str | None) -> dict[str, np.ndarray]:
    """Read the readouts, after their digest was checked, and whether it is the one in the note."""
    tensors.check(path)
    if tensors.stored_digest(path) != digest:
        raise ValueError(f"{path.name} of another probe")
    read: dict[str, np.ndarray] = load_file(path)
    return read


def _laid_out(places: Places, order: np.ndarray, decoded: np.ndarray, truth: np.ndarray, probability: np.ndarray) -> xr.Dataset:
    """Lay what is read [P] out over step and place, places in the given order."""
    steps = np.unique(places.step)
    column = np.full(int(max(places.place.max(), order.max())) + 1, ABSENT)
    column[order] = np.arange(len(order))
    shown = column[places.place] != ABSENT
    at = (np.searchsorted(steps, places.step[shown]), column[places.place[shown]])
    shape = (len(steps), len(order))
    kinds = (("decoded", decoded, ""), ("truth", truth, ""), ("probability", probability, np.nan))
    values: dict[str, Any] = {}
    for name, given, empty in (*kinds, ("right", (decoded == truth).astype(np.int64), -1)):
        grid = np.full(shape, empty, dtype=given.dtype)
        grid[at] = given[shown]
        values[name] = (("step", "place"), grid)
    return xr.Dataset(values, coords={"step": steps})


def _listed(groups: list[str]) -> str:
    depths = sorted(int(group.removeprefix("depth-")) for group in groups)
    return f"strings asked at depth {', '.join(map(str, depths))}"


def _can(condition: bool, reason: str) -> None:
    if not condition:
        raise NoReadingError(f"{reason[0].upper()}{reason[1:]}.")
