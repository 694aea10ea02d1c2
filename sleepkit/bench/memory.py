"""The suite ``memory``: what many passes cost in memory where activations are recomputed instead of kept, and what that takes."""

from typing import NamedTuple

import torch

from sleepkit.bench import measure
from sleepkit.bench.measure import ROOT, Figures
from sleepkit.bench.memory_probe import training_step
from sleepkit.errors import require, require_count
from sleepkit.experiments import presets
from sleepkit.settings import Settings, settings
from sleepkit.training import TrainSettings


@settings
class MemorySettings(Settings):
    """Settings of the suite ``memory``.

    Attributes:
        models: presets with the examples of a batch; 0 is the preset's own.
        overrides: settings on top of the presets', e.g. "model.width=16".
        n_passes: N of the steps whose memory is in question; each is compared with N = 1 that keeps everything, and with N = 1
            in its own mode.
        checkpointing: modes; "none" keeps everything.
        rounds: rounds of taking turns when steps are timed.
        device: "cpu" or "cuda".
        n_threads: CPU threads; 0 leaves torch's choice.
    """

    models: tuple[tuple[str, int], ...] = (("fig2b", 64), ("rule110-explorer", 0))
    overrides: tuple[str, ...] = ()
    n_passes: int = 8
    checkpointing: tuple[str, ...] = ("none", "pass", "window")
    rounds: int = 5
    device: str = "cpu"
    n_threads: int = 0

    def check(self) -> None:
        """Refuse a comparison with nothing."""
        require("none" in self.checkpointing, "checkpointing", "must hold 'none' to compare with", self.checkpointing)
        require(self.n_passes >= 2, "n_passes", "must be 2 or more", self.n_passes)
        require_count("rounds", self.rounds)


class Case(NamedTuple):
    """One way to make a step."""

    n_passes: int
    checkpointing: str

    @property
    def name(self) -> str:
        """How it is called in the report."""
        return f"N = {self.n_passes}, {self.checkpointing}"


def run(given: MemorySettings, *, progress: bool = False) -> Figures:
    """Measure every model: peaks each in a process of its own, then times in turns.

    Raises:
        InvalidInputError: for an unknown preset, before anything is measured.
    """
    made = {name: _settings(given, name, batch_size) for name, batch_size in given.models}
    with measure.threads(given.n_threads) as n_threads:
        models = {name: _measure(given, name, step_of, progress) for name, step_of in made.items()}
    return {
        "ratios": {name: part.pop("ratios") for name, part in models.items()},
        "n_threads": n_threads,
        "device": given.device,
        "models": models,
    }


def _measure(given: MemorySettings, preset: str, step_of: TrainSettings, progress: bool) -> Figures:
    cases = [Case(n, mode) for n in (1, given.n_passes) for mode in given.checkpointing]
    found = {
        case: measure.attempt(lambda case=case: _probe(preset, step_of, given, case))  # type: ignore[misc]
        for case in measure.bar(cases, description=f"memory of {preset}", progress=progress)
    }
    good = [case for case, peaks in found.items() if "unavailable" not in peaks]
    report: Figures = {
        "batch_size": step_of.batch_size,
        "ratios": _memory_ratios(found, good),
        "peaks": {case.name: peaks for case, peaks in found.items()},
        "time": {},
    }
    if not good:
        return report
    calls = {case.name: training_step(step_of, n_passes=case.n_passes, checkpointing=case.checkpointing) for case in good}
    seconds = measure.interleave(calls, rounds=given.rounds, warmups=1, device=given.device, progress=progress)
    report["time"] = {name: measure.spread(took, factor=1e3) for name, took in seconds.items()}
    for case in good:
        kept = Case(case.n_passes, "none")
        if case != kept and kept in good:
            ratio = measure.spread(measure.ratios(seconds[case.name], seconds[kept.name]))
            report["ratios"][f"time, {case.name} : {kept.name}"] = ratio
    return report


def _memory_ratios(found: dict[Case, Figures], good: list[Case]) -> Figures:
    """Many passes against one: with everything kept, and in the same mode."""
    pairs = [(case, Case(1, mode)) for case in good if case.n_passes > 1 for mode in dict.fromkeys(("none", case.checkpointing))]
    return {
        f"memory, {case.name} : {base.name}": measure.digits(found[case]["tensor_bytes"] / found[base]["tensor_bytes"])
        for case, base in pairs
        if base in good
    }


def _probe(preset: str, step_of: TrainSettings, given: MemorySettings, case: Case) -> Figures:
    more = (f"batch_size={step_of.batch_size}", f"device={given.device}", f"n_threads={torch.get_num_threads()}")
    order = {"preset": preset, "overrides": [*given.overrides, *more], **case._asdict()}
    return measure.ask(["-m", "sleepkit.bench.memory_probe"], order, tree=ROOT)


def _settings(given: MemorySettings, preset: str, batch_size: int) -> TrainSettings:
    chosen = presets.of_size(preset, "paper").with_overrides(*given.overrides, f"device={given.device}")
    return chosen.replace(batch_size=batch_size or chosen.batch_size)
