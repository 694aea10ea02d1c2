"""The gated Hebbian write: chunked (torch) against the token-by-token oracle, all gradients, and its algebra."""

import subprocess
import sys
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import ImplUnavailableError, InvalidInputError
from sleepkit.kernels import hebbian
from sleepkit.ops.recurrence import Impl
from tests.support.compare import assert_close, assert_same_bits, rms_error
from tests.support.doors import as_users_call_it
from tests.support.gated_delta import NAMES, Inputs, make_inputs, run_with_gradients

ROOT = Path(__file__).resolve().parents[2]
ALL: tuple[Impl, ...] = ("reference", "chunked")


def assert_equals_reference(inputs: Inputs, *, valid_BT: Tensor | None = None, scale: float | None = None) -> None:
    options = {"operation": ops.gated_hebbian, "valid_BT": valid_BT, "scale": scale}
    expected, expected_gradients = run_with_gradients(inputs, impl="reference", **options)
    actual, gradients = run_with_gradients(inputs, impl="chunked", **options)
    assert_close(actual.out, expected.out, what="out")
    assert_close(actual.state, expected.state, what="state")
    for name in NAMES:
        assert_close(gradients[name], expected_gradients[name], what=f"gradient of {name}")


@pytest.mark.parametrize("seq_len", [1, 2, 15, 63, 64, 65, 130])
def test_it_equals_reference_in_outputs_state_and_all_gradients(seq_len: int) -> None:
    assert_equals_reference(make_inputs(seq_len))
    assert_equals_reference(make_inputs(seq_len, repeated_keys=True, decay=0.1))


@hypothesis.given(
    seq_len=st.integers(1, 80),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 2), st.integers(1, 3)),
    decay=st.sampled_from([0.0, 0.1, 3.0, 40.0]),
    seed=st.integers(0, 1000),
)
def test_it_equals_reference_for_any_shape(seq_len: int, sizes: tuple[int, ...], decay: float, seed: int) -> None:
    batch, key_dim, value_dim, key_heads, group = sizes
    shape = {"batch": batch, "key_dim": key_dim, "value_dim": value_dim, "key_heads": key_heads, "heads": key_heads * group}
    assert_equals_reference(make_inputs(seq_len, decay=decay, seed=seed, **shape))


def test_it_equals_reference_with_a_scale_of_its_own_and_padding() -> None:
    valid = torch.rand(2, 70, generator=torch.Generator().manual_seed(3)) < 0.6
    assert_equals_reference(make_inputs(70), valid_BT=valid, scale=0.3)


@pytest.mark.parametrize("impl", ALL)
def test_it_is_a_decayed_sum_of_outer_products_written_out(impl: Impl) -> None:
    """Eq. 3 in closed form: S_T = prod(alpha) S_0 + sum_t prod_(s > t)(alpha_s) beta_t k_t v_t^T."""
    inputs = make_inputs(9, batch=1, key_heads=1, heads=1)
    alpha, expected = inputs.log_decay[0, :, 0].exp(), inputs.log_decay[0, :, 0].exp().prod() * inputs.state[0, 0]
    for t in range(9):
        outer = torch.outer(inputs.k[0, t, 0], inputs.v[0, t, 0])
        expected = expected + alpha[t + 1 :].prod() * inputs.beta[0, t, 0] * outer
    result = ops.gated_hebbian(*inputs, impl=impl)
    assert_close(result.state[0, 0], expected, what="state")
    assert_close(result.out[0, -1, 0], 5**-0.5 * expected.T @ inputs.q[0, -1, 0], what="last out")


@pytest.mark.parametrize("impl", ALL)
def test_gradients_equal_finite_differences(impl: Impl) -> None:
    inputs = make_inputs(4, batch=1, key_heads=1, heads=2, key_dim=2, value_dim=3).requiring_grad()
    assert torch.autograd.gradcheck(lambda *leaves: tuple(ops.gated_hebbian(*leaves, impl=impl)), tuple(inputs))


@pytest.mark.parametrize("chunk_len", [1, 3, 16])
def test_the_chunk_length_does_not_matter(chunk_len: int) -> None:
    inputs = make_inputs(50)
    out, state = hebbian.gated_hebbian(*inputs, scale=0.5, chunk_len=chunk_len)
    expected = ops.gated_hebbian(*inputs, scale=0.5, impl="reference")
    assert_close(out, expected.out, what="out")
    assert_close(state, expected.state, what="state")


