"""Whether Muon should take queries, keys and values, and gate and up, apart: the zoo's two tasks, trained both ways.

    python -m sleepkit.bench.muon --root runs/muon --output benchmarks/muon.json

The settings are those of the published models, with the same tokens for both ways; about eight core-hours. Killed and started
again, it goes on from the checkpoint of the run at hand. Runs that are finished are only evaluated.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sleepkit import zoo
from sleepkit.files import write_whole
from sleepkit.results import provenance
from sleepkit.training import TrainSettings, evaluate, train

MODELS = ("depo-explorer", "rule110-explorer")
SEEDS = (0, 1, 2)


def settings_of(model: str, *, apart: bool, seed: int, steps: int | None = None) -> TrainSettings:
    """Return the settings of a published model with another seed, and Muon's matrices whole or apart.

    Args:
        model: name in the zoo.
        apart: ``OptimiserSettings.muon_apart``.
        seed: root of initialisation and data; equal for both ways.
        steps: fewer steps than the model had, to try the command; None: all.
    """
    known = zoo.load_card(model).settings
    optimiser = known.optimiser.replace(muon_apart=apart)
    name = f"{model}-{'apart' if apart else 'whole'}-{seed}"
    return known.replace(name=name, optimiser=optimiser, seed=seed, steps=known.steps if steps is None else steps)


def measure(settings: TrainSettings, root: Path, *, n_examples: int, progress: bool) -> dict[str, Any]:
    """Train, or go on with a run, and count right answers on the test split at the model's own N."""
    run = train(settings, folder=root / f"{settings.name}-{settings.digest()}", progress=progress)
    sleep = settings.sleep
    counted = evaluate(
        run.model,
        settings.task.create(),
        n_passes=sleep.n_passes,
        n_examples=n_examples,
        window_len=sleep.window_len,
        eviction=sleep.eviction,
    ).isel(n_passes=0)
    asked = counted.n_total.values > 0
    by_depth = zip(counted.depth.values[asked].tolist(), counted.accuracy.values[asked].tolist(), strict=True)
    return {
        "run": settings.name,
        "digest": settings.digest(),
        "n_passes": sleep.n_passes,
        "accuracy": float(counted.n_correct.sum() / counted.n_total.sum()),
        "accuracy_by_depth": {str(depth): value for depth, value in by_depth},
        "last_losses": float(np.mean(run.history.loss.values[-10:])),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Make all runs that are left, and write what they reached after each."""
    parser = argparse.ArgumentParser(prog="python -m sleepkit.bench.muon", description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="runs/muon", help="where the runs lie (default: runs/muon)")
    parser.add_argument("--output", default="benchmarks/muon.json", help="where the result goes (default: benchmarks/muon.json)")
    parser.add_argument("--steps", type=int, help="steps of each run (default: those of the published models)")
    parser.add_argument("--examples", type=int, default=4096, help="test examples for each run (default: 4096)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(arguments)
    rows = []
    for seed in SEEDS:
        for model in MODELS:
            for apart in (False, True):
                settings = settings_of(model, apart=apart, seed=seed, steps=options.steps)
                row = measure(settings, Path(options.root), n_examples=options.examples, progress=not options.quiet)
                rows.append({"model": model, "apart": apart, "seed": seed, "steps": settings.steps, **row})
                report = {"runs": rows, "n_examples": options.examples, "provenance": provenance()}
                write_whole(Path(options.output), (json.dumps(report, indent=1) + "\n").encode())
                print(f"{settings.name}: accuracy {row['accuracy']:.4f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
