"""The checks of the GPU bench, on kernels in Triton's interpreter: right ones pass, wrong ones do not."""

from functools import partial

import pytest
import torch
import triton
import triton.language as tl

from sleepkit.bench import gpu_checks
from sleepkit.bench.gpu_checks import Case
from sleepkit.kernels.device import chunk, delta

CASE = Case(2, 2, 20, 16, 24, padded=True)
right_softplus = chunk.softplus


@pytest.mark.parametrize("make", [gpu_checks.delta, gpu_checks.projections, partial(gpu_checks.delta, corrected=False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_right_kernels_pass(make, dtype: torch.dtype) -> None:
    found = gpu_checks.check(make(CASE, dtype, device="cpu"))
    assert found["passed"], found


@triton.jit
def wrong_softplus(x):
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x))) * 1.001


def test_a_slightly_wrong_gate_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "softplus", wrong_softplus)
    monkeypatch.setattr(delta, "softplus", wrong_softplus)
    found = gpu_checks.check(gpu_checks.projections(CASE, torch.float32, device="cpu"))
    assert not found["passed"]
    assert found["error_to_allowed"]["out"] > 10