def test_orthogonal_keys_need_no_correction_and_repeated_keys_do() -> None:
    """With no decay, an empty state and orthonormal keys the delta rule corrects nothing; a key met twice tells them apart."""
    inputs = make_inputs(4, batch=1, key_heads=1, heads=1)
    keys = torch.eye(5, dtype=torch.float64)[None, :4, None]
    fresh = inputs._replace(k=keys, log_decay=torch.zeros_like(inputs.log_decay), state=torch.zeros_like(inputs.state))
    assert_close(ops.gated_hebbian(*fresh).state, ops.gated_delta_rule(*fresh).state, what="state")
    again = fresh._replace(k=keys[:, :1].expand_as(keys))
    with pytest.raises(AssertionError, match="state: max abs error"):
        assert_close(ops.gated_hebbian(*again).state, ops.gated_delta_rule(*again).state, tolerance=1e-2, what="state")


def test_the_state_is_linear_in_what_is_written() -> None:
    one = make_inputs(40)
    other = one._replace(v=make_inputs(40, seed=5).v, state=make_inputs(40, seed=5).state)
    both = one._replace(v=one.v + other.v, state=one.state + other.state)
    results = [ops.gated_hebbian(*inputs) for inputs in (one, other, both)]
    assert_close(results[2].state, results[0].state + results[1].state, what="state")
    assert_close(results[2].out, results[0].out + results[1].out, what="out")


@pytest.mark.parametrize("impl", ALL)
def test_padding_leaves_the_state_untouched_bit_for_bit(impl: Impl) -> None:
    inputs = make_inputs(20)
    nothing = torch.zeros(2, 20, dtype=torch.bool)
    assert_same_bits(ops.gated_hebbian(*inputs, valid_BT=nothing, impl=impl).state, inputs.state)


def test_padded_tokens_can_be_cut_out() -> None:
    inputs = make_inputs(30, batch=1)
    kept = torch.arange(30) % 3 != 1
    packed = ops.gated_hebbian(*(tensor[:, kept] for tensor in inputs[:5]), inputs.state)
    padded = ops.gated_hebbian(*inputs, valid_BT=kept[None])
    assert_close(padded.out[:, kept], packed.out, what="out")
    assert_close(padded.state, packed.state, what="state")


@pytest.mark.parametrize("length", [1, 5, 64, 65])
def test_running_twice_equals_running_once_over_both(length: int) -> None:
    inputs = make_inputs(2 * length)
    whole, first = ops.gated_hebbian(*inputs), ops.gated_hebbian(*inputs.tokens(0, length))
    second = ops.gated_hebbian(*inputs.tokens(length, 2 * length)._replace(state=first.state))
    assert_close(torch.cat([first.out, second.out], dim=1), whole.out, what="out")
    assert_close(second.state, whole.state, what="state")


@pytest.mark.parametrize("case", [{"decay": 0.1}, {"repeated_keys": True, "decay": 0.1}, {"decay": 2.0}, {"decay": 20.0}])
@pytest.mark.parametrize("seq_len", [24, 130])
def test_fp32_stays_within_twice_the_error_of_fp32_token_by_token(seq_len: int, case: dict[str, float]) -> None:
    narrow = make_inputs(seq_len, batch=4, key_dim=32, value_dim=32, **case).to(torch.float32)
    exact = ops.gated_hebbian(*narrow.to(torch.float64), impl="reference")
    budget, actual = (ops.gated_hebbian(*narrow, impl=impl) for impl in ALL)
    for name, measured, allowed, truth in zip(("out", "state"), actual, budget, exact, strict=True):
        assert rms_error(measured, truth) <= 2 * rms_error(allowed, truth), name


@pytest.mark.parametrize("impl", ALL)
@pytest.mark.parametrize("log_decay", [-80.0, -1e4, -1e30])
def test_forgetting_everything_at_once_makes_no_nan(impl: Impl, log_decay: float) -> None:
    pattern = torch.where(torch.arange(70) % 7 == 3, log_decay, -0.1)[None, :, None].expand(2, 70, 2)
    leaves = make_inputs(70).to(torch.float32)._replace(log_decay=pattern).requiring_grad()
    result = ops.gated_hebbian(*leaves, impl=impl)
    gradients = torch.autograd.grad(result.out.sum() + result.state.sum(), leaves)
    for name, tensor in zip(("out", "state", *NAMES), (*result, *gradients), strict=True):
        assert tensor.isfinite().all(), name


