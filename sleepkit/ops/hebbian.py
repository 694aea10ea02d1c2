"""The gated Hebbian write: fast weights as a decaying sum of outer products, without the correction of the delta rule.

Axes: B batch, T token, H value head, K key channel, V value channel. Order everywhere: q, k, v, log_decay, beta, state.
"""

from typing import get_args

import torch
from torch import Tensor

from sleepkit.errors import ImplUnavailableError, require
from sleepkit.kernels import hebbian, reference, triton_delta
from sleepkit.kernels.autocast import in_own_dtypes
from sleepkit.kernels.door import TRANSFORMED
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


def gated_hebbian(
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
    """Run the gated Hebbian write over T tokens, state in and state out, differentiable in every input.

    S <- e^log_decay S + beta k v^T;  out = scale S^T q
    (Lee et al. 2026, Eq. 3, the form of Mamba-2, arXiv 2405.21060). q and k are used as given. Without the delta rule's
    correction nothing that is written depends on what is there: a key met twice finds the sum of its values.
    Values are not looked at, as in ``gated_delta_rule``: with log_decay > 0 the state may grow without bound.

    Args:
        q_BTHK: queries. Heads may be fewer than those of v if they divide them (each serves a group of value heads).
        k_BTHK: keys, the shape of q.
        v_BTHV: values.
        log_decay_BTH: natural logarithm of the decay, <= 0; -inf forgets all that was before, as where a sequence begins.
        beta_BTH: write strength, in (0, 1).
        state_BHKV: fast weights before the first token.
        scale: factor of the read; None means K^-0.5.
        valid_BT: False (or the integer 0) marks padding: whatever lies there (NaN too), the state passes through untouched, out
            is 0, and no gradient comes from there or goes there.
        impl: how; "auto" picks one (``ops.explain(operation="gated_hebbian")`` says which and why), any other is honoured or
            refused. There are a torch path and, for a GPU, a Triton kernel.

    Raises:
        InvalidInputError: if shapes do not fit together.
        ImplUnavailableError: if the implementation asked for does not exist or cannot serve this call.
    """
    check_shapes(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV)
    valid_BT = as_mask(valid_BT, q_BTHK.shape[:2], device=q_BTHK.device)
    inputs = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV)
    chosen = choose(impl, *kernel_request(*inputs, valid=valid_BT))
    factor = q_BTHK.shape[-1] ** -0.5 if scale is None else float(scale)
    with in_own_dtypes(q_BTHK):
        if chosen == "triton":
            narrow = (*inputs[:5], state_BHKV.float())
            return GatedDeltaOutput(*triton_delta.gated_delta_rule(*narrow, scale=factor, valid_BT=valid_BT, corrected=False))
        out, state = _KERNELS[chosen].gated_hebbian(*plain_inputs(*inputs, valid_BT), scale=factor)
    return GatedDeltaOutput(blanked(out, valid_BT).to(v_BTHV.dtype), state)


def pick(impl: str, request: KernelRequest) -> tuple[str, str]:
    """Return the implementation that ``impl`` leads to, and the reason.

    Args:
        impl: as in the operation.
        request: what the choice depends on.

    Raises:
        InvalidInputError: if there is no such name.
        ImplUnavailableError: if this operation has no such implementation, or it cannot serve this call.
    """
    require(impl in get_args(Impl), "impl", f"must be one of {', '.join(get_args(Impl))}", impl)
    if impl in _KERNELS:
        return impl, "asked for by name"
    if impl == "native":
        raise ImplUnavailableError("impl: 'native' cannot serve this call: it knows the delta rule alone; use 'auto'")
    if impl == "auto" and request.closed == TRANSFORMED:
        return "reference", f"{TRANSFORMED}: token by token it is made of those"
    if impl == "triton" or request.device == "cuda":
        return pick_on_gpu(impl, request)
    return "chunked", "the torch path runs everywhere, and this operation has no other kernel on a CPU"


# The answer cannot change while a graph is traced.
choose: Choose = torch.compiler.assume_constant_result(lambda impl, *request: pick(impl, KernelRequest(*request))[0])  # type: ignore[no-untyped-call]
_KERNELS = {"reference": reference, "chunked": hebbian}
