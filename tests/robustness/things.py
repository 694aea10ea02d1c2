"""Every kind of thing that is saved: how two versions of it are written, and how it is read."""

import dataclasses
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sleepkit import notebook, results, zoo
from sleepkit.experiments.cell import run_cell
from sleepkit.experiments.grid import Sweep
from sleepkit.experiments.sweep import gather_sweep
from sleepkit.model import HybridLM
from sleepkit.sleep import Session, SleepConfig
from sleepkit.training import TrainSettings, train
from sleepkit.training.checkpoint import claim_folder, load_newest, read_settings, save_checkpoint
from sleepkit.training.live import LiveLog, read_live
from sleepkit.training.loop import build_model
from sleepkit.training.optimiser import Optimiser
from sleepkit.zoo.opening import load_opening
from sleepkit.zoo.probe import load_probe
from tests.support.models import random_tokens
from tests.support.runs import tiny_settings

BUNDLED = "rule110-explorer"
_MADE_ANEW = ("elapsed_s", "tokens_per_s", "compile_s", "wall_time_s")  # differ from one making to the next


@dataclasses.dataclass(frozen=True)
class Thing:
    """A kind of thing that is saved below a folder.

    Attributes:
        name: what it is.
        save: write its version 0 or 1.
        read: read it and return a digest of all that was read, or refuse.
        parts: patterns of the files that reading looks at.
        grows: whether a beginning of it is as good: a log whose end was not written yet.
        edited: whether people write it and it holds no digest: what is still such a thing may say something else.
    """

    name: str
    save: Callable[[Path, int], object]
    read: Callable[[Path], str]
    parts: tuple[str, ...]
    grows: bool = False
    edited: bool = False


def digest(*parts: Any) -> str:
    """Return what identifies tensors, Datasets, trees and plain values: their names, types, shapes, values and attributes."""
    known = hashlib.blake2b(digest_size=16)
    _add(known, parts)
    return known.hexdigest()