def test_bfloat16_values_come_back_as_bfloat16_and_the_state_stays_fp32() -> None:
    inputs = make_inputs(20).to(torch.bfloat16)
    result = ops.gated_hebbian(*inputs._replace(state=inputs.state.float()))
    exact = ops.gated_hebbian(*inputs.to(torch.float64), impl="reference")
    assert (result.out.dtype, result.state.dtype) == (torch.bfloat16, torch.float32)
    assert_close(result.out, exact.out, tolerance=2**-8, what="out")
    assert_close(result.state, exact.state, tolerance=1e-5, what="state")


def test_autocast_around_the_call_changes_no_bit() -> None:
    inputs = make_inputs(30).to(torch.float32)
    expected, expected_gradients = run_with_gradients(inputs, operation=ops.gated_hebbian)
    with torch.autocast("cpu", torch.bfloat16):
        actual, gradients = run_with_gradients(inputs, operation=ops.gated_hebbian)
    assert_same_bits(actual.out, expected.out)
    for name in NAMES:
        assert_same_bits(gradients[name], expected_gradients[name], what=name)


def test_the_comparison_catches_a_write_that_forgets_its_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    right = hebbian.gated_hebbian

    def wrong(*inputs: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        return right(*inputs[:4], inputs[4].sqrt(), inputs[5], scale=scale)

    monkeypatch.setattr(hebbian, "gated_hebbian", wrong)
    with pytest.raises(AssertionError, match="max abs error"):
        assert_equals_reference(make_inputs(2))


_COMPILE = """
import torch
from sleepkit import ops
from tests.support.gated_delta import make_inputs
compiled = torch.compile(lambda *x: tuple(ops.gated_hebbian(*x)), fullgraph=True, backend="aot_eager")
for run in (compiled, lambda *x: tuple(ops.gated_hebbian(*x))):
    leaves = make_inputs(9).requiring_grad()
    out, state = run(*leaves)
    gradients = torch.autograd.grad(out.sum() + state.square().sum(), leaves)
    print([round(part.detach().abs().sum().item(), 9) for part in (out, state, *gradients)])
"""


def test_it_compiles_without_a_graph_break() -> None:
    """In a process of its own: the type checks of the tests are no part of what users compile."""
    done = subprocess.run([sys.executable, "-c", _COMPILE], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    compiled, eager = done.stdout.splitlines()
    assert compiled == eager
    assert compiled.count(",") == 7


def test_explain_names_the_implementation_that_runs() -> None:
    assert ops.explain(operation="gated_hebbian").startswith("chunked: ")
    assert ops.explain("reference", operation="gated_hebbian") == "reference: asked for by name"
    assert_same_bits(ops.gated_hebbian(*make_inputs(9)).out, ops.gated_hebbian(*make_inputs(9), impl="chunked").out)


@pytest.mark.parametrize(
    ("impl", "reason"),
    [("native", "it knows the delta rule alone"), ("triton", "Triton kernels run on a CUDA device, not on 'cpu'")],
)
def test_kernels_that_cannot_serve_a_call_are_refused(impl: Impl, reason: str) -> None:
    given = make_inputs(2).to(torch.float32)
    for call in (lambda: ops.gated_hebbian(*given, impl=impl), lambda: ops.explain(impl, operation="gated_hebbian")):
        with pytest.raises(ImplUnavailableError, match=f"^impl: '{impl}' cannot serve this call: {reason}"):
            call()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^impl: must be one of auto, .*, got 'fast'"):
        as_users_call_it(ops.gated_hebbian)(*make_inputs(2), impl="fast")
    with pytest.raises(InvalidInputError, match=r"^operation: must be one of gated_delta_rule, gated_hebbian, got 'delta'"):
        as_users_call_it(ops.explain)(operation="delta")


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_shape_is_refused_by_the_name_of_its_argument(name: str) -> None:
    inputs = make_inputs(3)
    with pytest.raises(InvalidInputError, match=f"^{name}: must "):
        ops.gated_hebbian(*inputs._replace(**{name: getattr(inputs, name)[0]}))
