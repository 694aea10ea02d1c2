"""The C kernels, compiled for this machine at first use by the system's C compiler, and kept.

Threads are those of torch: one pool, as many as ``torch.get_num_threads`` says.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sleepkit.errors import ImplUnavailableError, one_line
from sleepkit.files import whole_file

CACHE_VARIABLE = "SLEEPKIT_CACHE"
REALS = {torch.float32: "float", torch.float64: "double"}
_SOURCES = tuple(Path(__file__).with_name(name) for name in ("delta.c", "rows.c", "block.c"))
_HEADERS = tuple(Path(__file__).with_name(name) for name in ("vector.h", "delta.h", "block.h", "mixers.h"))
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC")
_ARGUMENTS = {
    "gated_delta_rule_forward": 10,
    "gated_delta_rule_backward": 16,
    "norm_forward": 7,
    "norm_backward": 10,
    "conv_forward": 5,
    "conv_backward": 8,
    "block_forward": 10,
    "block_backward": 13,
}


def why_unavailable() -> str | None:
    """Say why the library cannot be used here; None if it can (it is built then, if it was not yet)."""
    try:
        library("float")
    except ImplUnavailableError as error:
        return str(error)
    return None


def direct(operation: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what an operation of torch runs where nothing watches it (no gradient, no tracing): its dispatch costs more."""
    watched = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    return operation if watched else run


def check(failed: int) -> None:
    """Raise if a kernel says that it got no memory."""
    if failed:
        raise MemoryError("kernel: no memory for its work")


@functools.cache
def library(real: str) -> ctypes.CDLL:
    """Load the library for a number type, building it if this machine has not got it yet."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if sys.platform == "win32" or not compiler:
        raise ImplUnavailableError(
            "impl: 'native' needs a C compiler (gcc, cc or clang, or CC in the environment); use 'chunked'"
        )
    try:
        flags = (*_FLAGS, f"-DREAL={real}", *_openmp(compiler))
        loaded = ctypes.CDLL(str(_built(compiler, flags, real)))
    except OSError as error:
        raise ImplUnavailableError(f"impl: 'native' must build and load here ({one_line(error)}); use 'chunked'") from None
    for name, count in _ARGUMENTS.items():
        getattr(loaded, name).argtypes = [ctypes.c_void_p] * count
    loaded.block_saved.argtypes, loaded.block_saved.restype = [ctypes.c_void_p], ctypes.c_long
    for name, count in (("relu_square_forward", 2), ("relu_square_backward", 3)):
        getattr(loaded, name).argtypes = [ctypes.c_long] * 2 + [ctypes.c_void_p] * count
    return loaded


def _built(compiler: str, flags: tuple[str, ...], real: str) -> Path:
    """Return the library's file, building it if it is not there; its name tells all it was built from and for."""
    key = hashlib.sha256(
        "\0".join([*(source.read_text() for source in (*_SOURCES, *_HEADERS)), compiler, *flags, _processor()]).encode()
    ).hexdigest()[:16]
    path = _cache() / f"native-{real}-{key}.so"
    if not path.exists():
        _build(compiler.split(), flags, path)
    return path


def _openmp(compiler: str) -> tuple[str, ...]:
    """Return the flag for threads if they would be those of torch: two pools of threads would fight for the cores."""
    version = subprocess.run([*compiler.split(), "--version"], capture_output=True, text=True, check=False).stdout
    same_pool = "Free Software Foundation" in version and hasattr(ctypes.CDLL(None), "GOMP_parallel")
    return ("-fopenmp",) if same_pool else ("-fopenmp-simd",)


def _build(compiler: list[str], flags: tuple[str, ...], path: Path) -> None:
    with whole_file(path) as temporary, tempfile.TemporaryDirectory() as folder:
        parts = [str(Path(folder) / f"{source.stem}.o") for source in _SOURCES]
        # Each by itself, then together: linking with -fopenmp would bring a second OpenMP besides the one torch has loaded.
        commands = [[*flags, "-c", str(source), "-o", part] for source, part in zip(_SOURCES, parts, strict=True)]
        for command in (*commands, ["-shared", *parts, "-o", str(temporary), "-lm"]):
            done = subprocess.run([*compiler, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
                raise OSError(f"{compiler[0]}: {reason}")


def _cache() -> Path:
    """Return the folder for built libraries: SLEEPKIT_CACHE, else the user's cache, else a temporary one."""
    home = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    folder = Path(home) / "sleepkit" if home else Path.home() / ".cache" / "sleepkit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="sleepkit-"))


def _processor() -> str:
    """Return what -march=native depends on, so that a shared home serves different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
