"""The gated Hebbian write in Triton, interpreted: outputs, state and all gradients against fp64, in the error budget of fp32."""

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import ImplUnavailableError
from sleepkit.kernels import triton_delta
from sleepkit.kernels.device import chunk, delta
from sleepkit.kernels.triton_delta import Launch, Launches
from tests.support.budget import assert_within_budget
from tests.support.compare import assert_close, assert_same_bits
from tests.support.gated_delta import Inputs, make_inputs, run_with_gradients

SMALL = {"batch": 1, "heads": 1, "key_heads": 1, "key_dim": 16, "value_dim": 16}


def run(inputs: Inputs, impl: str, dtype: torch.dtype, valid_BT: Tensor | None = None) -> dict[str, Tensor]:
    given = inputs.to(torch.float32).to(dtype)
    result, gradients = run_with_gradients(given, operation=ops.gated_hebbian, impl=impl, valid_BT=valid_BT)
    return {"out": result.out.detach(), "state": result.state.detach(), **{f"d_{n}": g for n, g in gradients.items()}}


def assert_right(inputs: Inputs) -> None:
    actual, independent, exact = (
        run(inputs, impl, dtype)
        for impl, dtype in (("triton", torch.float32), ("chunked", torch.float32), ("reference", torch.float64))
    )
    assert_within_budget(actual, independent, exact)


@pytest.mark.parametrize("seq_len", [1, 2, 16, 40])
def test_one_token_a_chunk_and_a_sweep(seq_len: int) -> None:
    assert_right(make_inputs(seq_len, **SMALL))


def test_chunks_of_two_blocks_and_several_programs_of_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(triton_delta.LAUNCHES, (32, 4), Launches(Launch(32, 4), Launch(32, 4)))
    assert_right(make_inputs(50, **{**SMALL, "key_dim": 20, "value_dim": 40}))


def test_grouped_heads_and_repeated_keys() -> None:
    assert_right(make_inputs(20, **{**SMALL, "heads": 3}, repeated_keys=True, decay=0.1))


@pytest.mark.parametrize("seq_len", [1, 20])
def test_padding_leaves_the_state_untouched_whatever_stands_there(seq_len: int) -> None:
    inputs = make_inputs(seq_len, **SMALL).to(torch.float32)
    nothing = torch.zeros(1, seq_len, dtype=torch.bool)
    poisoned = Inputs(*(torch.full_like(x, float("nan")) for x in inputs[:5]), inputs.state)
    assert_same_bits(ops.gated_hebbian(*poisoned, valid_BT=nothing, impl="triton").state, inputs.state)


def test_padded_tokens_write_nothing() -> None:
    inputs = make_inputs(20, **{**SMALL, "batch": 2}).to(torch.float32)
    valid = torch.rand(2, 20, generator=torch.Generator().manual_seed(3)) < 0.6
    ours, expected = (ops.gated_hebbian(*inputs, valid_BT=valid, impl=impl) for impl in ("triton", "chunked"))
    assert_close(ours.state, expected.state, tolerance=1e-5, what="state")
    assert_close(ours.out[valid], expected.out[valid], tolerance=1e-5, what="out")


def test_half_precision_is_wrong_by_a_few_roundings_to_11_bits() -> None:
    inputs = make_inputs(20, **SMALL)
    exact, actual = run(inputs.to(torch.float16), "reference", torch.float64), run(inputs, "triton", torch.float16)
    for name, truth in exact.items():
        size = truth.abs().max().item()
        assert_close(actual[name] / size, truth / size, tolerance=8 * 2.0**-11, what=name)


right_values = chunk.corrected_values


@triton.jit
def always_corrected(
    k, v, beta, gamma, T, R, OPERAND: tl.constexpr, PRECISION: tl.constexpr, DELTA: tl.constexpr
):  # fmt: skip
    found, E, U = right_values(k, v, beta, gamma, T, R, OPERAND, PRECISION, DELTA)
    return found, E, U - beta[:, None] * gamma[:, None] * tl.dot(k, tl.trans(R))


def test_a_kernel_that_corrects_all_the_same_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "corrected_values", always_corrected)
    with pytest.raises(AssertionError, match="rms error"):
        assert_right(make_inputs(5, **SMALL))


def test_fp64_and_the_kernel_in_c_are_refused() -> None:
    with pytest.raises(ImplUnavailableError, match="none of them fp64"):
        ops.gated_hebbian(*make_inputs(3, **SMALL), impl="triton")
    with pytest.raises(ImplUnavailableError, match="knows the delta rule alone"):
        ops.gated_hebbian(*make_inputs(3, **SMALL), impl="native")
    assert ops.explain("triton", operation="gated_hebbian").startswith("triton: asked for by name")
