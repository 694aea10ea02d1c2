"""Where bundled and published models lie, and what identifies their weights. No torch."""

import math
from pathlib import Path

from sleepkit.errors import CheckpointError, nearest, one_line, refuse, require

_SHELF = Path(__file__).resolve().parent


def names() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(path.parent.name for path in _SHELF.glob("*/card.json"))


def folder_of(name: str) -> Path:
    """Return the folder of a bundled model, or of one written by ``publish``.

    Raises:
        InvalidInputError: for an unknown name.
    """
    require(isinstance(name, str), "model name", "must be a string", name)
    bundled = _SHELF / name
    if name in names():
        return bundled
    if (Path(name) / "card.json").exists():
        return Path(name)
    return refuse("model name", f"must be one of {', '.join(names())} or a published folder{nearest(name, names())}", name)


def n_parameters(name: str) -> int:
    """Count the parameters of a model from the header of its weights.

    Raises:
        InvalidInputError: for an unknown name.
    """
    from safetensors import safe_open

    with safe_open(folder_of(name) / "model.safetensors", framework="np") as weights:
        return sum(math.prod(weights.get_slice(tensor).get_shape()) for tensor in weights.keys())  # noqa: SIM118


def weights_digest(folder: Path) -> str:
    """Return 32 hex digits that identify the file of weights in a folder, whether or not it holds a digest of its own.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    from sleepkit.files import tensors

    path = folder / "model.safetensors"
    try:
        return tensors.unsealed_digest(path, digest_size=16)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({one_line(error)}), got {str(path)!r}") from None
