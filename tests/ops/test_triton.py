"""The Triton kernels without a GPU: interpreted in a process of their own, and compiled for two architectures."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.kernels import triton_delta, triton_support
from sleepkit.ops import gpu

OF_64, OF_128 = (f"bf16 K={n} V={n} BK={n} BV=32 C=32 MASKED=False" for n in (64, 128))
ROOT = Path(__file__).resolve().parents[2]
# Numbers of the interpreted tests, so that none is lost unseen: in the suite of every day, and in its long form.
N_INTERPRETED, N_LONG = 107, 22
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton exists for Linux alone")


def interpreted(*arguments: str) -> int:
    """Run interpreted tests in a process of their own; return how many passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    return int(passed[1])


@needs_triton
def test_the_interpreted_kernels_pass_their_tests() -> None:
    assert interpreted("tests/interpreted") >= N_INTERPRETED


@needs_triton
def test_the_interpreted_kernels_pass_the_long_form() -> None:
    assert interpreted("-m", "long", "tests/interpreted") >= N_LONG


@needs_triton
@pytest.mark.parametrize(
    ("kernel", "capability", "largest_spill"),
    [
        (f"delta.forward {OF_64} RAW=False", 90, 128),
        (
            f"delta.backward {OF_64} RAW=False DELTA=True PRECISION=tf32x3 SWEEP=False BLOCKS=2",
            90,
            768,
        ),
        (
            f"delta.backward {OF_128} RAW=False DELTA=True PRECISION=tf32x3 SWEEP=True BLOCKS=1",
            90,
            512,
        ),
        (f"delta.forward {OF_64} RAW=True DELTA=True", 90, 128),
        (
            f"delta.backward {OF_64} RAW=True DELTA=True PRECISION=tf32x3 SWEEP=False BLOCKS=2",
            90,
            1024,
        ),
        ("MASKED=False RAW=True DELTA=False PRECISION=tf32x3 SWEEP=True BLOCKS=2", 90, 128),
        ("delta.add_parts bf16 K=64", 90, 0),
        ("delta.forward fp32 K=64 V=64 BK=64 BV=32 C=16 MASKED=False RAW=False", 90, 128),
        ("PRECISION=tf32x3 n_heads=1", 90, 64),
        ("SWEEP=True BLOCKS=1 n_heads=1", 90, 512),
        ("delta.step bf16 K=64 V=64 BK=64 BV=32 MASKED=False RAW=False", 90, 0),
        ("delta.step bf16 K=64 V=64 BK=64 BV=32 MASKED=False RAW=True", 90, 0),
        (f"delta.forward {OF_64} RAW=False", 80, 128),
        ("conv.backward bf16 TAPS=4 BE=64 BT=16 SILU=True TAIL=True DYNAMIC=False", 90, 0),
        ("conv.backward bf16 TAPS=4 BE=64 BT=16 SILU=True TAIL=True DYNAMIC=True", 90, 128),
        ("norm.backward bf16 V=64", 90, 0),
    ],
)
def test_a_kernel_compiles_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: str, capability: int, largest_spill: int
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    (found,) = gpu.compiled_kernels(capability=capability, containing=kernel)
    _, usage = found
    assert usage.shared_bytes <= {80: 163, 90: 227}[capability] * 1024
    assert usage.spilled_bytes <= largest_spill
    assert not usage.uses_warp_groups


def test_the_launch_table_covers_every_size_and_dtype() -> None:
    for key_dim in range(1, triton_delta.LARGEST_DIM + 1):
        for dtype in triton_support.DTYPES:
            row = triton_delta.launches(key_dim, dtype)
            assert {row.forward.chunk, row.backward.chunk} <= {16, 32}


@needs_triton
def test_another_capability_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="capability: must be one of"):
        list(gpu.compiled_kernels(capability=70))
