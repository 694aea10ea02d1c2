"""Checkpoints: safetensors and JSON in a folder that is either whole or not there. Nothing is ever unpickled.

run folder/
  settings.json            what the run is
  checkpoint-00000100/     model.safetensors, optimiser.safetensors, progress.json
  model/                   the finished model (config.json, model.safetensors)
  history.nc               the finished history
  live.jsonl               the history so far, for whoever looks on (training.live)
"""

import json
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from sleepkit.errors import CheckpointError, InvalidInputError, one_line
from sleepkit.files import whole_file, whole_folder
from sleepkit.model.storage import load_weights
from sleepkit.training.optimiser import Optimiser
from sleepkit.training.settings import TrainSettings

_PREFIX = "checkpoint-"


def claim_folder(folder: Path, settings: TrainSettings) -> None:
    """Make the run folder, or check that it belongs to these settings; clear half-written checkpoints of a killed run.

    Raises:
        CheckpointError: if the folder holds another run or something else.
    """
    note = folder / "settings.json"
    if note.exists():
        if not _holds(note, settings):
            raise CheckpointError(f"folder: must belong to the same settings (digest {settings.digest()}), got {str(folder)!r}")
        for unfinished in folder.glob(f".{_PREFIX}*"):
            shutil.rmtree(unfinished)
        return
    if folder.exists() and (not folder.is_dir() or any(p for p in folder.iterdir() if not p.name.startswith("."))):
        raise CheckpointError(f"folder: must be new, empty or a run of these settings, got {str(folder)!r}")
    with whole_file(note) as temporary:
        temporary.write_text(settings.to_json() + "\n")


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimiser: Optimiser, progress: dict[str, Any], *, keep: int = 2
) -> None:
    """Write the checkpoint of a finished step and drop all but the newest ``keep``."""
    from safetensors.torch import save_file, save_model

    with whole_folder(folder / f"{_PREFIX}{step:08d}") as temporary:
        save_model(model, str(temporary / "model.safetensors"))
        tensors = optimiser.state_tensors()
        save_file(tensors, temporary / "optimiser.safetensors")
        (temporary / "progress.json").write_text(json.dumps({"step": step, "optimiser": sorted(tensors), **progress}))
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def load_newest(folder: Path, model: nn.Module, optimiser: Optimiser) -> dict[str, Any] | None:
    """Put the newest checkpoint back into model and optimiser; return its progress, or None if there is none.

    Raises:
        CheckpointError: if the newest checkpoint is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = _checkpoints(folder)
    if not found:
        return None
    newest = found[-1]
    load_weights(model, newest / "model.safetensors")
    try:
        progress: dict[str, Any] = json.loads((newest / "progress.json").read_text())
        known = {name: progress[name] for name in ("optimiser", "rows", "elapsed_s")}
        later = {"compile_s": float(progress.get("compile_s", 0.0)), "validations": list(progress.get("validations", []))}
        progress = {"step": int(progress["step"]), **known, **later}
        tensors = load_file(newest / "optimiser.safetensors")
        if sorted(tensors) != progress["optimiser"]:
            raise KeyError("optimiser.safetensors holds other tensors than were saved")
        optimiser.load_state_tensors(tensors)
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint: must be whole ({one_line(error)}); delete it to go on from an older one, got {str(newest)!r}"
        ) from None
    return progress


def _holds(note: Path, settings: TrainSettings) -> bool:
    """Compare settings and not texts: an earlier version wrote fewer of them, and the others are at their defaults."""
    try:
        return TrainSettings.from_json(note.read_text()) == settings
    except (InvalidInputError, UnicodeDecodeError):
        return False


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())
