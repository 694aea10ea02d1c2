"""The gated delta rule: chunked (torch) and native (C) against the token-by-token oracle, all gradients, and its algebra."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import ImplUnavailableError, InvalidInputError
from sleepkit.kernels import build, chunked, native, triton_support
from tests.support.compare import assert_close, assert_same_bits, rms_error
from tests.support.doors import as_users_call_it
from tests.support.gated_delta import NAMES, Inputs, chunk_with_wrong_sign, make_inputs, run_with_gradients

Impl = ops.recurrence.Impl
ROOT = Path(__file__).resolve().parents[2]
LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 130)
needs_compiler = pytest.mark.skipif(build.why_unavailable() is not None, reason=str(build.why_unavailable()))
FAST: list[Any] = ["chunked", pytest.param("native", marks=needs_compiler)]
ALL: list[Any] = ["reference", *FAST]


def assert_equals_reference(impl: Impl, inputs: Inputs, *, valid_BT: Tensor | None = None, scale: float | None = None) -> None:
    options = {"valid_BT": valid_BT, "scale": scale}
    expected, expected_gradients = run_with_gradients(inputs, impl="reference", **options)
    actual, gradients = run_with_gradients(inputs, impl=impl, **options)
    assert_close(actual.out, expected.out, what="out")
    assert_close(actual.state, expected.state, what="state")
    for name in NAMES:
        assert_close(gradients[name], expected_gradients[name], what=f"gradient of {name}")


@pytest.mark.parametrize("impl", FAST)
@pytest.mark.parametrize("seq_len", LENGTHS)
def test_it_equals_reference_in_outputs_state_and_all_gradients(impl: Impl, seq_len: int) -> None:
    assert_equals_reference(impl, make_inputs(seq_len))


@pytest.mark.parametrize("impl", FAST)
@pytest.mark.parametrize("seq_len", LENGTHS)
def test_it_equals_reference_for_repeated_keys_and_beta_up_to_2(impl: Impl, seq_len: int) -> None:
    assert_equals_reference(impl, make_inputs(seq_len, repeated_keys=True, largest_beta=2.0, decay=0.1))


@pytest.mark.parametrize("impl", FAST)
@pytest.mark.parametrize(("key_heads", "heads"), [(1, 3), (2, 4), (2, 6)])
def test_it_equals_reference_for_grouped_heads(impl: Impl, key_heads: int, heads: int) -> None:
    assert_equals_reference(impl, make_inputs(65, key_heads=key_heads, heads=heads, key_dim=6, value_dim=3))


@pytest.mark.parametrize("impl", FAST)
def test_it_equals_reference_with_a_scale_of_its_own_and_padding(impl: Impl) -> None:
    valid = torch.rand(2, 70, generator=torch.Generator().manual_seed(3)) < 0.6
    assert_equals_reference(impl, make_inputs(70), valid_BT=valid, scale=0.3)


@pytest.mark.parametrize("impl", FAST)
@hypothesis.given(
    seq_len=st.integers(1, 80),
    batch=st.integers(1, 3),
    key_dim=st.integers(1, 6),
    value_dim=st.integers(1, 6),
    key_heads=st.integers(1, 2),
    group=st.integers(1, 2),
    largest_beta=st.sampled_from([0.5, 1.0, 2.0]),
    decay=st.sampled_from([0.0, 0.1, 3.0, 40.0]),
    seed=st.integers(0, 1000),
)
def test_it_equals_reference_for_any_shape(
    impl: Impl,
    seq_len: int,
    batch: int,
    key_dim: int,
    value_dim: int,
    key_heads: int,
    group: int,
    largest_beta: float,
    decay: float,
    seed: int,
) -> None:
    inputs = make_inputs(
        seq_len,
        batch=batch,
        key_heads=key_heads,
        heads=key_heads * group,
        key_dim=key_dim,
        value_dim=value_dim,
        largest_beta=largest_beta,
        decay=decay,
        seed=seed,
    )
    assert_equals_reference(impl, inputs)


def test_the_reference_follows_the_definition_for_two_tokens_written_out() -> None:
    q, k, v, log_decay, beta, state = (tensor[0] for tensor in make_inputs(2, batch=1, key_heads=1, heads=1))
    decay, fast = log_decay.exp(), state[0]
    outputs = []
    for token in range(2):
        key, query, value = k[token, 0], q[token, 0], v[token, 0]
        forget = torch.eye(5, dtype=torch.float64) - beta[token, 0] * torch.outer(key, key)
        fast = forget @ (decay[token, 0] * fast) + beta[token, 0] * torch.outer(key, value)
        outputs.append(5**-0.5 * fast.T @ query)
    batched = (tensor[None] for tensor in (q, k, v, log_decay, beta, state))
    result = ops.gated_delta_rule(*batched, impl="reference")
    assert_close(result.out[0, :, 0], torch.stack(outputs), what="out")
    assert_close(result.state[0, 0], fast, what="state")


@pytest.mark.parametrize("impl", ALL)
def test_gradients_equal_finite_differences(impl: Impl) -> None:
    inputs = make_inputs(4, batch=1, key_heads=1, heads=2, key_dim=2, value_dim=3).requiring_grad()
    assert torch.autograd.gradcheck(lambda *leaves: tuple(ops.gated_delta_rule(*leaves, impl=impl)), tuple(inputs))


@pytest.mark.parametrize("chunk_len", [1, 3, 16, 64])
@pytest.mark.parametrize("kernel", [chunked, pytest.param(native, marks=needs_compiler)])
def test_the_chunk_length_does_not_matter(kernel: Any, chunk_len: int) -> None:
    inputs = make_inputs(50)
    out, state = kernel.gated_delta_rule(*inputs, scale=0.5, chunk_len=chunk_len)
    expected = ops.gated_delta_rule(*inputs, scale=0.5, impl="reference")
    assert_close(out, expected.out, what="out")
    assert_close(state, expected.state, what="state")


@pytest.mark.parametrize("impl", ALL)
def test_padding_leaves_the_state_untouched_bit_for_bit(impl: Impl) -> None:
    inputs = make_inputs(20)
    nothing = torch.zeros(2, 20, dtype=torch.bool)
    assert_same_bits(ops.gated_delta_rule(*inputs, valid_BT=nothing, impl=impl).state, inputs.state)


@pytest.mark.parametrize("impl", ALL)
def test_what_stands_in_padded_positions_does_not_matter(impl: Impl) -> None:
    inputs, other = make_inputs(70), make_inputs(70, seed=9)
    valid = torch.rand(2, 70, generator=torch.Generator().manual_seed(3)) < 0.5
    mixed = Inputs(
        *(torch.where(valid.view(2, 70, *[1] * (a.ndim - 2)), a, b) for a, b in zip(inputs[:5], other[:5], strict=True)),
        inputs.state,
    )
    expected = ops.gated_delta_rule(*inputs, valid_BT=valid, impl=impl)
    actual = ops.gated_delta_rule(*mixed, valid_BT=valid, impl=impl)
    assert_close(actual.out[valid], expected.out[valid], tolerance=1e-14, what="out at valid positions")
    assert_close(actual.state, expected.state, tolerance=1e-14, what="state")


def test_padded_tokens_can_be_cut_out() -> None:
    inputs = make_inputs(30, batch=1)
    kept = torch.arange(30) % 3 != 1
    short = Inputs(*(tensor[:, kept] for tensor in inputs[:5]), inputs.state)
    padded = ops.gated_delta_rule(*inputs, valid_BT=kept[None])
    packed = ops.gated_delta_rule(*short)
    assert_close(padded.out[:, kept], packed.out, what="out")
    assert_close(padded.state, packed.state, what="state")


@pytest.mark.parametrize("length", [1, 5, 16, 64, 65])
def test_running_twice_equals_running_once_over_both(length: int) -> None:
    inputs = make_inputs(2 * length)
    whole = ops.gated_delta_rule(*inputs)
    first = ops.gated_delta_rule(*inputs.tokens(0, length))
    second = ops.gated_delta_rule(*inputs.tokens(length, 2 * length)._replace(state=first.state))
    assert_close(torch.cat([first.out, second.out], dim=1), whole.out, what="out")
    assert_close(second.state, whole.state, what="state")


@pytest.mark.parametrize("impl", ALL)
def test_no_decay_and_no_write_is_the_identity_on_the_state(impl: Impl) -> None:
    inputs = make_inputs(40)
    still = inputs._replace(log_decay=torch.zeros_like(inputs.log_decay), beta=torch.zeros_like(inputs.beta))
    result = ops.gated_delta_rule(*still, scale=1.0, impl=impl)
    assert_same_bits(result.state, inputs.state)
    assert_close(result.out, torch.einsum("bhkv,bthk->bthv", inputs.state, inputs.q), what="out")


@pytest.mark.parametrize("impl", ALL)
def test_without_writes_the_state_only_decays(impl: Impl) -> None:
    inputs = make_inputs(40)
    result = ops.gated_delta_rule(*inputs._replace(beta=torch.zeros_like(inputs.beta)), impl=impl)
    left = inputs.log_decay.sum(dim=1).exp()[..., None, None]
    assert_close(result.state, left * inputs.state, what="state")


def test_a_unit_key_written_with_beta_1_is_read_back_exactly() -> None:
    inputs = make_inputs(30)
    inputs = inputs._replace(q=inputs.k, beta=torch.ones_like(inputs.beta))
    assert_close(ops.gated_delta_rule(*inputs, scale=1.0).out, inputs.v, what="read-back values")


def test_examples_in_a_batch_do_not_meet() -> None:
    inputs, order = make_inputs(33, batch=4), torch.tensor([2, 0, 3, 1])
    result = ops.gated_delta_rule(*inputs)
    permuted = ops.gated_delta_rule(*(tensor[order] for tensor in inputs))
    assert_close(permuted.out, result.out[order], tolerance=1e-14, what="out")
    assert_close(permuted.state, result.state[order], tolerance=1e-14, what="state")


@pytest.mark.parametrize("token", [0, 17, 63, 64, 79])
def test_outputs_depend_on_no_later_token(token: int) -> None:
    leaves = make_inputs(80, batch=1).requiring_grad()
    out = ops.gated_delta_rule(*leaves).out
    gradients = torch.autograd.grad(out[:, token].square().sum(), leaves[:5], materialize_grads=True)
    for name, gradient in zip(NAMES, gradients, strict=False):
        assert not gradient[:, token + 1 :].any(), name
    assert gradients[0][:, token].any()


@pytest.mark.parametrize(
    "case", [{"decay": 0.1}, {"repeated_keys": True, "largest_beta": 2.0, "decay": 0.1}, {"decay": 2.0}, {"decay": 20.0}]
)
@pytest.mark.parametrize("seq_len", [24, 64, 130])
@pytest.mark.parametrize("impl", FAST)
def test_fp32_stays_within_twice_the_error_of_fp32_token_by_token(impl: Impl, seq_len: int, case: dict[str, float]) -> None:
    inputs = make_inputs(seq_len, batch=4, key_dim=32, value_dim=32, **case)
    exact = ops.gated_delta_rule(*inputs.to(torch.float32).to(torch.float64), impl="reference")
    budget = ops.gated_delta_rule(*inputs.to(torch.float32), impl="reference")
    actual = ops.gated_delta_rule(*inputs.to(torch.float32), impl=impl)
    for name, measured, allowed, truth in zip(("out", "state"), actual, budget, exact, strict=True):
        assert rms_error(measured, truth) <= 2 * rms_error(allowed, truth), name


@pytest.mark.parametrize("impl", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_decay", [-80.0, -1e4, -1e30])
def test_forgetting_everything_at_once_makes_no_nan(impl: Impl, dtype: torch.dtype, log_decay: float) -> None:
    inputs = make_inputs(70).to(dtype)
    pattern = torch.where(torch.arange(70) % 7 == 3, log_decay, -0.1).to(dtype)
    leaves = inputs._replace(log_decay=pattern[None, :, None].expand(2, 70, 2)).requiring_grad()
    result = ops.gated_delta_rule(*leaves, impl=impl)
    gradients = torch.autograd.grad(result.out.sum() + result.state.sum(), leaves)
    for name, tensor in zip(("out", "state", *NAMES), (*result, *gradients), strict=True):
        assert tensor.isfinite().all(), name


@pytest.mark.parametrize("impl", FAST)
def test_forgetting_everything_at_once_equals_the_reference(impl: Impl) -> None:
    inputs = make_inputs(70)
    strong = inputs.log_decay.clone()
    strong[:, 3::7] = -1e4
    assert_equals_reference(impl, inputs._replace(log_decay=strong))


def test_bfloat16_values_come_back_as_bfloat16_and_the_state_stays_fp32() -> None:
    inputs = make_inputs(20).to(torch.bfloat16)
    result = ops.gated_delta_rule(*inputs._replace(state=inputs.state.float()))
    exact = ops.gated_delta_rule(*inputs.to(torch.float64), impl="reference")
    assert (result.out.dtype, result.state.dtype) == (torch.bfloat16, torch.float32)
    assert_close(result.out, exact.out, tolerance=2**-8, what="out")
    assert_close(result.state, exact.state, tolerance=1e-5, what="state")


def test_the_comparison_catches_a_flipped_sign_in_the_triangular_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*inputs: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        return chunk_with_wrong_sign(*inputs)

    monkeypatch.setattr(chunked, "gated_delta_rule", wrong)
    with pytest.raises(AssertionError, match="max abs error"):
        assert_equals_reference("chunked", make_inputs(2))


def test_without_a_compiler_auto_takes_the_torch_path_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    build._loaded_once.cache_clear()
    try:
        with pytest.warns(UserWarning, match="the C kernels are not used, torch computes in their place"):
            assert build.why_unavailable() is not None
        assert ops.explain().startswith("chunked: the torch path runs everywhere; impl: 'native' must build")
        with pytest.raises(ImplUnavailableError, match="impl: 'native' must build and load here"):
            ops.gated_delta_rule(*make_inputs(2), impl="native")
        assert_same_bits(ops.gated_delta_rule(*make_inputs(5)).out, ops.gated_delta_rule(*make_inputs(5), impl="chunked").out)
    finally:
        build._loaded_once.cache_clear()


@needs_compiler
def test_the_library_is_built_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path))
    builds, make = [], build._build
    monkeypatch.setattr(build, "_build", lambda *command: builds.append(command) or make(*command))
    for _ in range(2):
        build._loaded_once.cache_clear()
        assert build.why_unavailable() is None
    build._loaded_once.cache_clear()
    assert len(builds) == 1
    assert len(list((tmp_path / "sleepkit").glob("*.so"))) == 1


@needs_compiler
def test_native_is_refused_off_the_cpu() -> None:
    with pytest.raises(ImplUnavailableError, match="impl: 'native' runs on a CPU"):
        ops.explain("native", device="cuda")
    assert ops.explain(device="cuda").startswith("chunked: ")


@needs_compiler
@pytest.mark.parametrize("seq_len", [5, 70])
def test_the_native_operation_keeps_the_rules_of_a_torch_operation(seq_len: int) -> None:
    leaves = make_inputs(seq_len).to(torch.float32).requiring_grad()
    torch.library.opcheck(torch.ops.sleepkit.gated_delta_rule_native.default, (*leaves, 0.5, 32, True))


_COMPILE = """
import sys, torch
from sleepkit import ops
from tests.support.gated_delta import make_inputs
compiled = torch.compile(lambda *x: tuple(ops.gated_delta_rule(*x, impl=sys.argv[1])), fullgraph=True, backend="aot_eager")
for run in (compiled, lambda *x: tuple(ops.gated_delta_rule(*x, impl=sys.argv[1]))):
    leaves = make_inputs(9).requiring_grad()
    out, state = run(*leaves)
    gradients = torch.autograd.grad(out.sum() + state.square().sum(), leaves)
    print([round(part.detach().abs().sum().item(), 9) for part in (out, state, *gradients)])
