"""A model on the disk: safetensors and JSON in a folder that is either whole or not there. Nothing is ever unpickled.

Both files hold a digest, checked when they are read (``files.seals``, ``files.tensors``).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sleepkit.errors import CheckpointError, InvalidInputError, naming, one_line
from sleepkit.files import seals, tensors, whole_folder
from sleepkit.model.config import ModelConfig

MODEL_FORMAT = "sleepkit-model"
MODEL_VERSION = 1


CONFIG_KEYS = ("format", "version", "config")


def write_model(model: nn.Module, config: ModelConfig, folder: Path) -> None:
    """Write weights and configuration.

    Raises:
        CheckpointError: if the folder exists and is not a sleepkit model.
        OSError: if the disk refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not _is_model(folder):
        raise CheckpointError(f"folder: must be new, empty or a sleepkit model, got {str(folder)!r}")
    description = {"format": MODEL_FORMAT, "version": MODEL_VERSION, "config": config.to_dict()}
    with whole_folder(folder) as temporary:
        write_weights(model, temporary / "model.safetensors")
        (temporary / "config.json").write_text(seals.json_text(description))


def write_weights(model: nn.Module, path: Path) -> None:
    """Write the tensors of a model, tied ones once, with their digest.

    Raises:
        OSError: if the disk refuses.
    """
    from safetensors.torch import save_model

    with naming(path):
        save_model(model, str(path), metadata={seals.KEY: tensors.PLACEHOLDER})
    tensors.fill(path)


def write_tensors(named: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors with their digest.

    Raises:
        OSError: if the disk refuses.
    """
    from safetensors.torch import save_file

    with naming(path):
        save_file(dict(named), path, metadata={seals.KEY: tensors.PLACEHOLDER})
    tensors.fill(path)


def read_tensors(path: Path, *, device: str = "cpu") -> dict[str, Tensor]:
    """Read named tensors, after their digest was checked; warn once if there is none.

    Raises:
        ValueError: if the file is damaged.
        OSError: if it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors.check(path)
    try:
        return load_file(path, device=device)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def read_config(folder: str | Path) -> ModelConfig:
    """Read the model configuration of a saved model; warn once if it has no digest.

    Raises:
        CheckpointError: if it is missing, damaged or of another kind.
    """
    path = Path(folder) / "config.json"
    try:
        description = seals.json_data(path.read_bytes(), CONFIG_KEYS, source=path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"folder: must hold a readable config.json ({one_line(error)}), got {str(folder)!r}") from None
    if description.get("format") != MODEL_FORMAT:
        raise CheckpointError(f"folder: config.json must have format {MODEL_FORMAT!r}, got {str(folder)!r}")
    if description.get("version") != MODEL_VERSION:
        raise CheckpointError(f"folder: config.json must have version {MODEL_VERSION}, got {description.get('version')!r}")
    try:
        return ModelConfig.from_dict(description["config"])
    except (KeyError, InvalidInputError) as error:
        raise CheckpointError(
            f"folder: config.json must hold a model configuration ({one_line(error)}), got {str(folder)!r}"
        ) from None


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model with the tensors of a safetensors file, all of them and no others; warn once if it has no digest.

    Raises:
        CheckpointError: if the file is missing, damaged or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        tensors.check(path)
        load_model(model, str(path))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({one_line(error)}), got {str(path)!r}") from None


def stored_dtype(path: Path) -> torch.dtype:
    """Read in which dtype a model's weights were saved, so that loading never rounds them.

    Raises:
        CheckpointError: if the file is missing or damaged, or holds several.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({one_line(error)}), got {str(path)!r}") from None
    if len(dtypes) != 1:
        raise CheckpointError(f"weights: must be the model's own safetensors (one dtype, not {len(dtypes)}), got {str(path)!r}")
    stored: torch.dtype = dtypes.pop()
    return stored


def _is_model(folder: Path) -> bool:
    try:
        read_config(folder)
    except CheckpointError:
        return False
    return True
