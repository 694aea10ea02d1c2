"""What this installation can do, and what to type where something is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sleepkit import __version__, extras, published
from sleepkit.errors import SleepkitError, one_line

_TRIED = ("Linux", "x86_64")
_COMPILERS = ("gcc", "cc", "clang")


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: its name.
        good: whether it is there and fits.
        detail: what was found, and what to type where something is missing.
        needed: whether sleepkit cannot do without.
    """

    what: str
    good: bool
    detail: str
    needed: bool = False


def report() -> int:
    """Print all findings; return 1 if something is missing that is needed."""
    findings = examine()
    for finding in findings:
        mark = "ok  " if finding.good else "MISS" if finding.needed else "--  "
        print(f"{mark} {finding.what}: {finding.detail}")
    missing = [finding.what for finding in findings if finding.needed and not finding.good]
    print(f"Missing: {', '.join(missing)}." if missing else "Everything needed is there; what is marked -- is optional.")
    return 1 if missing else 0


def examine() -> list[Finding]:
    """Look at versions, packages, machine, cache, device, optional parts and bundled models."""
    packages = [_package(name, asked) for name, asked in needed().items()]
    findings = [_sleepkit(), _python(), *packages, _platform(), _compiler(), _cache()]
    if importlib.util.find_spec("torch") is not None:
        findings += [_threads(), _device(), _operation()]
    findings += [_extra(extra, names) for extra, names in extras.EXTRAS.items()]
    findings += [_triton(), _browser()]
    if all(package.good for package in packages):
        findings += _models()
    return findings


def needed() -> dict[str, str]:
    """Return the packages of the core with the versions that were tried, e.g. ``{"torch": "<2.14,>=2.11"}``."""
    try:
        listed = importlib.metadata.requires("sleepkit") or []
    except importlib.metadata.PackageNotFoundError:  # a clone on the path: nothing is known of versions
        return dict.fromkeys(("torch", "numpy", "xarray", "h5netcdf", "h5py", "safetensors", "scipy", "tqdm", "plotly"), "")
    optional = {"triton", *(name for names in extras.EXTRAS.values() for name in names)}
    found = {}
    for line in listed:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and "extra" not in marker and name[0] not in optional:
            found[name[0]] = requirement[name.end() :].strip()
    return found


def fits(version: str, asked: str) -> bool:
    """Whether a version is in a range like ">=2.11,<2.14"; of a version like "2.13.0+cpu" the numbers count."""
    for rule in filter(None, asked.split(",")):
        bound = _numbers(rule.lstrip("<>=! "))
        padded = _numbers(version) + (0,) * len(bound)
        if rule.startswith(">=") and padded < bound:
            return False
        if rule.startswith("<") and not rule.startswith("<=") and padded[: len(bound)] >= bound:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _package(name: str, asked: str) -> Finding:
    install = f"pip install '{name}{asked}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed ({install})", needed=True)
    if not fits(version, asked):
        return Finding(name, False, f"{version} was not tried, {asked} was ({install})", needed=True)
    return Finding(name, True, version, needed=True)


def _sleepkit() -> Finding:
    root = published.clone()
    return Finding("sleepkit", True, f"{__version__}, {'installed from a wheel' if root is None else f'the clone {root}'}")


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    version = platform.python_version()
    return Finding("Python", good, version if good else f"{version}, but 3.11 or later is needed", needed=True)


def _platform() -> Finding:
    here = (platform.system(), platform.machine())
    said = "tried" if here == _TRIED else f"not tried ({' '.join(_TRIED)} was); whatever does not build here is left to torch"
    return Finding("platform", here == _TRIED, f"{' '.join(here)}, {_processor()}: {said}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "processor unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor unknown")


def _compiler() -> Finding:
    found = os.environ.get("CC") or next(filter(None, map(shutil.which, _COMPILERS)), None)
    return Finding("C compiler", found is not None, found or "none (gcc, cc or clang): the kernels in C are left to torch")


def _cache() -> Finding:
    """Where built kernels lie; without a place for them they are built again by each process."""
    named = os.environ.get("SLEEPKIT_CACHE") or os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(named) / "sleepkit" if named else Path.home() / ".cache" / "sleepkit"
    except RuntimeError:  # a user without a home
        return Finding("cache folder", False, f"no home: below {tempfile.gettempdir()} (SLEEPKIT_CACHE=FOLDER names another)")
    place = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not (place.is_dir() and os.access(place, os.W_OK)):
        return Finding("cache folder", False, f"{folder} cannot be written (SLEEPKIT_CACHE=FOLDER names another)")
    n_built = len(list(folder.glob("native-*.so")))
    return Finding("cache folder", True, f"{folder}, {n_built or 'no'} built kernel libraries")


def _threads() -> Finding:
    import torch

    n_threads, n_cores = (
        torch.get_num_threads(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )
    advice = "; one thread is faster for models as small as the bundled ones: OMP_NUM_THREADS=1, or torch.set_num_threads(1)"
    return Finding("threads", True, f"torch takes {n_threads} on {n_cores} cores{advice if n_threads > 1 else ''}")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", True, torch.cuda.get_device_name())
    return Finding("GPU", False, "none that torch can use: everything runs on the processor")


def _operation() -> Finding:
    from sleepkit import ops

    try:
        return Finding("gated delta rule", True, ops.explain(), needed=True)
    except SleepkitError as error:
        return Finding("gated delta rule", False, str(error), needed=True)


def _extra(extra: str, names: tuple[str, ...]) -> Finding:
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        return Finding(f"extra {extra}", False, f"without {', '.join(missing)} ({extras.install_line(extra)})")
    return Finding(f"extra {extra}", True, ", ".join(names))


def _triton() -> Finding:
    if _is_installed("triton"):
        return Finding("extra gpu", True, f"triton {importlib.metadata.version('triton')}")
    return Finding("extra gpu", False, f"without triton, which only GPUs need ({extras.install_line('gpu')})")


def _browser() -> Finding:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return Finding("browser for pictures", found is not None, found or "no chromium on the path: no PNG files, no screenshots")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _models() -> list[Finding]:
    from sleepkit import zoo

    findings = []
    for name in zoo.names():
        try:
            _, card = zoo.load(name)
            findings.append(Finding(f"model {name}", True, card.summary, needed=True))
        except SleepkitError as error:
            findings.append(Finding(f"model {name}", False, one_line(error), needed=True))
    return findings
