"""What this installation can do: versions, device, optional parts, bundled models."""

import importlib.metadata
import importlib.util
import shutil
from typing import NamedTuple

_NEEDED = ("torch", "numpy", "xarray", "safetensors", "tqdm")
_OPTIONAL = (
    "triton",
    "h5netcdf",
    "h5py",
    "panel",
    "panel-material-ui",
    "plotly",
    "papermill",
    "jupyterlab",
    "ipywidgets",
    "kaleido",
)


class Finding(NamedTuple):
    """One thing that is there or not, and whether sleepkit can do without."""

    what: str
    good: bool
    detail: str
    needed: bool


def examine() -> list[Finding]:
    """Look at packages, device, browser and bundled models."""
    findings = [_package(name, needed=True) for name in _NEEDED]
    findings += [_package(name, needed=False) for name in _OPTIONAL]
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    findings.append(
        Finding("browser for screenshots", browser is not None, "found" if browser else "no chromium on the path", False)
    )
    if importlib.util.find_spec("torch") is not None:
        findings += [_device(), _operation(), *_models()]
    return findings


def _package(name: str, *, needed: bool) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name), needed)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", needed)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", True, torch.cuda.get_device_name(), False)
    return Finding("device", True, f"CPU, {torch.get_num_threads()} threads", False)


def _operation() -> Finding:
    from sleepkit import ops

    return Finding("gated delta rule", True, ops.explain(), True)


def _models() -> list[Finding]:
    from sleepkit import zoo
    from sleepkit.errors import SleepkitError

    findings = []
    for name in zoo.names():
        try:
            _, card = zoo.load(name)
            findings.append(Finding(f"model {name}", True, card.summary, True))
        except SleepkitError as error:
            findings.append(Finding(f"model {name}", False, str(error), True))
    return findings
