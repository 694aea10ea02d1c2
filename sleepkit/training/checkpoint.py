"""Checkpoints: safetensors and JSON in a folder that is either whole or not there. Nothing is ever unpickled.

run folder/
  settings.json            what the run is
  checkpoint-00000100/     model.safetensors, optimiser.safetensors, progress.json
  model/                   the finished model (config.json, model.safetensors)
  history.nc               the finished history
  live.jsonl               the history so far, for whoever looks on (training.live)

Every file holds a digest, and progress.json those of its neighbours, so that no damage and no mixture is gone on from. What has
another name than the trainer gives is never read and never removed: copies, backups, notes.
"""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from sleepkit.errors import CheckpointError, InvalidInputError, one_line
from sleepkit.files import seals, sweep, tensors, whole_folder, write_whole
from sleepkit.model.storage import load_weights, read_tensors, write_tensors, write_weights
from sleepkit.training.optimiser import Optimiser
from sleepkit.training.settings import TrainSettings

NOTE, PROGRESS = "settings.json", "progress.json"
_MODEL, _OPTIMISER = "model.safetensors", "optimiser.safetensors"
_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{8,})", re.ASCII)
_SETTINGS_KEYS = tuple(field.name for field in dataclasses.fields(TrainSettings))
_PROGRESS_KEYS = ("step", "optimiser", "rows", "elapsed_s", "compile_s", "validations", "files")


def claim_folder(folder: Path, settings: TrainSettings) -> None:
    """Make the run folder, or check that it belongs to these settings; clear what killed writers left in it.

    Raises:
        CheckpointError: if the folder holds another run or something else, or its settings are damaged.
        OSError: if the disk refuses.
    """
    sweep(folder)
    note = folder / NOTE
    if note.exists():
        if read_settings(folder) != settings:
            raise CheckpointError(f"folder: must belong to the same settings (digest {settings.digest()}), got {str(folder)!r}")
        _drop_older(folder)
        return
    if folder.exists() and (not folder.is_dir() or any(p for p in folder.iterdir() if not p.name.startswith("."))):
        raise CheckpointError(f"folder: must be new, empty or a run of these settings, got {str(folder)!r}")
    write_whole(note, seals.json_text(settings.to_dict()))


def read_settings(folder: Path) -> TrainSettings:
    """Return the settings of a run folder; warn once if they have no digest.

    Raises:
        CheckpointError: if they are missing or damaged.
    """
    note = folder / NOTE
    try:
        # Settings and not texts: an earlier version wrote fewer of them, and the others are at their defaults.
        return TrainSettings.from_dict(seals.json_data(note.read_bytes(), _SETTINGS_KEYS, source=note))
    except (OSError, ValueError, InvalidInputError) as error:
        raise CheckpointError(f"folder: must hold readable settings of a run ({one_line(error)}), got {str(note)!r}") from None


def save_checkpoint(folder: Path, step: int, model: nn.Module, optimiser: Optimiser, progress: dict[str, Any]) -> None:
    """Write the checkpoint of a finished step and drop all but the newest two."""
    with whole_folder(folder / f"checkpoint-{step:08d}") as temporary:
        write_weights(model, temporary / _MODEL)
        state = optimiser.state_tensors()
        write_tensors(state, temporary / _OPTIMISER)
        files = {name: tensors.stored_digest(temporary / name) for name in (_MODEL, _OPTIMISER)}
        note = {"step": step, "optimiser": sorted(state), "files": files, **progress}
        (temporary / PROGRESS).write_text(seals.json_text(note, indent=None))
    _drop_older(folder)


def _drop_older(folder: Path) -> None:
    for old in checkpoints(folder)[:-_KEPT]:
        if not old.is_symlink():  # somebody's own arrangement
            shutil.rmtree(old)


def load_newest(folder: Path, model: nn.Module, optimiser: Optimiser) -> dict[str, Any] | None:
    """Put the newest checkpoint back into model and optimiser; return its progress, or None if there is none.

    Raises:
        CheckpointError: if the newest checkpoint is damaged.
    """
    found = checkpoints(folder)
    if not found:
        return None
    newest = max(found, key=lambda checkpoint: (_step_inside(checkpoint), step_of(checkpoint) or 0))
    load_weights(model, newest / _MODEL)
    try:
        progress = read_progress(newest)
        state = read_tensors(newest / _OPTIMISER)
        if sorted(state) != progress.pop("optimiser"):
            raise KeyError("optimiser.safetensors holds other tensors than were saved")
        optimiser.load_state_tensors(state)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint: must be whole ({one_line(error)}); delete it to go on from an older one, got {str(newest)!r}"
        ) from None
    return progress


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Return the step, the history and the seconds that a checkpoint holds.

    Raises:
        ValueError, KeyError, TypeError: if it is damaged.
        OSError: if it cannot be read.
    """
    path = checkpoint / PROGRESS
    data = seals.json_data(path.read_bytes(), _PROGRESS_KEYS, source=path)
    for name, digest in dict(data.get("files", {})).items():
        if tensors.stored_digest(checkpoint / name) != digest:
            raise KeyError(f"{name} of another checkpoint")
    known = {name: data[name] for name in ("optimiser", "rows", "elapsed_s")}
    later = {"compile_s": float(data.get("compile_s", 0.0)), "validations": list(data.get("validations", []))}
    return {"step": int(data["step"]), **known, **later}


def _step_inside(checkpoint: Path) -> int:
    """Return the step that a checkpoint holds, which for somebody's copy under a later name is not the one of its name."""
    try:
        return int(json.loads((checkpoint / PROGRESS).read_bytes())["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return step_of(checkpoint) or 0


def step_of(checkpoint: Path) -> int | None:
    """Return the step that a checkpoint's name tells; None if it is no name that the trainer gives."""
    found = _NAME.fullmatch(checkpoint.name)
    return int(found[1]) if found and checkpoint.name == f"checkpoint-{int(found[1]):08d}" else None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first: folders with the trainer's names, and nothing else."""
    found = {step: path for path in folder.glob("checkpoint-*") if (step := step_of(path)) is not None and path.is_dir()}
    return [found[step] for step in sorted(found)]
