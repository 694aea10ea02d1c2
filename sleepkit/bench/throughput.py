"""Training tokens a second: eager, compiled and an earlier revision of this repository, in turns, each turn its own process."""

import contextlib
import dataclasses
import operator
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from sleepkit.bench import measure
from sleepkit.bench.measure import ROOT, Figures
from sleepkit.errors import refuse
from sleepkit.training import TrainSettings

_SAME_LOSS = 1e-3
_PROBE = Path(__file__).with_name("train_probe.py")


class Variant(NamedTuple):
    """A way to train: where sleepkit comes from, and the whole settings."""

    tree: Path
    settings: TrainSettings


class Steps(NamedTuple):
    """What one process measured: per step N, loss and seconds; tokens of an example; settings its sleepkit does not have."""

    n_passes: list[int]
    loss: list[float]
    seconds: list[float]
    seq_len: int
    dropped: list[str]


def resolve(revision: str) -> str:
    """Return the short hash of a revision of this checkout.

    Raises:
        InvalidInputError: if there is no such revision, or no checkout.
    """
    command = ["git", "rev-parse", "--short=12", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        refuse("--against", "must be a revision of this checkout", revision)
    return done.stdout.strip()


@contextlib.contextmanager
def earlier_tree(revision: str) -> Iterator[Path]:
    """Unpack a revision of this checkout into a temporary folder."""
    archive = subprocess.run(["git", "archive", "--format=tar", revision, "sleepkit"], cwd=ROOT, capture_output=True, check=True)
    with tempfile.TemporaryDirectory(prefix="sleepkit-against-") as folder:
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder)


def compare(variants: Mapping[str, Variant], *, warmup_steps: int, rounds: int, progress: bool = False) -> Figures:
    """Train with each variant in turns and compare the same steady steps, which have the same N everywhere.

    Steady are the steps after warm-up whose N was seen in it (another N may have to be compiled first). A round's time of a
    step is the median of each N's steps, weighted by how many there are: a stray pause counts for little, the mix of N is kept.

    Returns:
        ``ratios`` of tokens a second, later variant : earlier variant; per variant tokens a second, seconds of the warm-up in the
        first round (compilation), or why it could not run.

    Raises:
        InvalidInputError: if variants draw other N, differ in the first loss, or have no steady step.
    """
    measured: dict[str, list[Steps]] = {name: [] for name in variants}
    failed: Figures = {}
    for _ in measure.bar(range(rounds), description="training: " + " : ".join(variants), progress=progress):
        for name, variant in variants.items():
            if name in failed:
                continue
            try:
                measured[name].append(probe(variant))
            except measure.TROUBLE as error:
                failed[name] = measure.unavailable(measure.reason(error))
    whole = {name: rounds_of for name, rounds_of in measured.items() if name not in failed}
    if not whole:
        return {"ratios": {}, "variants": failed}
    drawn = {tuple(taken.n_passes) for rounds_of in whole.values() for taken in rounds_of}
    if len(drawn) != 1:
        refuse("variants", "must draw the same N at the same steps", sorted(drawn)[:2])
    n_passes, losses = next(iter(drawn)), _loss_differences(whole)
    if losses["first_step"] > _SAME_LOSS:
        refuse("variants", f"must agree in the first loss within {_SAME_LOSS} nats", losses["first_step"])
    seen = set(n_passes[:warmup_steps])
    steady = [step for step in range(warmup_steps, len(n_passes)) if n_passes[step] in seen]
    if not steady:
        refuse("steps", "must leave steady steps behind the warm-up", len(n_passes))
    rates = {
        name: [_examples_per_s(taken, steady, variants[name].settings) * taken.seq_len for taken in rounds_of]
        for name, rounds_of in whole.items()
    }
    names = list(rates)
    return {
        "ratios": {
            f"{later} : {earlier}": measure.spread(measure.ratios(rates[later], rates[earlier]))
            for number, earlier in enumerate(names)
            for later in names[number + 1 :]
        },
        "variants": {name: _describe(rounds_of, rates[name], steady, warmup_steps) for name, rounds_of in whole.items()} | failed,
        "differences_of_losses": losses,
        "n_passes_of_steady_steps": {str(n): sum(n_passes[step] == n for step in steady) for n in sorted(seen)},
        "steps_left_out_because_their_N_was_new": len(n_passes) - warmup_steps - len(steady),
    }


def probe(variant: Variant) -> Steps:
    """Time a training run in a process of its own.

    Raises:
        InvalidInputError: if it fails, or its sleepkit lacks a setting that is not at its default.
    """
    steps = Steps(
        **measure.ask([str(_PROBE)], {"tree": str(variant.tree), "settings": variant.settings.to_dict()}, tree=variant.tree)
    )
    for name in steps.dropped:
        owner, _, field = f"settings.{name}".rpartition(".")
        value, default = _value_and_default(operator.attrgetter(owner)(variant), field)
        if value != default:
            refuse(name, "must be at its default where that revision does not have it", value)
    return steps


def _value_and_default(part: Any, name: str) -> tuple[Any, Any]:
    (field,) = (field for field in dataclasses.fields(part) if field.name == name)
    return getattr(part, name), field.default


def _examples_per_s(taken: Steps, steady: list[int], settings: TrainSettings) -> float:
    by_n: dict[int, list[float]] = {}
    for step in steady:
        by_n.setdefault(taken.n_passes[step], []).append(taken.seconds[step])
    seconds = sum(len(times) * statistics.median(times) for times in by_n.values())
    return len(steady) * settings.batch_size / seconds


def _describe(rounds_of: list[Steps], rates: list[float], steady: list[int], warmup_steps: int) -> Figures:
    first = rounds_of[0]
    times = [first.seconds[step] for step in steady]
    return {
        "tokens_per_s": measure.spread(rates),
        "warmup_s_of_the_first_round": measure.digits(sum(first.seconds[:warmup_steps])),
        "slowest_steady_step : median": measure.digits(max(times) / statistics.median(times)),
    }


def _loss_differences(whole: Mapping[str, list[Steps]]) -> Figures:
    """How far apart the variants lie at the first step, where only rounding differs, and at most (training amplifies it)."""
    losses = [taken.loss for rounds_of in whole.values() for taken in rounds_of]
    differences = [max(column) - min(column) for column in zip(*losses, strict=True)]
    return {"first_step": measure.digits(differences[0]), "largest": measure.digits(max(differences))}
