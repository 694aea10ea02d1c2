"""What the zoo does not have and the pages are measured and pictured with: a model with two layers of each kind, a few runs."""

from pathlib import Path

from sleepkit import zoo
from sleepkit.experiments import presets
from sleepkit.training import train

DEEP_LAYERS = "attn gdn attn gdn"
DEEP_FAST_LAYERS = ("1", "3")
_DEEP_STEPS, _RUN_STEPS = 20, 160
_RUN_PASSES = (1, 2, 4)


def deep_model(folder: Path) -> Path:
    """Train the Rule 110 explorer's settings with four layers for a few steps, publish it and return its folder.

    It knows nothing yet, but its pictures are as large as those of a model that does, and it has a second layer to look at.
    """
    base = presets.get("rule110-explorer")
    settings = base.replace(
        name="deep",
        model=base.model.replace(layers=DEEP_LAYERS),
        steps=_DEEP_STEPS,
        checkpoint_every=_DEEP_STEPS,
        validate_every=0,
        optimiser=base.optimiser.replace(warmup_steps=1),
    )
    run = train(settings, folder=folder / "run", progress=False)
    zoo.publish(run, folder / "deep", summary="Two layers of each kind.", n_passes=(1, 2, 4), n_examples=64, progress=False)
    return folder / "deep"


def small_runs(root: Path) -> None:
    """Train three small runs that differ in N into a store."""
    base = presets.get("fig2b", size="smoke")
    for n_passes in _RUN_PASSES:
        settings = base.replace(
            sleep=base.sleep.replace(n_passes=n_passes),
            steps=_RUN_STEPS,
            checkpoint_every=_RUN_STEPS,
            validate_every=_RUN_STEPS // 4,
        )
        train(settings, folder=root / f"{settings.name}-{settings.digest()}", progress=False)