def files(folder: Path) -> list[str]:
    """List what lies below a folder, sorted; hidden things too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def sweep() -> Sweep:
    """Return a sweep of two cells of a second."""
    tiny = ("batch_size=8", "checkpoint_every=2", "model.width=8", "model.n_heads=2", "log_every=2", "n_passes_weights=null")
    return Sweep(
        target=BUNDLED,
        grid={"sleep.n_passes": (1, 2)},
        overrides=(*tiny, "steps=4", "n_threads=1"),
        n_passes=(),
        n_examples=8,
        timeout_s=60,
    )


@functools.cache
def settings() -> TrainSettings:
    """Return the tiny run of the kills."""
    return tiny_settings()


def save_and_read_arrays() -> None:
    """Write and read a Dataset and a tree, which imports more than all else does."""
    with tempfile.TemporaryDirectory() as made:
        for thing in (RESULT, TRACE, NOTEBOOK, SESSION):  # the last one builds the kernels in C, where nobody has yet
            thing.save(Path(made), 0)
            thing.read(Path(made))
    results.provenance()


def _save_model(folder: Path, version: int) -> None:
    build_model(settings().replace(seed=version)).save(folder / "model")


def _read_model(folder: Path) -> str:
    model = HybridLM.load(folder / "model")
    return digest(model.config.to_json(), model.state_dict())


def _save_session(folder: Path, version: int) -> None:
    model = build_model(settings())
    session = Session(model, SleepConfig(n_passes=2, window_len=7, eviction="sliding"), batch_size=2)
    session.read(random_tokens(2, 12, vocab_size=5, seed=version))
    session.save(folder / "session")


def _read_session(folder: Path) -> str:
    session = Session.load(folder / "session", build_model(settings()))
    facts = (session.n_read, session.n_sleeps, session.cache_len, session.batch_size, session.sleep_config.to_json())
    return digest(facts, session.predict(random_tokens(2, 9, vocab_size=5, seed=7)), session.state.fast_weights)


def _save_result(folder: Path, version: int) -> None:
    generator = np.random.default_rng(version)
    n_correct = generator.integers(0, 100, (3, 4))
    data = {
        "n_correct": (("n_passes", "depth"), n_correct),
        "n_total": (("n_passes", "depth"), np.full((3, 4), 100)),
        "accuracy": (("n_passes", "depth"), n_correct / 100),
        "answer_text": (("depth",), np.array(["a", "b", "c", "d"], dtype=object)),
    }
    coords = {"n_passes": [1, 2, 4], "depth": [1, 2, 3, 4]}
    results.save(xr.Dataset(data, coords=coords, attrs={"task": "rule110", "version": version}), folder / "result.nc")


def _read_result(folder: Path) -> str:
    return digest(results.load(folder / "result.nc"))


def _save_trace(folder: Path, version: int) -> None:
    generator = np.random.default_rng(version)
    dims = ("window", "sleep_pass", "layer", "head", "key", "value")
    state = generator.standard_normal((2, 3, 1, 2, 4, 4)).astype(np.float32)
    tokens = {"id": ("token", np.arange(12)), "text": ("token", np.array(list("0110 1001 ab"), dtype=object))}
    tree = xr.DataTree.from_dict({"fast_weights": xr.Dataset({"state": (dims, state)}), "tokens": xr.Dataset(tokens)})
    tree.attrs.update(index=version, model="tiny")
    results.save(tree, folder / "trace.nc")


def _read_trace(folder: Path) -> str:
    return digest(results.load_tree(folder / "trace.nc"))


def _save_checkpoints(folder: Path, version: int) -> None:
    claim_folder(folder / "run", settings())
    model = build_model(settings().replace(seed=version))
    optimiser = Optimiser(model, settings().optimiser, steps=settings().steps)
    rows = [{"step": 4 * (version + 1), "loss": 0.5}]
    known = {"rows": rows, "elapsed_s": 1.0, "compile_s": 0.0, "validations": []}
    save_checkpoint(folder / "run", 4 * (version + 1), model, optimiser, known)


def _read_checkpoint(folder: Path) -> str:
    claim_folder(folder / "run", settings())
    model = build_model(settings().replace(seed=9))
    optimiser = Optimiser(model, settings().optimiser, steps=settings().steps)
    progress = load_newest(folder / "run", model, optimiser)
    return "nothing" if progress is None else digest(progress, model.state_dict(), optimiser.state_tensors())


def _save_run(folder: Path, version: int) -> None:
    train(settings().replace(seed=version), folder=folder / "run", progress=False)


def _read_run(folder: Path) -> str:
    known = read_settings(folder / "run")
    model = HybridLM.load(folder / "run" / "model")
    return digest(known.to_json(), model.state_dict(), results.load(folder / "run" / "history.nc"))


def _save_cell(folder: Path, version: int) -> None:
    run_cell(sweep().cells()[version].settings, root=folder, n_examples=8, progress=False)  # type: ignore[union-attr]


def _read_cell(folder: Path) -> str:
    return digest(sweep().cells()[0].load(folder))


def _save_sweep(folder: Path, version: int) -> None:
    for number in (0, 1):
        _save_cell(folder, number)
    gather_sweep(sweep(), folder)


def _read_sweep(folder: Path) -> str:
    return digest(results.load(folder / "sweep.nc"))


def _save_bundle(folder: Path, version: int) -> None:
    shutil.copytree(zoo.folder.folder_of(BUNDLED), folder / "bundle", dirs_exist_ok=True)


def _read_bundle(folder: Path) -> str:
    name = str(folder / "bundle")
    model, card = zoo.load(name)
    probe = load_probe(name)
    said = (card.summary, card.accuracy, card.provenance, card.settings.to_json())
    openings = [load_opening(name, n_passes) for n_passes in (1, 4)]
    fitted = (probe.task, probe.task_options, probe.sleep, probe.counts, probe.tensors)
    return digest(model.config.to_json(), model.state_dict(), said, openings, fitted)


def _save_notebook(folder: Path, version: int) -> None:
    shutil.copy(notebook.notebook_path(notebook.names()[version]), folder / "own.ipynb")


def _read_notebook(folder: Path) -> str:
    return digest(notebook.notebook_parameters(folder / "own.ipynb"))


def _save_live(folder: Path, version: int) -> None:
    log = LiveLog(folder)
    log.begin([], [])
    for step in range(1, 6):
        log.row({"step": step, "loss": 0.5 + version / step, "accuracy": 0.25, "n_passes_drawn": 2})
    log.close()


def _read_live(folder: Path) -> str:
    return ";".join(digest(row) for row in read_live(folder).rows)


MODEL = Thing("model", _save_model, _read_model, ("model/*",))
SESSION = Thing("session", _save_session, _read_session, ("session/*",))
RESULT = Thing("result", _save_result, _read_result, ("result.nc",))
TRACE = Thing("trace", _save_trace, _read_trace, ("trace.nc",))
CHECKPOINT = Thing("checkpoint", _save_checkpoints, _read_checkpoint, ("run/checkpoint-*/*", "run/settings.json"))
RUN = Thing("run", _save_run, _read_run, ("run/model/*", "run/settings.json", "run/history.nc"))
CELL = Thing("cell", _save_cell, _read_cell, ("*/result.nc",))
SWEEP = Thing("sweep", _save_sweep, _read_sweep, ("sweep.nc",))
LIVE = Thing("live log", _save_live, _read_live, ("live.jsonl",), grows=True)
BUNDLE = Thing("bundle", _save_bundle, _read_bundle, ("bundle/*.json", "bundle/*.safetensors", "bundle/*.nc"))
NOTEBOOK = Thing("notebook", _save_notebook, _read_notebook, ("own.ipynb",), edited=True)


def _add(known: Any, value: Any) -> None:
    """Add a value to a digest, with its type, so that 1, 1.0 and "1" differ."""
    if isinstance(value, Tensor):
        _add(known, (str(value.dtype), tuple(value.shape), value.detach().contiguous().view(torch.uint8).numpy().tobytes()))
    elif isinstance(value, np.ndarray):
        plain = value.tolist() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes()
        _add(known, (str(value.dtype), value.shape, plain))
    elif isinstance(value, xr.DataTree):
        _add(known, {node.path: node.to_dataset(inherit=False) for node in value.subtree})
    elif isinstance(value, xr.Dataset):
        arrays = {str(name): (array.dims, array.values, dict(array.attrs)) for name, array in value.variables.items()}
        _add(known, (arrays, dict(value.attrs)))
    elif isinstance(value, dict):
        _add(known, [(str(name), value[name]) for name in sorted(value, key=str)])
    elif isinstance(value, list | tuple):
        known.update(f"({len(value)}".encode())
        for each in value:
            _add(known, each)
    elif isinstance(value, bytes):
        known.update(b"b%d:" % len(value) + value)
    else:
        known.update(f"{type(value).__name__}:{value!r};".encode())


def lasting(data: xr.Dataset) -> xr.Dataset:
    """Return a history without what a clock measured."""
    kept = data.drop_vars([name for name in _MADE_ANEW if name in data])
    return kept.assign_attrs({})
