"""The suite ``train``: tokens a second against an earlier revision, linearity in the passes, the bound of other window orders."""

import contextlib

from sleepkit.bench import measure, scaling, throughput
from sleepkit.bench.measure import ROOT, Figures
from sleepkit.bench.throughput import Variant
from sleepkit.errors import require
from sleepkit.experiments import presets
from sleepkit.settings import Settings, settings
from sleepkit.training import TrainSettings


@settings
class TrainBenchSettings(Settings):
    """Settings of the suite ``train``.

    Attributes:
        preset: what is trained.
        against: an earlier revision of this checkout to compare with, or None.
        compile: also measure ``compile=true``, whose first steps take minutes.
        overrides: settings on top of the preset's, for all variants, e.g. "model.width=16".
        batch_sizes: examples a step; 0 is the preset's own.
        steps: steps of each training run.
        warmup_steps: first steps of each run, which are not counted.
        rounds: rounds of taking turns between variants.
        n_passes: the N of the linearity, fixed for whole steps.
        linearity_rounds: rounds of taking turns between them.
        bound_presets: models for the bound of running windows side by side.
        bound_batch_size: examples of the bound's batches; 0 is each preset's own.
        bound_rounds: rounds of taking turns between both orders.
        n_threads: CPU threads; 0 leaves torch's choice.
    """

    preset: str = "rule110-explorer"
    against: str | None = None
    compile: bool = True
    overrides: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = (256, 0)
    steps: int = 56
    warmup_steps: int = 20
    rounds: int = 5
    n_passes: tuple[int, ...] = (1, 2, 4, 8)
    linearity_rounds: int = 15
    bound_presets: tuple[str, ...] = ("rule110-explorer", "fig2b")
    bound_batch_size: int = 0
    bound_rounds: int = 5
    n_threads: int = 0

    def check(self) -> None:
        """Refuse runs without a steady step."""
        require(0 < self.warmup_steps < self.steps, "warmup_steps", f"must be in [1, steps={self.steps})", self.warmup_steps)
        require(len(self.n_passes) >= 3, "n_passes", "must be at least three, for a line through two fits always", self.n_passes)


def run(given: TrainBenchSettings, *, progress: bool = False) -> Figures:
    """Measure the three parts; a part that cannot run says why.

    Raises:
        InvalidInputError: for an unknown preset or revision, before anything is measured.
    """
    base = _settings(given, given.preset)
    revision = None if given.against is None else throughput.resolve(given.against)
    with measure.threads(given.n_threads) as n_threads:
        speed = _throughput(given, base, revision, n_threads, progress)
        line = measure.attempt(
            lambda: scaling.linearity(base, n_passes=given.n_passes, rounds=given.linearity_rounds, progress=progress)
        )
        bounds = {
            name: measure.attempt(lambda name=name: _bound(given, name, progress))  # type: ignore[misc]
            for name in given.bound_presets
        }
    return {
        "ratios": {name: part.pop("ratios", {}) for name, part in speed.items()},
        "n_threads": n_threads,
        "against": revision,
        "throughput": speed,
        "linearity": line,
        "windows_at_once_bound": bounds,
    }


def _throughput(given: TrainBenchSettings, base: TrainSettings, revision: str | None, n_threads: int, progress: bool) -> Figures:
    parts: Figures = {}
    timed = base.replace(steps=given.steps, log_every=1, checkpoint_every=given.steps + 1, n_threads=n_threads)
    with contextlib.ExitStack() as stack:
        old = None if revision is None else stack.enter_context(throughput.earlier_tree(revision))
        for batch_size in given.batch_sizes:
            eager = timed.replace(batch_size=batch_size or base.batch_size)
            variants: dict[str, Variant] = {}
            if revision is not None and old is not None:
                variants[revision] = Variant(old, eager)
            variants["eager"] = Variant(ROOT, eager)
            if given.compile:
                variants["compiled"] = Variant(ROOT, eager.replace(compile=True))
            parts[f"batch {eager.batch_size}"] = measure.attempt(
                lambda variants=variants: throughput.compare(  # type: ignore[misc]
                    variants, warmup_steps=given.warmup_steps, rounds=given.rounds, progress=progress
                )
            )
    return parts


def _bound(given: TrainBenchSettings, name: str, progress: bool) -> Figures:
    preset = _settings(given, name)
    size = given.bound_batch_size or preset.batch_size
    return scaling.side_by_side(preset.replace(batch_size=size), rounds=given.bound_rounds, progress=progress)


def _settings(given: TrainBenchSettings, name: str) -> TrainSettings:
    return presets.of_size(name, "paper").with_overrides(*given.overrides)
