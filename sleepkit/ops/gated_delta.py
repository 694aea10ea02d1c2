"""The gated delta rule: the write and the read of fast weights.

Axes: B batch, T token, H value head, K key channel, V value channel. Order everywhere: q, k, v, log_decay, beta, state.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from sleepkit.errors import ImplUnavailableError, require
from sleepkit.kernels import chunked, native, reference, triton_delta
from sleepkit.kernels.autocast import in_own_dtypes
from sleepkit.kernels.build import why_unavailable
from sleepkit.kernels.door import TRANSFORMED
from sleepkit.ops.hebbian import pick as pick_hebbian
from sleepkit.ops.masks import as_mask, blanked
from sleepkit.ops.recurrence import (
    Choose,
    GatedDeltaOutput,
    Impl,
    KernelRequest,
    check_shapes,
    kernel_request,
    pick_on_gpu,
    plain_inputs,
)

Operation = Literal["gated_delta_rule", "gated_hebbian"]


def gated_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    *,
    scale: float | None = None,
    valid_BT: Tensor | None = None,
    impl: Impl = "auto",
) -> GatedDeltaOutput:
    """Run the gated delta rule over T tokens, state in and state out, differentiable in every input.

    S <- e^log_decay S;  u = beta (v - S^T k);  S <- S + k u^T;  out = scale S^T q
    (Gated DeltaNet, arXiv 2412.06464; Lee et al. 2026, Eq. 3 with the delta correction). q and k are used as given.

    Values are not looked at, which would cost a pass over memory and, on a GPU, a wait. Any are computed as the equation says:
    with log_decay > 0, keys longer than 1 or beta > 2 the state may grow without bound.

    Args:
        q_BTHK: queries. Heads may be fewer than those of v if they divide them (each serves a group of value heads).
        k_BTHK: keys, the shape of q.
        v_BTHV: values.
        log_decay_BTH: natural logarithm of the decay, <= 0; -inf forgets all that was before, as where a sequence begins.
        beta_BTH: write strength, in (0, 1), or (0, 2) where negative eigenvalues are allowed.
        state_BHKV: fast weights before the first token.
        scale: factor of the read; None means K^-0.5.
        valid_BT: False (or the integer 0) marks padding: whatever lies there (NaN too), the state passes through untouched, out
            is 0, and no gradient comes from there or goes there.
        impl: how; "auto" picks one (``explain`` says which and why), any other is honoured or refused.

    Raises:
        InvalidInputError: if shapes do not fit together.
        ImplUnavailableError: if the implementation asked for cannot serve this call.
    """
    check_shapes(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV)
    valid_BT = as_mask(valid_BT, q_BTHK.shape[:2], device=q_BTHK.device)
    inputs = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV)
    chosen = choose(impl, *kernel_request(*inputs, valid=valid_BT))
    factor = q_BTHK.shape[-1] ** -0.5 if scale is None else float(scale)
    if chosen == "triton":
        with in_own_dtypes(q_BTHK):
            narrow = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV.float())
            return GatedDeltaOutput(*triton_delta.gated_delta_rule(*narrow, scale=factor, valid_BT=valid_BT))
    plain = plain_inputs(*inputs, valid_BT)
    with in_own_dtypes(q_BTHK):
        out, state = _KERNELS[chosen].gated_delta_rule(*plain, scale=factor)
    return GatedDeltaOutput(blanked(out, valid_BT).to(v_BTHV.dtype), state)


def explain(
    impl: Impl = "auto",
    *,
    operation: Operation = "gated_delta_rule",
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    key_dim: int = 64,
    value_dim: int = 64,
) -> str:
    """Say which implementation ``impl`` leads to, and why.

    Args:
        impl: as in the operation.
        operation: "gated_delta_rule" or "gated_hebbian".
        device: "cpu" or "cuda".
        dtype: of q, k and v.
        key_dim: channels of a key.
        value_dim: channels of a value.

    Raises:
        InvalidInputError: for an unknown operation or implementation.
        ImplUnavailableError: if it leads to none.
    """
    require(operation in get_args(Operation), "operation", f"must be one of {', '.join(get_args(Operation))}", operation)
    pick = pick_hebbian if operation == "gated_hebbian" else _pick
    fits = max(key_dim, value_dim) <= triton_delta.LARGEST_DIM
    chosen, reason = pick(impl, KernelRequest(device, dtype, fits))
    return f"{chosen}: {reason}"


_KERNELS = {"reference": reference, "chunked": chunked, "native": native}


def _pick(impl: str, request: KernelRequest) -> tuple[str, str]:
    """Return the implementation and the reason."""
    require(impl in get_args(Impl), "impl", f"must be one of {', '.join(get_args(Impl))}", impl)
    if impl in ("reference", "chunked"):
        return impl, "asked for by name"
    if impl == "auto" and request.closed == TRANSFORMED:
        return "reference", f"{TRANSFORMED}: token by token it is made of those"
    if impl == "triton" or (impl == "auto" and request.device == "cuda"):
        return pick_on_gpu(impl, request)
    problem = _why_not_native(request)
    if impl == "native":
        if problem:
            raise ImplUnavailableError(problem)
        return "native", "asked for by name"
    if problem:
        return "chunked", f"the torch path runs everywhere; {problem}"
    return "native", "the C kernel is the fastest on a CPU, and was built for this one"


def _why_not_native(request: KernelRequest) -> str | None:
    if request.device != "cpu":
        return f"impl: 'native' runs on a CPU, not on {request.device!r}; use 'chunked'"
    if request.closed is not None:
        return f"impl: 'native' cannot serve this call: {request.closed}"
    return why_unavailable()


# The answer cannot change while a graph is traced.
choose: Choose = torch.compiler.assume_constant_result(lambda impl, *request: _pick(impl, KernelRequest(*request))[0])  # type: ignore[no-untyped-call]
