"""Where notebooks, dashboards and the results they load lie: the folders of a clone, or the copies that an installation carries.

The build copies them from the clone into the package (pyproject.toml), so that an installed sleepkit shows what was published.
"""

from pathlib import Path
from typing import Literal

from sleepkit.errors import refuse

_PACKAGE = Path(__file__).resolve().parent
_COPIES = _PACKAGE / "_published"


def clone() -> Path | None:
    """Return the folder of the clone that this code runs from; None where it was installed from a wheel."""
    return None if _COPIES.is_dir() else _PACKAGE.parent


def folder(name: Literal["notebooks", "dashboards"]) -> Path:
    """Return the folder of what was published: the one of the clone, or its copy in the installed package."""
    root = clone()
    return _COPIES / name if root is None else root / name


def require_clone(argument: str, value: object) -> Path:
    """Return the folder of the clone, where something new is to be published.

    Raises:
        InvalidInputError: if sleepkit was installed from a wheel, whose copies are not for writing.
    """
    root = clone()
    if root is None:
        refuse(argument, "must be done in a clone of the repository, an installed package is not written into", value)
    return root