"""


@pytest.mark.parametrize("impl", ["auto", *FAST])
def test_it_compiles_without_a_graph_break(impl: Impl) -> None:
    """In a process of its own: the type checks of the tests are no part of what users compile."""
    done = subprocess.run([sys.executable, "-c", _COMPILE, impl], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    compiled, eager = done.stdout.splitlines()
    assert compiled == eager
    assert compiled.count(",") == 7


@needs_compiler
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    leaves, results = make_inputs(70, batch=4, key_dim=32, value_dim=32).to(torch.float32), []
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            result, gradients = run_with_gradients(leaves, impl="native")
            results.append((*result, *gradients.values()))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        for name, one, other in zip(("out", "state", *NAMES), results[0], others, strict=True):
            assert_same_bits(other, one, what=name)


@pytest.mark.skipif(triton_support.why_unavailable("cpu") is None, reason="the interpreter of Triton serves the CPU here")
def test_triton_is_refused_on_a_cpu_with_the_reason() -> None:
    with pytest.raises(
        ImplUnavailableError, match=r"^impl: 'triton' cannot serve this call: .*use 'auto', 'chunked' or 'reference'"
    ):
        ops.gated_delta_rule(*make_inputs(2).to(torch.float32), impl="triton")
    with pytest.raises(ImplUnavailableError, match="impl: 'triton' cannot serve this call: "):
        ops.explain("triton")


@pytest.mark.parametrize(
    ("change", "why"),
    [({"dtype": torch.float64}, "none of them fp64"), ({"value_dim": 300}, "at most 256 key and value channels")],
)
def test_what_triton_does_not_serve_goes_to_the_torch_path_on_a_gpu(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ImplUnavailableError, match=why):
        ops.explain("triton", device="cuda", **change)
    explained = ops.explain(device="cuda", **change)
    assert explained.startswith("chunked: ")
    assert why in explained


@pytest.mark.parametrize(
    ("impl", "leads_to"),
    [
        pytest.param("auto", "native", marks=needs_compiler),
        pytest.param("native", "native", marks=needs_compiler),
        ("chunked", "chunked"),
        ("reference", "reference"),
    ],
)
def test_explain_names_the_implementation_that_runs(impl: Impl, leads_to: str) -> None:
    assert ops.explain(impl).startswith(f"{leads_to}: ")
    inputs = make_inputs(70)
    assert_same_bits(ops.gated_delta_rule(*inputs, impl=impl).out, ops.gated_delta_rule(*inputs, impl=leads_to).out)


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"impl: must be one of auto, reference, chunked, native, triton, got 'fast'"):
        as_users_call_it(ops.gated_delta_rule)(*make_inputs(2), impl="fast")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("q", lambda tensor: tensor[0]),
        ("q", lambda tensor: tensor[:, :0]),
        ("k", lambda tensor: tensor[:, :2]),
        ("k", lambda tensor: tensor[..., :2]),
        ("v", lambda tensor: tensor[0]),
        ("v", lambda tensor: tensor[:, :2]),
        ("log_decay", lambda tensor: tensor[..., :1]),
        ("beta", lambda tensor: tensor[..., None]),
        ("state", lambda tensor: tensor.mT),
        ("state", lambda tensor: tensor[:1]),
    ],
)
def test_a_wrong_shape_is_refused_by_the_name_of_its_argument(name: str, change: Callable[[Tensor], Tensor]) -> None:
    inputs = make_inputs(3)
    with pytest.raises(InvalidInputError, match=f"^{name}: must "):
        ops.gated_delta_rule(*inputs._replace(**{name: change(getattr(inputs, name))}))


def test_query_heads_must_divide_value_heads() -> None:
    with pytest.raises(InvalidInputError, match=r"^q: heads must divide the 3 heads of v, got 2"):
        ops.gated_delta_rule(*make_inputs(3, key_heads=2, heads=3))


@pytest.mark.parametrize("valid", [torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 3)])
def test_a_padding_mask_of_another_shape_or_type_is_refused(valid: Tensor) -> None:
    with pytest.raises(InvalidInputError, match=r"^valid: must "):
        ops.gated_delta_rule(*make_inputs(3), valid_BT=valid)


@pytest.mark.parametrize("impl", FAST)
def test_autocast_around_the_call_changes_no_bit(impl: Impl) -> None:
    inputs = make_inputs(30).to(torch.float32)
    expected, expected_gradients = run_with_gradients(inputs, impl=impl)
    with torch.autocast("cpu", torch.bfloat16):
        actual, gradients = run_with_gradients(inputs, impl=impl)
    assert_same_bits(actual.out, expected.out)
    for name in NAMES:
        assert_same_bits(gradients[name], expected_gradients[name], what=name)


def test_kernels_that_were_never_checked_on_a_device_are_taken_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_support, "why_unavailable", lambda device="cuda": None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 9))
    monkeypatch.delenv(triton_support.TRUST_VARIABLE, raising=False)
    explained = ops.explain(device="cuda")
    assert explained.startswith("chunked: ")
    assert "not yet checked on a device of compute capability 9.9" in explained
    assert ops.explain("triton", device="cuda") == "triton: asked for by name"
    monkeypatch.setenv(triton_support.TRUST_VARIABLE, "1")
    assert ops.explain(device="cuda").startswith("triton: ")
    monkeypatch.delenv(triton_support.TRUST_VARIABLE)
    monkeypatch.setattr(triton_support, "CHECKED", ((9, 9),))
    assert ops.explain(device="cuda").startswith("triton: ")
