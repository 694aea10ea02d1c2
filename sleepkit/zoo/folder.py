"""Where bundled and published models lie, and what identifies their weights. No torch."""

from pathlib import Path

from sleepkit.errors import CheckpointError, InvalidInputError, one_line, require
from sleepkit.files import tensors

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
    raise InvalidInputError(f"model name: must be one of {', '.join(names())} or a published folder, got {name!r}")


def weights_digest(folder: Path) -> str:
    """Return 32 hex digits that identify the file of weights in a folder, whether or not it holds a digest of its own.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    path = folder / "model.safetensors"
    try:
        return tensors.unsealed_digest(path, digest_size=16)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({one_line(error)}), got {str(path)!r}") from None
