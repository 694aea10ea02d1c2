"""The training loop: one rollout, one loss, one optimiser step; resumable at any moment, bit for bit."""

import contextlib
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sleepkit import signals
from sleepkit.errors import SleepkitError, require
from sleepkit.model import HybridLM
from sleepkit.model.finite import spoilt
from sleepkit.results import as_attrs, provenance
from sleepkit.results import load as load_dataset
from sleepkit.results import save as save_dataset
from sleepkit.seeds import stream, torch_seed, weighted_choice
from sleepkit.sleep import RolloutResult, Window, correct_answers, rollout, schedule
from sleepkit.tasks import Batch
from sleepkit.training.checkpoint import claim_folder, load_newest, save_checkpoint
from sleepkit.training.distributed import Processes, processes
from sleepkit.training.evaluate import evaluate
from sleepkit.training.graphs import CudaRecorder, GraphedSteps, Outcome
from sleepkit.training.history import Row, Validation, as_dataset
from sleepkit.training.live import LiveLog, ends_told
from sleepkit.training.optimiser import Optimiser, describe_split
from sleepkit.training.prefetch import prefetched
from sleepkit.training.settings import TrainSettings

_LONG_S = 60.0  # from there on a run says how long it takes
_NOTHING_YET: dict[str, Any] = {"step": 0, "rows": (), "elapsed_s": 0.0, "compile_s": 0.0, "validations": ()}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        model: the trained model.
        history: Dataset over ``step``: loss (nats), accuracy and gradient norm of that step, n_passes_drawn, tokens/s since the
            row before, elapsed seconds; with ``compile`` the attribute ``compile_s``, seconds spent on compiling. With
            ``validate_every`` also over ``validation_step`` and ``depth``: n_correct, n_total, validation_accuracy with its 95 %
            interval, floor and chance by depth.
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
    pure functions of the step, and checkpoints hold everything else. Started by torchrun in several processes, it makes the same
    steps to rounding, and goes on in any number of them (``training.distributed``); all must see the folder.

    Args:
        settings: the whole run.
        folder: where it lies; ``runs/NAME-DIGEST`` if None.
        progress: show the split of parameters and a progress bar.
        on_row: called with the step and each new row of the history.
        should_stop: asked after every step, in each process; True in any writes a checkpoint and raises KeyboardInterrupt.

    Raises:
        InvalidInputError: if the device is not there, or the batch cannot be parted among the processes.
        CheckpointError: if the folder holds another run or a damaged checkpoint, or another process trains there.
        SleepkitError: if loss or gradient are no longer finite, looked at for each row and before each checkpoint, so that no
            step waits for the device; or if weights are not, looked at before each checkpoint, the last one included: no spoilt
            weights replace a good checkpoint, and no run ends with them. Started again, it goes on from that checkpoint.
        KeyboardInterrupt: if interrupted; a checkpoint of the last whole step is written first, unless the interrupt hit in the
            middle of an update, which cannot be undone: the run then goes on from its last checkpoint. A request to end
            (SIGTERM, SIGHUP) is an interrupt too; in the main thread it and Ctrl-C wait for the end of an update, and uncaught
            it ends the process with status 128 + its number. Several processes look every ``log_every`` steps.
    """
    require(isinstance(settings, TrainSettings), "settings", "must be TrainSettings", type(settings).__name__)
    available = settings.device == "cpu" or (settings.device.startswith("cuda") and torch.cuda.is_available())
    require(available, "device", "must be 'cpu', or 'cuda' where there is one", settings.device)
    target = Path(folder) if folder is not None else Path("runs") / f"{settings.name}-{settings.digest()}"
    with signals.ending(), processes(settings) as group, _threads(settings.n_threads):
        claimed: list[LiveLog] = []
        group.first(lambda: claimed.append(_claim(target, settings)))
        log = claimed[0] if group.is_first else None
        with ends_told(log):
            progress = progress and group.is_first
            model = build_model(settings).to(group.device)
            optimiser = Optimiser(model, settings.optimiser, steps=settings.steps, captured=settings.cuda_graphs)
            resumed = load_newest(target, model, optimiser) or dict(_NOTHING_YET)
            if progress:
                print(describe_split(model))
            trainer = Trainer(settings, target, model, optimiser, resumed, group, log)
            try:
                trainer.run(progress=progress, on_row=on_row, should_stop=should_stop)
            finally:
                model.uncompile_blocks()
            history = _history(settings, trainer.rows, trainer.validations, trainer.compile_s)
            group.first(lambda: _write(model, history, target))
    if not group.is_first:  # only the first one validates
        history = load_dataset(target / "history.nc")
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


def passes_range(settings: TrainSettings) -> tuple[int, int]:
    """Return the fewest and the most passes that ``passes_at`` ever gives."""
    weights = settings.n_passes_weights
    if weights is None:
        return settings.sleep.n_passes, settings.sleep.n_passes
    drawn = [n_passes for n_passes, weight in enumerate(weights, start=1) if weight > 0]
    return drawn[0], drawn[-1]


class Trainer:
    """The mutable part of a run: where it stands and what it saw."""

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path,
        model: HybridLM,
        optimiser: Optimiser,
        resumed: dict[str, Any],
        group: Processes | None = None,
        log: LiveLog | None = None,
    ) -> None:
        self.settings, self.folder, self.model, self.optimiser = settings, folder, model, optimiser
        self.group = group or Processes(0, 1, settings.device)
        self.step: int = resumed["step"]
        self.rows: list[Row] = list(resumed["rows"])
        self.validations: list[Validation] = list(resumed["validations"])
        self.compile_s: float = resumed["compile_s"]
        self._earlier_s: float = resumed["elapsed_s"]
        self._began = self._row_began = time.perf_counter()
        self._saved_step = self._row_step = self._first_step = self.step
        self._last: tuple[Tensor, Tensor] | None = None
        self._updating = self._told = False
        self._log = log
        if log is not None:
            log.begin(self.rows, self.validations)
        self._make_step = GraphedSteps(self._whole_step, CudaRecorder()) if settings.cuda_graphs else self._whole_step

    def run(self, *, progress: bool, on_row: Callable[[int, Row], None] | None, should_stop: Callable[[], bool] | None) -> None:
        """Make all steps that are left; see ``train``."""
        from tqdm.auto import tqdm

        settings = self.settings
        if settings.compile and self.step < settings.steps:
            self._compile(progress=progress)
        bar = tqdm(
            total=settings.steps,
            initial=self.step,
            disable=not progress,
            unit="step",
            desc=settings.name,
            dynamic_ncols=True,
        )
        try:
            with prefetched(self.make_batch, range(self.step, settings.steps)) as batches, self._asked() as asked:
                for batch, windows in batches:
                    row = self.one_step(batch, windows)
                    bar.update()
                    if row is not None:
                        bar.set_postfix_str(
                            f"loss {row['loss']:.3f} acc {row['accuracy']:.3f} {row['tokens_per_s']:,.0f} tokens/s"
                        )
                        self._tell_time_left(bar)
                        if on_row is not None:
                            on_row(self.step, row)
                    if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                        self._save()
                    wanted = bool(asked() or (should_stop is not None and should_stop()))
                    if self._may_ask(should_stop) and self.group.any(wanted):
                        self._save()
                        self.group.any(False)  # the first process to end would have torchrun end the one that writes
                        signals.end(asked() or signal.SIGINT)
        except KeyboardInterrupt:
            if not self._updating:  # half an update cannot be undone: the last checkpoint stands
                self._save()
            raise
        finally:
            bar.close()

    def _tell_time_left(self, bar: Any) -> None:
        """Say once, after the first row of a long run, how long it will take and how to stop it."""
        rate = (self.step - self._first_step) / max(time.perf_counter() - self._began, 1e-9)
        left_s = (self.settings.steps - self.step) / rate
        if not (bar.disable or self._told) and left_s >= _LONG_S:
            bar.write(
                f"about {left_s / 60:.0f} min; Ctrl-C saves a checkpoint, the same command goes on from it", file=sys.stderr
            )
        self._told = True

    def _asked(self) -> contextlib.AbstractContextManager[Callable[[], int | None]]:
        """Keep a request to end through an update, and through a step where several processes make it together."""
        return signals.deferring(lambda: self._updating or self.group.size > 1)

    def _may_ask(self, should_stop: Callable[[], bool] | None) -> bool:
        """Whether processes ask each other now: to ask waits for the device, so several do only where they wait anyway."""
        return self.group.size == 1 or should_stop is not None or self.step % self.settings.log_every == 0

    def make_batch(self, step: int) -> tuple[Batch, list[Window]]:
        """Return this process's part of the batch of a step, on the device, and the windows of the whole batch."""
        settings = self.settings
        batch = settings.task_at(step).batch("train", step, settings.batch_size)
        return self.group.part(batch).to(self.group.device), schedule(batch, settings.sleep.window_len)

    def _rollout(self, batch: Batch, windows: list[Window], n_passes: int) -> tuple[RolloutResult, Tensor]:
        settings, state = self.settings, None
        if settings.compile:  # the first window starts from fast weights like those of all others, and needs no code of its own
            state = self.model.initial_state(batch.size, sliding_len=settings.sleep.sliding_len).map(
                lambda layer: layer.requires_grad_()
            )
        # No cache of rounded weights: N passes over every window share them, and would add up their gradients in bfloat16.
        kind = torch.device(settings.device).type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=settings.autocast, cache_enabled=False):
            result = rollout(
                self.model,
                batch,
                settings.sleep.replace(n_passes=n_passes),
                windows=windows,
                state=state,
                checkpointing=settings.checkpointing,
                gradient_passes=settings.gradient_passes,
                gradient_windows=settings.gradient_windows,
            )
        assert result.loss is not None
        return result, result.loss

    def _compile(self, *, progress: bool) -> None:
        """Make all code before the first step: a step with the fewest and one with the most passes, both forgotten."""
        began = time.perf_counter()
        if progress:
            print("compiling the blocks ... ", end="", flush=True)
        self.model.compile_blocks()
        for n_passes in sorted(set(passes_range(self.settings))):
            _, loss = self._rollout(*self.make_batch(self.step), n_passes)
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.clear()
        self._row_began = time.perf_counter()
        self.compile_s += self._row_began - began
        if progress:
            print(f"{self._row_began - began:.1f} s")

    def one_step(self, batch: Batch, windows: list[Window]) -> Row | None:
        """Make a step; return its row of the history if it has one."""
        n_passes = passes_at(self.settings, self.step)
        self.optimiser.set_rates(self.step)
        self._updating = self.settings.cuda_graphs  # nobody knows how far a launched graph has come
        result, loss, norm = self._make_step(batch, windows, n_passes)
        self.step += 1
        self._last = (loss, norm)
        row = None
        if self.step % self.settings.log_every == 0 or self.step == self.settings.steps:
            self._refuse_divergence()
            row = self._row(batch, result, n_passes)
            self.rows.append(row)
            if self._log is not None:
                self._log.row(row)
        self._updating = False
        every = self.settings.validate_every
        if self.group.is_first and every and (self.step % every == 0 or self.step == self.settings.steps):
            self._validate()
        return row

    def _validate(self) -> None:
        """Count right answers on held-out examples; the time it takes is not the next row's."""
        began, settings = time.perf_counter(), self.settings
        counted = evaluate(
            self.model,
            settings.task.create(),
            n_passes=settings.sleep.n_passes,
            n_examples=settings.validation_examples,
            window_len=settings.sleep.window_len,
            eviction=settings.sleep.eviction,
            split="validation",
        ).isel(n_passes=0)
        known = {name: counted[name].values.tolist() for name in ("depth", "n_correct", "n_total", "floor", "chance")}
        self.validations.append({"step": self.step, **known})
        if self._log is not None:
            self._log.validation(self.validations[-1])
        self._row_began += time.perf_counter() - began

    def _whole_step(self, batch: Batch, windows: list[Window], n_passes: int) -> Outcome:
        result, loss = self._rollout(batch, windows, n_passes)
        loss = self.group.weighted(loss, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(self.optimiser.parameters)
        whole = self.group.sum(loss.detach())
        self._updating = True
        return Outcome(result, whole, self.optimiser.update())

    def _row(self, batch: Batch, result: RolloutResult, n_passes: int) -> Row:
        assert self._last is not None
        loss, norm = self._last
        row: Row = {
            "step": self.step,
            "loss": loss.item(),
            "accuracy": self.group.sum(correct_answers(batch, result).double().mean()).item() / self.group.size,
            "n_passes_drawn": n_passes,
            "gradient_norm": norm.item(),
        }
        now, n_tokens = time.perf_counter(), batch.tokens.numel() * self.group.size * (self.step - self._row_step)
        row |= {"tokens_per_s": n_tokens / (now - self._row_began), "elapsed_s": self._elapsed()}
        self._row_began, self._row_step = now, self.step
        return row

    def _refuse_divergence(self) -> None:
        """Look at the last step, which waits for the device: a loss or gradient that is not finite has spoilt all weights."""
        if self._last is None:
            return
        loss, norm = (value.item() for value in self._last)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._diverged("loss", f"{loss} and a gradient of norm {norm}")

    def _refuse_spoilt_weights(self) -> None:
        """Look at the weights: the last update may have spoilt them, and no later loss would tell."""
        found = spoilt(dict(self.model.state_dict()))
        if found is not None:
            self._diverged("weights", found)

    def _diverged(self, what: str, found: str) -> NoReturn:
        kept = f"the checkpoint of step {self._saved_step} stays" if self._saved_step else "no checkpoint was written"
        raise SleepkitError(
            f"{what}: must stay finite (lower the optimiser's rates or clip_norm; {kept}), got {found} at step {self.step}"
        )

    def _elapsed(self) -> float:
        return self._earlier_s + time.perf_counter() - self._began

    def _save(self) -> None:
        if self.step > self._saved_step:
            self._refuse_divergence()
            self._refuse_spoilt_weights()
            known = {"rows": self.rows, "elapsed_s": self._elapsed(), "compile_s": self.compile_s}
            known["validations"] = self.validations
            if self.group.is_first:
                save_checkpoint(self.folder, self.step, self.model, self.optimiser, known)
            self._saved_step = self.step


def _claim(folder: Path, settings: TrainSettings) -> LiveLog:
    claim_folder(folder, settings)
    return LiveLog(folder)


def _write(model: HybridLM, history: xr.Dataset, folder: Path) -> None:
    model.save(folder / "model")
    save_dataset(history, folder / "history.nc")


def _history(settings: TrainSettings, rows: list[Row], validations: list[Validation], compile_s: float) -> xr.Dataset:
    compiled = {"compile_s": compile_s} if settings.compile else {}
    attrs = as_attrs({"settings": settings.to_dict(), "digest": settings.digest(), **compiled, **provenance()})
    return as_dataset(rows, validations).assign_attrs(attrs)


@contextlib.contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
