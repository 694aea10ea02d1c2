"""The gated delta rule by chunks, with a hand-written backward: one triangular solve a chunk each way, else matrix products.

With l = cumsum(log_decay) inside the chunk, gamma = e^l, c = e^(l_C - l), D_ts = e^(l_t - l_s) for t >= s (0 above the diagonal),
S0 the state before the chunk and s the scale:

    A  = strict_lower(beta_t (k_t . k_s) D_ts)          what later tokens find already written by earlier ones
    E  = V - gamma (K S0)                               what is new about the values
    U  = (I + A)^-1 beta E                              the corrected values, all at once
    P  = s lower(Q K^T D)
    O  = s gamma (Q S0) + P U
    S' = gamma_C S0 + (c K)^T U

Backward, given dO and dS' (X is the gradient of beta E, M collects what reaches the decays through D):

    dU = P^T dO + c (K dS'),  X = (I + A)^-T dU,  dA = -strict_lower(X U^T),  dP = dO U^T
    dV = beta X,  dbeta = rowsum(X E) + rowsum(dA (K K^T D))
    dS0 = gamma_C dS' + Q^T (s gamma dO) - K^T (beta gamma X)
    dQ = (s gamma dO) S0^T + B2 K,  dK = c (U dS'^T) - (beta gamma X) S0^T + (B1 + B1^T) K + B2^T Q,  B1 = beta dA D,  B2 = s dP D
    M  = dA A + dP P,  dl = rowsum(M) - colsum(M) - rowsum(beta gamma X (K S0)) + rowsum(s gamma dO (Q S0)) - r,
         r = c rowsum((K dS') U),  dl_C += sum(r) + gamma_C <dS', S0>,  dlog_decay = reverse cumsum of dl

Axes: B batch, T token, H head, K key channel, V value channel, C tokens of one chunk, N = B H sequences and heads together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sleepkit.kernels.autocast import in_own_dtypes

CHUNK_LEN = 64


def gated_delta_rule(
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


def in_chunks(
    chunk: type[torch.autograd.Function], inputs: Sequence[Tensor], state_BHKV: Tensor, scale: float, chunk_len: int
) -> tuple[Tensor, Tensor]:
    """Apply the rule of one chunk to T tokens, chunk by chunk; inputs [B, T, ...]."""
    outputs, state = [], state_BHKV
    for start in range(0, inputs[0].shape[1], chunk_len):
        piece = (tensor[:, start : start + chunk_len] for tensor in inputs)
        out, state = chunk.apply(*piece, state, scale)  # type: ignore[no-untyped-call]
        outputs.append(out)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), state


class _Chunk(torch.autograd.Function):
    """One chunk. Operands of the in-place products are contiguous: on slices they fall back to one product per matrix."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        batch, _, heads, _ = q.shape
        q_NCK, k_NCK, v_NCV, log_decay_NC, beta_NC = (by_head(tensor) for tensor in (q, k, v, log_decay, beta))
        state_NKV, beta_NC1 = state.flatten(0, 1).contiguous(), beta_NC[..., None]
        gamma_NC1, decay_NCC = decays(log_decay_NC, state.dtype)
        overlap_NCC = torch.bmm(k_NCK, k_NCK.mT).mul_(decay_NCC)
        solve_NCC = overlap_NCC * beta_NC1
        scores_NCC = torch.bmm(q_NCK, k_NCK.mT).mul_(decay_NCC).mul_(scale)
        found_NCV, asked_NCV = torch.bmm(k_NCK, state_NKV), torch.bmm(q_NCK, state_NKV)
        error_NCV = torch.addcmul(v_NCV, gamma_NC1, found_NCV, value=-1)
        # unitriangular: the solver reads ones on the diagonal and nothing above it, so solve_NCC stands for I + A.
        update_NCV = torch.linalg.solve_triangular(solve_NCC, beta_NC1 * error_NCV, upper=False, unitriangular=True)
        out_NCV = (asked_NCV * (scale * gamma_NC1)).baddbmm_(scores_NCC, update_NCV)
        to_end_NC1 = decay_NCC[:, -1, :, None]
        after_NKV = (state_NKV * gamma_NC1[:, -1:]).baddbmm_((to_end_NC1 * k_NCK).mT, update_NCV)
        ctx.save_for_backward(
            q_NCK, k_NCK, beta_NC1, gamma_NC1, decay_NCC, state_NKV, overlap_NCC, solve_NCC, scores_NCC, found_NCV, asked_NCV,
            error_NCV, update_NCV,
        )  # fmt: skip
        ctx.scale, ctx.heads = scale, heads
        return by_token(out_NCV, heads), after_NKV.view(batch, heads, *after_NKV.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        with in_own_dtypes(d_out):  # a compiled backward is traced under the forward's autocast
            return *_chunk_backward(ctx, d_out, d_after), None


def _chunk_backward(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor, ...]:
    q, k, beta, gamma, decay, state, overlap, solve, scores, found, asked, error, update = ctx.saved_tensors
    scale, heads = ctx.scale, ctx.heads
    to_end = decay[:, -1, :, None]
    d_out, d_after = by_head(d_out), d_after.flatten(0, 1).contiguous()
    d_update = torch.bmm(k, d_after).mul_(to_end)
    reach = (d_update * update).sum(-1)
    d_update.baddbmm_(scores.mT, d_out)
    d_error = torch.linalg.solve_triangular(solve.mT, d_update, upper=True, unitriangular=True).contiguous()
    d_solve, d_scores = torch.bmm(d_error, update.mT).tril_(-1).neg_(), torch.bmm(d_out, update.mT)
    d_beta = (d_error * error).sum(-1).add_((d_solve * overlap).sum(-1))
    found_by, asked_by = d_error * (beta * gamma), d_out * (scale * gamma)

    through = (d_solve * solve).addcmul_(d_scores, scores)
    d_total = through.sum(2).sub_(through.sum(1)).sub_((found_by * found).sum(-1)).add_((asked_by * asked).sum(-1)).sub_(reach)
    d_total[:, -1] += reach.sum(1) + gamma[:, -1, 0] * (d_after * state).sum((1, 2))
    d_log_decay = d_total.flip(-1).cumsum(-1).flip(-1)

    d_overlap, d_pairs = d_solve.mul_(decay).mul_(beta), d_scores.mul_(decay).mul_(scale)
    d_state = (d_after * gamma[:, -1:]).baddbmm_(q.mT, asked_by).baddbmm_(k.mT, found_by, alpha=-1)
    d_q = torch.bmm(asked_by, state.mT).baddbmm_(d_pairs, k)
    d_k = torch.bmm(update, d_after.mT).mul_(to_end).baddbmm_(found_by, state.mT, alpha=-1)
    d_k = d_k.baddbmm_(d_overlap + d_overlap.mT, k).baddbmm_(d_pairs.mT, q)
    per_token = (d_q, d_k, beta * d_error, d_log_decay, d_beta)
    return *(by_token(gradient, heads) for gradient in per_token), d_state.view(-1, heads, *d_state.shape[1:])


def by_head(x: Tensor) -> Tensor:
    """[B, C, H, ...] -> [N, C, ...], contiguous."""
    return x.transpose(1, 2).flatten(0, 1).contiguous()


def by_token(x: Tensor, heads: int) -> Tensor:
    """[N, C, ...] -> [B, C, H, ...]."""
    return x.reshape(-1, heads, *x.shape[1:]).transpose(1, 2)


def decays(log_decay_NC: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return gamma [N, C, 1] and D [N, C, C], 0 above the diagonal.

    Summed and subtracted in fp64: the difference of two large fp32 sums would lose the digits that a decay is made of. Masked
    before exp: above the diagonal the difference is positive and may overflow.
    """
    total_NC = log_decay_NC.double().cumsum(-1)
    n = total_NC.shape[-1]
    above_CC = torch.ones(n, n, dtype=torch.bool, device=total_NC.device).triu_(1)
    gap_NCC = (total_NC[:, :, None] - total_NC[:, None, :]).masked_fill_(above_CC, float("-inf"))
    return total_NC.to(dtype).exp_()[..., None], gap_NCC.to(dtype).exp_()
