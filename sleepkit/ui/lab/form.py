"""The small run a visitor may start: a preset of a size for a laptop, with a few settings to edit. No Panel here."""

import dataclasses
import json

from sleepkit.errors import require
from sleepkit.experiments import presets
from sleepkit.training import TrainSettings

FIELDS = {
    "sleep.n_passes": "Passes N (1 = no sleep)",
    "n_passes_weights": "Law of N (weights, or null)",
    "steps": "Steps",
    "batch_size": "Batch (examples)",
    "seed": "Seed",
    "model.width": "Model width",
    "validate_every": "Validate every (steps, 0 = never)",
    "checkpoint_every": "Checkpoint every (steps)",
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A preset and its size; None where the preset has no sizes."""

    preset: str
    size: str | None

    @property
    def name(self) -> str:
        """What it is called in a list."""
        return self.preset if self.size is None else f"{self.preset}, {self.size}"

    def settings(self) -> TrainSettings:
        """Return the settings as the preset has them."""
        return presets.get(self.preset) if self.size is None else presets.get(self.preset, size=self.size)


def recipes() -> dict[str, Recipe]:
    """Return what can be started from a page, by name: every preset but at the size of the paper."""
    known = [
        Recipe(name, size)
        for name in presets.names()
        for size in (("smoke", "cpu") if "size" in presets.options_of(name) else (None,))
    ]
    return {each.name: each for each in known}


def values(recipe: Recipe) -> dict[str, str]:
    """Return the editable settings of a recipe as text, by dotted name."""
    data, found = recipe.settings().to_dict(), {}
    for name in FIELDS:
        value = data
        for part in name.split("."):
            value = value[part]
        found[name] = json.dumps(value)
    return found


def settings_of(recipe: Recipe, texts: dict[str, str]) -> TrainSettings:
    """Return the run that the fields describe.

    Raises:
        InvalidInputError: naming the setting, the rule and what was written.
    """
    before, made = values(recipe), recipe.settings()
    for name, text in texts.items():
        require(name in FIELDS, name, f"must be one of {', '.join(FIELDS)}", text)
        require(bool(text.strip()), name, "must not be empty", text)
    changed = [f"{name}={text.strip()}" for name, text in texts.items() if text.strip() != before[name]]
    if any(change.startswith("seed=") for change in changed) and "seed" in made.task.options:
        # As in the presets: the seed of a run is that of its task too, where the task has one.
        changed.append(f"task.options.seed={texts['seed'].strip()}")
    return made.with_overrides(*changed)
