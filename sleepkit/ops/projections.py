"""Fast weights as a layer has them: from its projections, activations included.

Axes: B batch, T token, J query heads and then key heads, H value head, K key channel, V value channel, G decay inputs and then
write-strength inputs, one of each a head.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.errors import require
from sleepkit.kernels import triton_delta
from sleepkit.kernels.triton_delta import Activations
from sleepkit.ops.gated_delta import choose as choose_delta
from sleepkit.ops.gated_delta import gated_delta_rule
from sleepkit.ops.hebbian import choose as choose_hebbian
from sleepkit.ops.hebbian import gated_hebbian
from sleepkit.ops.masks import as_mask, blanked
from sleepkit.ops.recurrence import Choose, GatedDeltaOutput, Impl, check_shapes, kernel_request
from sleepkit.ops.rows import unit_length


class Activated(NamedTuple):
    """What a rule takes besides values and state, all at least fp32.

    Attributes:
        q: [B, T, H, K], of unit length.
        k: like q.
        log_decay: [B, T, H], natural, <= 0.
        beta: [B, T, H], in (0, beta_scale).
    """

    q: Tensor
    k: Tensor
    log_decay: Tensor
    beta: Tensor


def activate(
    qk_BTJK: Tensor, gates_BTG: Tensor, *, A_log_H: Tensor, dt_bias_H: Tensor, beta_scale: float, unit_eps: float
) -> Activated:
    """Return q and k of unit length, log decay = -exp(A_log) softplus(a + dt_bias) and beta = beta_scale sigmoid(b).

    (Gated DeltaNet, arXiv 2412.06464.)

    Args:
        qk_BTJK: queries and keys side by side.
        gates_BTG: a and b side by side.
        A_log_H: logarithm of the rate.
        dt_bias_H: added to a.
        beta_scale: the largest beta.
        unit_eps: added to the square of a length, so that nothing divides by zero.
    """
    query, key = unit_length(qk_BTJK, eps=unit_eps).chunk(2, dim=2)
    decay_input, beta_input = _at_least_fp32(gates_BTG).chunk(2, dim=-1)
    log_decay = -_at_least_fp32(A_log_H).exp() * F.softplus(decay_input + dt_bias_H)
    return Activated(query, key, log_decay, beta_scale * beta_input.sigmoid())


def gated_delta_from_projections(
    qk_BTJK: Tensor,
    v_BTHV: Tensor,
    gates_BTG: Tensor,
    state_BHKV: Tensor,
    *,
    A_log_H: Tensor,
    dt_bias_H: Tensor,
    beta_scale: float = 1.0,
    unit_eps: float = 1e-6,
    valid_BT: Tensor | None = None,
    impl: Impl = "auto",
) -> GatedDeltaOutput:
    """Run ``gated_delta_rule`` on what ``activate`` makes of a layer's projections, differentiable in all of them.

    With the Triton kernels that is one launch, activations and their gradients included; elsewhere one after the other.

    Args:
        qk_BTJK: queries and keys side by side, as projected (and convolved). Heads may be fewer than those of v.
        v_BTHV: values.
        gates_BTG: a and b side by side, one of each a value head.
        state_BHKV: fast weights before the first token.
        A_log_H: see ``activate``.
        dt_bias_H: see ``activate``.
        beta_scale: see ``activate``.
        unit_eps: see ``activate``.
        valid_BT: False (or the integer 0) marks padding: whatever lies there (NaN too), the state passes through untouched, out
            is 0, and no gradient comes from there or goes there.
        impl: see ``gated_delta_rule``.

    Raises:
        InvalidInputError: if shapes do not fit together.
        ImplUnavailableError: if the implementation asked for cannot serve this call.
    """
    activations = Activations(A_log_H, dt_bias_H, beta_scale, unit_eps)
    return _from_projections(_DELTA, qk_BTJK, v_BTHV, gates_BTG, state_BHKV, activations, valid_BT, impl)


def gated_hebbian_from_projections(
    qk_BTJK: Tensor,
    v_BTHV: Tensor,
    gates_BTG: Tensor,
    state_BHKV: Tensor,
    *,
    A_log_H: Tensor,
    dt_bias_H: Tensor,
    beta_scale: float = 1.0,
    unit_eps: float = 1e-6,
    valid_BT: Tensor | None = None,
    impl: Impl = "auto",
) -> GatedDeltaOutput:
    """Run ``gated_hebbian`` on what ``activate`` makes of a layer's projections; see ``gated_delta_from_projections``.

    Raises:
        InvalidInputError: if shapes do not fit together.
        ImplUnavailableError: if the implementation asked for cannot serve this call.
    """
    activations = Activations(A_log_H, dt_bias_H, beta_scale, unit_eps)
    return _from_projections(_HEBBIAN, qk_BTJK, v_BTHV, gates_BTG, state_BHKV, activations, valid_BT, impl)


class _Rule(NamedTuple):
    run: Callable[..., GatedDeltaOutput]
    choose: Choose
    corrected: bool


_DELTA = _Rule(gated_delta_rule, choose_delta, corrected=True)
_HEBBIAN = _Rule(gated_hebbian, choose_hebbian, corrected=False)


def _from_projections(
    rule: _Rule,
    qk: Tensor,
    v: Tensor,
    gates: Tensor,
    state: Tensor,
    activations: Activations,
    valid: Tensor | None,
    impl: Impl,
) -> GatedDeltaOutput:
    require(qk.ndim == 4 and qk.shape[2] % 2 == 0, "qk", "must be [B, T, 2 H, K]", tuple(qk.shape))
    require(gates.ndim == 3 and gates.shape[2] % 2 == 0, "gates", "must be [B, T, 2 H]", tuple(gates.shape))
    (query, key), (decay_input, beta_input) = qk.chunk(2, dim=2), gates.chunk(2, dim=-1)
    raw = (query, key, v, decay_input, beta_input)
    check_shapes(*raw, state)
    valid = as_mask(valid, qk.shape[:2], device=qk.device)
    A_log, dt_bias, beta_scale, unit_eps = activations
    for name, rates in (("A_log", A_log), ("dt_bias", dt_bias)):
        require(rates.shape == v.shape[2:3], name, f"must have shape [{v.shape[2]}]", tuple(rates.shape))
    on_gpu = impl == "triton" or (impl == "auto" and qk.device.type == "cuda")
    if on_gpu and rule.choose(impl, *kernel_request(*raw, state, A_log, dt_bias, valid=valid)) == "triton":
        narrow = activations._replace(A_log=A_log.float(), dt_bias=dt_bias.float())
        scale = query.shape[-1] ** -0.5
        return GatedDeltaOutput(
            *triton_delta.gated_delta_rule(
                *raw, state.float(), scale=scale, valid_BT=valid, activations=narrow, corrected=rule.corrected
            )
        )
    qk, gates = blanked(qk, valid), blanked(gates, valid)
    made = activate(qk, gates, A_log_H=A_log, dt_bias_H=dt_bias, beta_scale=beta_scale, unit_eps=unit_eps)
    return rule.run(made.q, made.k, v, made.log_decay, made.beta, state, valid_BT=valid, impl=impl)


def _at_least_fp32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
