"""A model on the disk: safetensors and JSON in a folder that is either whole or not there. Nothing is ever unpickled.

Both files hold a digest, checked when they are read (``files.seals``, ``files.tensors``).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sleepkit.errors import CheckpointError, InvalidInputError, naming, one_line, require
from sleepkit.files import seals, tensors, whole_folder
from sleepkit.model.config import ModelConfig
from sleepkit.model.finite import refuse_spoilt, spoilt

MODEL_FORMAT = "sleepkit-model"
MODEL_VERSION = 1


CONFIG_KEYS = ("format", "version", "config")


def write_model(model: nn.Module, config: ModelConfig, folder: Path) -> None:
    """Write weights and configuration.

    Raises:
        CheckpointError: if the folder exists and is not a sleepkit model.
        InvalidInputError: if a weight is not finite, or of a dtype that cannot be read again.
        OSError: if the disk refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not _is_model(folder):
        raise CheckpointError(f"folder: must be new, empty or a sleepkit model, got {str(folder)!r}")
    for name, tensor in model.state_dict().items():
        readable = not tensor.is_floating_point() or tensor.dtype in _DTYPES.values()
        require(readable, name, "must be float64, float32, float16 or bfloat16 to be saved", tensor.dtype)
    refuse_spoilt(model)
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
    """Fill a model with the tensors of a safetensors file, all of them and no others, in the model's dtypes.

    Warn once if the file has no digest.

    Raises:
        CheckpointError: if the file is missing, damaged, does not fit or holds NaN or an infinity.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        tensors.check(path)
        load_model(model, str(path))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({one_line(error)}), got {str(path)!r}") from None
    found = spoilt(dict(model.state_dict()))
    if found is not None:
        raise CheckpointError(f"weights: must be finite ({found}), got {str(path)!r}")


def take_stored_dtypes(model: nn.Module, path: Path) -> None:
    """Give each tensor of a model the dtype in which it was saved, so that loading never rounds it.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({one_line(error)}), got {str(path)!r}") from None
    for name, tensor in model.state_dict(keep_vars=True).items():
        stored = _DTYPES.get(dtypes.get(name, ""))  # what is missing or of no such type, ``load_weights`` refuses
        if stored is not None and tensor.is_floating_point():
            tensor.data = tensor.data.to(stored)


_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _is_model(folder: Path) -> bool:
    try:
        read_config(folder)
    except CheckpointError:
        return False
    return True
