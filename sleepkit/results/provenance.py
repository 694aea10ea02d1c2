"""Where a number comes from: versions, revision, device."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("sleepkit", "torch", "triton", "numpy", "xarray")


def provenance() -> dict[str, str]:
    """Return versions, git revision ("unknown" outside a checkout) and processor, as strings."""
    facts = {f"version_{name}": _version(name) for name in _PACKAGES}
    facts["version_python"] = platform.python_version()
    facts["git_revision"] = _revision()
    facts["processor"] = _processor()
    facts["n_cores"] = str(os.cpu_count())
    return facts


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _revision() -> str:
    here = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
