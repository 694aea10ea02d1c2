"""The training loop: one rollout, one loss, one optimiser step; resumable at any moment, bit for bit."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from sleepkit.errors import require
from sleepkit.model import HybridLM
from sleepkit.results import as_attrs, provenance
from sleepkit.results import save as save_dataset
from sleepkit.seeds import stream, torch_seed, weighted_choice
from sleepkit.sleep import correct_answers, rollout, schedule
from sleepkit.training.checkpoint import claim_folder, load_newest, save_checkpoint
from sleepkit.training.optimiser import Optimiser, describe_split
from sleepkit.training.settings import TrainSettings

Row = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        model: the trained model.
        history: Dataset over ``step``: loss (nats), accuracy, n_passes_drawn, gradient norm, tokens/s, elapsed seconds.
        folder: where it lies.
        settings: what it was made with.
    """

    model: HybridLM
    history: xr.Dataset
    folder: Path
    settings: TrainSettings


def train(
    settings: TrainSettings,
    *,
    folder: str | Path | None = None,
    progress: bool = True,
    on_row: Callable[[int, Row], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Train a model, or go on with a run that was interrupted.

    A run killed at any moment and started again ends with the same weights, bit for bit, on the same machine: data and N are
    pure functions of the step, and checkpoints hold everything else.

    Args:
        settings: the whole run.
        folder: where it lies; ``runs/NAME-DIGEST`` if None.
        progress: show the split of parameters and a progress bar.
        on_row: called with the step and each new row of the history.
        should_stop: asked after every step; True writes a checkpoint and raises KeyboardInterrupt.

    Raises:
        InvalidInputError: if the device is not there.
        CheckpointError: if the folder holds another run or a damaged checkpoint.
        KeyboardInterrupt: if interrupted; a checkpoint of the last whole step is written first, unless the interrupt hit in the
            middle of an update, which cannot be undone: the run then goes on from its last checkpoint.
    """
    require(isinstance(settings, TrainSettings), "settings", "must be TrainSettings", type(settings).__name__)
    available = settings.device == "cpu" or (settings.device.startswith("cuda") and torch.cuda.is_available())
    require(available, "device", "must be 'cpu', or 'cuda' where there is one", settings.device)
    target = Path(folder) if folder is not None else Path("runs") / f"{settings.name}-{settings.digest()}"
    claim_folder(target, settings)
    with _threads(settings.n_threads):
        model = build_model(settings)
        optimiser = Optimiser(model, settings.optimiser, steps=settings.steps)
        resumed = load_newest(target, model, optimiser) or {"step": 0, "rows": [], "elapsed_s": 0.0}
        if progress:
            print(describe_split(model))
        trainer = _Trainer(settings, target, model, optimiser, resumed)
        trainer.run(progress=progress, on_row=on_row, should_stop=should_stop)
    history = _history(settings, trainer.rows)
    model.save(target / "model")
    save_dataset(history, target / "history.nc")
    return Run(model, history, target, settings)


def build_model(settings: TrainSettings) -> HybridLM:
    """Make the untrained model of a run, initialised from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(settings.seed, "init"))
        model = HybridLM(settings.model)
    return model.to(device=settings.device, dtype=getattr(torch, settings.dtype))


def passes_at(settings: TrainSettings, step: int) -> int:
    """Return N of a step (counted from 0): fixed, or drawn from the law by the step number alone."""
    if settings.n_passes_weights is None:
        return settings.sleep.n_passes
    word = stream(settings.seed, "n_passes", step).random_raw(1)
    return 1 + int(weighted_choice(word, np.asarray(settings.n_passes_weights))[0])


class _Trainer:
    """The mutable part of a run: where it stands and what it saw."""

    def __init__(
        self, settings: TrainSettings, folder: Path, model: HybridLM, optimiser: Optimiser, resumed: dict[str, Any]
    ) -> None:
        self.settings, self.folder, self.model, self.optimiser = settings, folder, model, optimiser
        self.step: int = resumed["step"]
        self.rows: list[Row] = resumed["rows"]
        self._earlier_s: float = resumed["elapsed_s"]
        self._began = time.perf_counter()
        self._saved_step = self.step
        self._updating = False

    def run(self, *, progress: bool, on_row: Callable[[int, Row], None] | None, should_stop: Callable[[], bool] | None) -> None:
        from tqdm.auto import tqdm

        settings = self.settings
        bar = tqdm(
            total=settings.steps,
            initial=self.step,
            disable=not progress,
            unit="step",
            desc=settings.name,
            dynamic_ncols=True,
        )
        try:
            while self.step < settings.steps:
                row = self._one_step()
                bar.update()
                if row is not None:
                    bar.set_postfix_str(f"loss {row['loss']:.3f} acc {row['accuracy']:.3f} {row['tokens_per_s']:,.0f} tokens/s")
                    if on_row is not None:
                        on_row(self.step, row)
                if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                    self._save()
                if should_stop is not None and should_stop():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            if not self._updating:  # half an update cannot be undone: the last checkpoint stands
                self._save()
            raise
        finally:
            bar.close()

    def _one_step(self) -> Row | None:
        settings, began = self.settings, time.perf_counter()
        batch = settings.task_at(self.step).batch("train", self.step, settings.batch_size)
        windows = schedule(batch, settings.sleep.window_len)
        batch = batch.to(settings.device)
        n_passes = passes_at(settings, self.step)
        result = rollout(self.model, batch, settings.sleep.replace(n_passes=n_passes), windows=windows)
        assert result.loss is not None
        result.loss.backward()  # type: ignore[no-untyped-call]
        self._updating = True
        norm = self.optimiser.step(self.step)
        self.step += 1
        if self.step % settings.log_every and self.step != settings.steps:
            self._updating = False
            return None
        elapsed = time.perf_counter() - began
        row: Row = {
            "step": self.step,
            "loss": result.loss.item(),
            "accuracy": correct_answers(batch, result).double().mean().item(),
            "n_passes_drawn": n_passes,
            "gradient_norm": norm.item(),
            "tokens_per_s": batch.tokens.numel() / elapsed,
            "elapsed_s": self._elapsed(),
        }
        self.rows.append(row)
        self._updating = False
        return row

    def _elapsed(self) -> float:
        return self._earlier_s + time.perf_counter() - self._began

    def _save(self) -> None:
        if self.step > self._saved_step:
            save_checkpoint(self.folder, self.step, self.model, self.optimiser, {"rows": self.rows, "elapsed_s": self._elapsed()})
            self._saved_step = self.step


def _history(settings: TrainSettings, rows: list[Row]) -> xr.Dataset:
    names = [name for name in rows[0] if name != "step"]
    columns = {name: ("step", np.array([row[name] for row in rows])) for name in names}
    attrs = as_attrs({"settings": settings.to_dict(), "digest": settings.digest(), **provenance()})
    return xr.Dataset(columns, coords={"step": [int(row["step"]) for row in rows]}, attrs=attrs)


@contextlib.contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
