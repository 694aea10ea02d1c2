"""The C kernels under AddressSanitizer and UBSan, over odd shapes, forward and backward; each piece of their rooms is fenced."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sleepkit.kernels import build

ROOT = Path(__file__).resolve().parents[2]


def _library() -> str | None:
    compiler = os.environ.get("CC", "").strip() or shutil.which("gcc")
    if sys.platform != "linux" or not compiler:
        return None
    asked = subprocess.run([*compiler.split(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    path = asked.stdout.strip()
    return path if Path(path).is_absolute() and Path(path).exists() else None


LIBASAN = _library()
pytestmark = pytest.mark.skipif(LIBASAN is None, reason="gcc with AddressSanitizer is needed, on Linux")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert LIBASAN is not None
    known = {**os.environ, build.SANITIZE_VARIABLE: "1", "LD_PRELOAD": LIBASAN}
    options = {"ASAN_OPTIONS": "detect_leaks=0:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}
    command = [sys.executable, "-m", "tests.support.sanitised", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**known, **options}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("real", ["float", "double"])
def test_no_kernel_leaves_its_memory_in_any_shape(real: str) -> None:
    done = run(real, "1")
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-4000:]
    assert done.stdout.endswith("150 cases, none outside of memory\n")


def test_a_call_that_leaves_its_memory_by_one_number_is_caught() -> None:
    done = run("float", "wrong")
    assert done.returncode == 99
    assert "heap-buffer-overflow" in done.stderr
    assert "relu_square_forward" in done.stderr
