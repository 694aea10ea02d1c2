"""Which extra of the installation brings a package that the core does without."""

import contextlib
from collections.abc import Iterator

from sleepkit.errors import MissingPackageError

# By extra, the packages it brings. ``triton`` is not among them: every path that would take it has another without.
EXTRAS = {
    "workbench": (
        "panel",
        "panel-material-ui",
        "argon2-cffi",
        "psutil",
        "pandas",
        "kaleido",
        "jupyterlab",
        "ipykernel",
        "ipywidgets",
        "papermill",
        "nbformat",
        "nbclient",
    ),
    "cluster": ("distributed",),
    "bench": ("transformers", "playwright", "axe-playwright-python", "pillow"),
}
# Modules whose names are not those of their packages, and some that come with one of them.
_MODULES = {
    "argon2": "argon2-cffi",
    "bokeh": "panel",
    "param": "panel",
    "tornado": "panel",
    "IPython": "ipykernel",
    "jupyter_client": "ipykernel",
    "jupyter_core": "ipykernel",
    "traitlets": "ipykernel",
    "PIL": "pillow",
}


def extra_of(module: str) -> str | None:
    """Return the extra that brings a module, given by its dotted name; None for a module of no extra."""
    top = module.partition(".")[0]
    package = _MODULES.get(top, top.replace("_", "-"))
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


def install_line(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'sleepkit[{extra}]'"


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Say which extra is missing where a package of one cannot be imported.

    Raises:
        MissingPackageError: in place of the ModuleNotFoundError; one line with the command that installs the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        line = f"{error.name}: must be installed, it comes with the extra {extra} ({install_line(extra)}), got no such package"
        raise MissingPackageError(line, name=error.name) from error
