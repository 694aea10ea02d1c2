"""The C kernels, compiled for this machine at first use by the system's C compiler, and kept.

A kept library has the digest of its bytes in its name, and is loaded only if they agree: what was cut short, overwritten or
damaged is built again.

Threads are those of torch: one pool, as many as ``torch.get_num_threads`` says.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from sleepkit.errors import ImplUnavailableError, one_line
from sleepkit.files import holds, make_folder, write_whole
from sleepkit.kernels.door import traced

CACHE_VARIABLE = "SLEEPKIT_CACHE"
# Set to 1: kernels that stop the process at an access outside of memory, or at what C leaves undefined; slow, for tests.
SANITIZE_VARIABLE = "SLEEPKIT_SANITIZE"
_PATIENCE_S = 300.0  # for one call of the compiler
REALS = {torch.float32: "float", torch.float64: "double"}
_SOURCES = tuple(Path(__file__).with_name(name) for name in ("delta.c", "rows.c", "block.c"))
_HEADERS = tuple(Path(__file__).with_name(name) for name in ("vector.h", "delta.h", "block.h", "mixers.h"))
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC")
_SANITIZED = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
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
    return operation if torch.is_grad_enabled() or traced() else run


def check(failed: int) -> None:
    """Raise if a kernel says that it got no memory."""
    if failed:
        raise MemoryError("kernel: no memory for its work")


def library(real: str) -> ctypes.CDLL:
    """Load the library for a number type, building it if this machine has not got it yet.

    Raises:
        ImplUnavailableError: if that cannot be done; said in a warning, too, the first time.
    """
    found = _loaded_once(real)
    if isinstance(found, str):
        raise ImplUnavailableError(found)
    return found


@functools.cache
def _loaded_once(real: str) -> ctypes.CDLL | str:
    """Return the library, or why there is none: that is found out once, and not again at each call."""
    try:
        return _load(real)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        why = f"impl: 'native' must build and load here ({one_line(error)}); use 'chunked'"
    except ImplUnavailableError as error:
        why = str(error)
    warnings.warn(f"the C kernels are not used, torch computes in their place, some times slower: {why}", stacklevel=4)
    return why


def _load(real: str) -> ctypes.CDLL:
    """Load the library from the first folder for built libraries that has it or can be given it."""
    named = os.environ.get("CC", "").strip() or shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if sys.platform == "win32" or not named:
        raise ImplUnavailableError(
            "impl: 'native' needs a C compiler (gcc, cc or clang, or CC in the environment); use 'chunked'"
        )
    compiler = shlex.split(named)
    flags = (*_FLAGS, f"-DREAL={real}", *_openmp(compiler), *_sanitizers())
    name = f"native-{real}-{_key(compiler, flags)}"
    reasons = []
    for place in _places():
        try:
            folder = place()
            found = _from_place(folder, name, compiler, flags)
        except OSError as error:
            reasons.append(one_line(error))
        else:
            if reasons:
                warnings.warn(f"built libraries are kept in {folder} instead ({'; '.join(reasons)})", stacklevel=5)
            return found
    raise OSError("; ".join(dict.fromkeys(reasons)))


def _from_place(place: Path, name: str, compiler: list[str], flags: tuple[str, ...]) -> ctypes.CDLL:
    """Load the library from a folder; build it there if it is not there whole. One process builds, the others wait."""
    found = _find(place, name)
    if found is None:
        make_folder(place)
        with holds.turn(place / f".{name}.lock"):
            found = _find(place, name) or _build(place, name, compiler, flags)
    return _opened(found)


def _find(place: Path, name: str) -> Path | None:
    """Return the built library whose bytes have the digest in its name; others of that name are damaged and go."""
    for path in sorted(place.glob(f"{name}-*.so")):
        if path.stem == f"{name}-{_digest(path.read_bytes())}":
            return path
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def _key(compiler: list[str], flags: tuple[str, ...]) -> str:
    """Return what tells a library from others: all it is built from and for."""
    texts = [source.read_text() for source in (*_SOURCES, *_HEADERS)]
    return hashlib.sha256("\0".join([*texts, *compiler, *flags, _processor()]).encode()).hexdigest()[:16]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _openmp(compiler: list[str]) -> tuple[str, ...]:
    """Return the flag for threads if they would be those of torch: two pools of threads would fight for the cores."""
    same_pool = "Free Software Foundation" in _run([*compiler, "--version"]).stdout and hasattr(
        ctypes.CDLL(None), "GOMP_parallel"
    )
    return ("-fopenmp",) if same_pool else ("-fopenmp-simd",)


def _sanitizers() -> tuple[str, ...]:
    return _SANITIZED if os.environ.get(SANITIZE_VARIABLE) == "1" else ()


def _build(place: Path, name: str, compiler: list[str], flags: tuple[str, ...]) -> Path:
    """Build the library, and keep it if it can be loaded; its name ends in the digest of its bytes."""
    with tempfile.TemporaryDirectory(prefix="sleepkit-") as folder:
        parts = [str(Path(folder) / f"{source.stem}.o") for source in _SOURCES]
        made = Path(folder) / "native.so"
        # Each by itself, then together: linking with -fopenmp would bring a second OpenMP besides the one torch has loaded.
        commands = [[*flags, "-c", str(source), "-o", part] for source, part in zip(_SOURCES, parts, strict=True)]
        for command in (*commands, ["-shared", *_sanitizers(), *parts, "-o", str(made), "-lm"]):
            done = _run([*compiler, *command])
            if done.returncode:
                reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
                raise OSError(f"{compiler[0]}: {reason or f'ended with status {done.returncode}'}")
        if not made.exists():
            raise OSError(f"{compiler[0]}: wrote no library")
        data = made.read_bytes()
    path = place / f"{name}-{_digest(data)}.so"
    write_whole(path, data)
    try:
        _opened(path)
    except OSError:
        path.unlink()
        raise
    return path


def _opened(path: Path) -> ctypes.CDLL:
    """Load a library and declare what is in it.

    Raises:
        OSError: if it cannot be loaded, or lacks a function.
    """
    loaded = ctypes.CDLL(str(path))
    try:
        for name, count in _ARGUMENTS.items():
            getattr(loaded, name).argtypes = [ctypes.c_void_p] * count
        loaded.block_saved.argtypes, loaded.block_saved.restype = [ctypes.c_void_p], ctypes.c_long
        for name, count in (("relu_square_forward", 2), ("relu_square_backward", 3)):
            getattr(loaded, name).argtypes = [ctypes.c_long] * 2 + [ctypes.c_void_p] * count
    except AttributeError as error:
        raise OSError(str(error)) from None
    return loaded


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run the compiler; it may say what it likes, in any encoding, but gets no input and not for ever."""
    known = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitiser is for kernels, not for it
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_PATIENCE_S,
        env=known,
    )


def _places() -> Iterator[Callable[[], Path]]:
    """Yield the folders for built libraries, best first: SLEEPKIT_CACHE, else the user's cache; then a temporary one."""
    home = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    if home:
        yield lambda: Path(home) / "sleepkit"
    else:
        yield _home
    yield _temporary


def _home() -> Path:
    try:
        return Path.home() / ".cache" / "sleepkit"
    except RuntimeError as error:  # no HOME, and no entry in passwd
        raise OSError(str(error)) from None


def _temporary() -> Path:
    """Return the temporary folder, one for all processes of a user, and of nobody else: what lies there is loaded as code."""
    folder = Path(tempfile.gettempdir()) / f"sleepkit-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not (stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022):
        raise OSError(f"{folder}: must be a folder that its owner alone can write, and this user's")
    return folder


def _processor() -> str:
    """Return what -march=native depends on, so that a shared home serves different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
