"""The gated Hebbian write by chunks, with a hand-written backward: matrix products only, nothing to solve.

The delta rule of chunked.py without its correction, in the same letters: the values are written as they come, so A is 0, U is
beta V, and the rest of the forward stays:

    U  = beta V
    P  = s lower(Q K^T D)
    O  = s gamma (Q S0) + P U
    S' = gamma_C S0 + (c K)^T U

Backward, given dO and dS':

    dU = P^T dO + c (K dS'),  dP = dO U^T,  dV = beta dU,  dbeta = rowsum(dU V)
    dS0 = gamma_C dS' + Q^T (s gamma dO)
    dQ = (s gamma dO) S0^T + G2 K,  dK = c (U dS'^T) + G2^T Q,  G2 = s dP D
    M  = dP P,  r = c rowsum((K dS') U),  g = rowsum(s gamma dO (Q S0)),  dlog_decay as there

Axes: B batch, T token, H head, K key channel, V value channel, C tokens of one chunk, N = B H sequences and heads together.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sleepkit.kernels.autocast import in_own_dtypes
from sleepkit.kernels.chunked import CHUNK_LEN, by_head, by_token, decays, gathered, in_chunks, token_pairs


def gated_hebbian(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    *,
    scale: float,
    chunk_len: int = CHUNK_LEN,
) -> tuple[Tensor, Tensor]:
    """Read T tokens chunk by chunk, in the dtype of the state; any T, the last chunk may be short."""
    return in_chunks(_Chunk, (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH), state_BHKV, scale, chunk_len)


class _Chunk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        batch, _, heads, _ = q.shape
        q_NCK, k_NCK, v_NCV, log_decay_NC, beta_NC = (by_head(tensor) for tensor in (q, k, v, log_decay, beta))
        state_NKV, beta_NC1 = state.flatten(0, 1).contiguous(), beta_NC[..., None]
        gamma_NC1, decay_NCC = decays(log_decay_NC, state.dtype)
        scores_NCC = token_pairs(q_NCK, k_NCK, decay_NCC).mul_(scale)
        update_NCV, asked_NCV = beta_NC1 * v_NCV, torch.bmm(q_NCK, state_NKV)
        out_NCV = (asked_NCV * (scale * gamma_NC1)).baddbmm_(scores_NCC.to(state.dtype), update_NCV)
        narrow_NCC = decay_NCC.to(state.dtype)
        after_NKV = (state_NKV * gamma_NC1[:, -1:]).baddbmm_((narrow_NCC[:, -1, :, None] * k_NCK).mT, update_NCV)
        ctx.save_for_backward(q_NCK, k_NCK, v_NCV, beta_NC1, gamma_NC1, narrow_NCC, state_NKV, scores_NCC, update_NCV, asked_NCV)
        ctx.scale, ctx.heads = scale, heads
        return by_token(out_NCV, heads), after_NKV.view(batch, heads, *after_NKV.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        with in_own_dtypes(d_out):  # a compiled backward is traced under the forward's autocast
            return *_chunk_backward(ctx, d_out, d_after), None


def _chunk_backward(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor, ...]:
    q, k, v, beta, gamma, decay, state, scores, update, asked = ctx.saved_tensors
    scale, heads, dtype = ctx.scale, ctx.heads, state.dtype
    to_end = decay[:, -1, :, None]
    d_out, d_after = by_head(d_out), d_after.flatten(0, 1).contiguous()
    d_update = torch.bmm(k, d_after).mul_(to_end)
    reach = (d_update * update).sum(-1)
    d_update.baddbmm_(scores.mT.to(dtype), d_out)
    d_scores, asked_by = torch.bmm(d_out.double(), update.mT.double()), d_out * (scale * gamma)

    held = gamma[:, -1, 0] * (d_after * state).sum((1, 2))
    d_log_decay = gathered(d_scores * scores, (asked_by * asked).sum(-1), reach, held)

    d_pairs = d_scores.to(dtype).mul_(decay).mul_(scale)
    d_state = (d_after * gamma[:, -1:]).baddbmm_(q.mT, asked_by)
    d_q = torch.bmm(asked_by, state.mT).baddbmm_(d_pairs, k)
    d_k = torch.bmm(update, d_after.mT).mul_(to_end).baddbmm_(d_pairs.mT, q)
    per_token = (d_q, d_k, beta * d_update, d_log_decay, (d_update * v).sum(-1))
    return *(by_token(gradient, heads) for gradient in per_token), d_state.view(-1, heads, *d_state.shape[1:])
