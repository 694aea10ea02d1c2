"""The gated delta rule by chunks, with a hand-written backward: one triangular solve a chunk each way, else matrix products.

With D_ts the product of the decays after token s up to t (1 on the diagonal, 0 above it), gamma_t that of all up to t, c the last
row of D, S0 the state before the chunk and s the scale:

    B  = strict_lower((k_t . k_s) D_ts)                 what later tokens find already written by earlier ones
    E  = V - gamma (K S0)                               what is new about the values
    W  = (I + B diag(beta))^-1 E, U = beta W            the corrected values, all at once
    P  = s lower(Q K^T D)
    O  = s gamma (Q S0) + P U
    S' = gamma_C S0 + (c K)^T U

Backward, given dO and dS' (Z is the gradient of E, M collects what reaches the decays through D):

    dU = P^T dO + c (K dS'),  X = (I + B^T diag(beta))^-1 dU,  Z = beta X,  dB = -strict_lower(Z U^T),  dP = dO U^T
    dV = Z,  dbeta = rowsum(X W)
    dS0 = gamma_C dS' + Q^T (s gamma dO) - K^T (gamma Z)
    dQ = (s gamma dO) S0^T + G2 K,  dK = c (U dS'^T) - (gamma Z) S0^T + (G1 + G1^T) K + G2^T Q,  G1 = dB D,  G2 = s dP D
    M  = dB B + dP P,  r = c rowsum((K dS') U),  g = rowsum(s gamma dO (Q S0)) - rowsum(gamma Z (K S0)),
         dlog_decay_j = sum_(s < j <= t) M_ts + sum_(t >= j) g_t + sum_(s < j) r_s + gamma_C <dS', S0>

Each decay gathers what it stands in: differences of longer sums would leave the rounding of what cancels, which is all there is
where decays are strong. Products of tokens with tokens (B, P, dB, dP) and the solves are in fp64: where keys repeat and beta is
near 2, their sums are long and change sign with every token, and much of them cancels.

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
        state_NKV, wide_beta_NC1 = state.flatten(0, 1).contiguous(), beta_NC.double()[..., None]
        gamma_NC1, decay_NCC = decays(log_decay_NC, state.dtype)
        overlap_NCC, scores_NCC = token_pairs(k_NCK, k_NCK, decay_NCC), token_pairs(q_NCK, k_NCK, decay_NCC).mul_(scale)
        found_NCV, asked_NCV = torch.bmm(k_NCK, state_NKV), torch.bmm(q_NCK, state_NKV)
        error_NCV = torch.addcmul(v_NCV, gamma_NC1, found_NCV, value=-1).double()
        # unitriangular: the solver reads ones on the diagonal and nothing above it.
        error_NCV = torch.linalg.solve_triangular(overlap_NCC * wide_beta_NC1.mT, error_NCV, upper=False, unitriangular=True)
        update_NCV = (wide_beta_NC1 * error_NCV).to(state.dtype)
        out_NCV = (asked_NCV * (scale * gamma_NC1)).baddbmm_(scores_NCC.to(state.dtype), update_NCV)
        narrow_NCC = decay_NCC.to(state.dtype)
        after_NKV = (state_NKV * gamma_NC1[:, -1:]).baddbmm_((narrow_NCC[:, -1, :, None] * k_NCK).mT, update_NCV)
        ctx.save_for_backward(
            q_NCK, k_NCK, wide_beta_NC1, gamma_NC1, narrow_NCC, state_NKV, overlap_NCC, scores_NCC, found_NCV, asked_NCV,
            error_NCV.to(state.dtype), update_NCV,
        )  # fmt: skip
        ctx.scale, ctx.heads = scale, heads
        return by_token(out_NCV, heads), after_NKV.view(batch, heads, *after_NKV.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        with in_own_dtypes(d_out):  # a compiled backward is traced under the forward's autocast
            return *_chunk_backward(ctx, d_out, d_after), None


def _chunk_backward(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor, ...]:
    q, k, wide_beta, gamma, decay, state, overlap, scores, found, asked, error, update = ctx.saved_tensors
    scale, heads, dtype = ctx.scale, ctx.heads, state.dtype
    to_end = decay[:, -1, :, None]
    d_out, d_after = by_head(d_out), d_after.flatten(0, 1).contiguous()
    d_update = torch.bmm(k, d_after).mul_(to_end)
    reach = (d_update * update).sum(-1)
    d_update.baddbmm_(scores.mT.to(dtype), d_out)
    by_update = torch.linalg.solve_triangular(
        (overlap * wide_beta).mT, d_update.double(), upper=True, unitriangular=True
    ).contiguous()
    d_error, d_beta = (by_update * wide_beta).to(dtype), (by_update.to(dtype) * error).sum(-1)
    d_overlap = torch.bmm(d_error.double(), update.mT.double()).tril_(-1).neg_()
    d_scores = torch.bmm(d_out.double(), update.mT.double())
    found_by, asked_by = d_error * gamma, d_out * (scale * gamma)

    through = (d_overlap * overlap).addcmul_(d_scores, scores)
    by_gamma = (asked_by * asked).sub_(found_by * found).sum(-1)
    held = gamma[:, -1, 0] * (d_after * state).sum((1, 2))
    d_log_decay = gathered(through, by_gamma, reach, held)

    d_keys, d_pairs = d_overlap.to(dtype).mul_(decay), d_scores.to(dtype).mul_(decay).mul_(scale)
    d_state = (d_after * gamma[:, -1:]).baddbmm_(q.mT, asked_by).baddbmm_(k.mT, found_by, alpha=-1)
    d_q = torch.bmm(asked_by, state.mT).baddbmm_(d_pairs, k)
    d_k = torch.bmm(update, d_after.mT).mul_(to_end).baddbmm_(found_by, state.mT, alpha=-1)
    d_k = d_k.baddbmm_(d_keys + d_keys.mT, k).baddbmm_(d_pairs.mT, q)
    per_token = (d_q, d_k, d_error, d_log_decay, d_beta)
    return *(by_token(gradient, heads) for gradient in per_token), d_state.view(-1, heads, *d_state.shape[1:])


def by_head(x: Tensor) -> Tensor:
    """[B, C, H, ...] -> [N, C, ...], contiguous."""
    return x.transpose(1, 2).flatten(0, 1).contiguous()


def by_token(x: Tensor, heads: int) -> Tensor:
    """[N, C, ...] -> [B, C, H, ...]."""
    return x.reshape(-1, heads, *x.shape[1:]).transpose(1, 2)


def decays(log_decay_NC: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return gamma [N, C, 1] and D [N, C, C] in fp64, 0 above the diagonal.

    Each entry of D sums its own log decays. The difference of two longer sums would lose the digits that a decay is made of, and
    is no number where one of them is -inf.
    """
    wide_NC = log_decay_NC.double()
    n = wide_NC.shape[-1]
    above_CC = torch.ones(n, n, dtype=torch.bool, device=wide_NC.device).triu_(1)
    gap_NCC = wide_NC[:, :, None].expand(-1, -1, n).tril(-1).cumsum_(1).masked_fill_(above_CC, float("-inf"))
    return wide_NC.cumsum(-1).exp_().to(dtype)[..., None], gap_NCC.exp_()


def token_pairs(a_NCK: Tensor, b_NCK: Tensor, decay_NCC: Tensor) -> Tensor:
    """Return (a_t . b_s) D_ts in fp64."""
    return torch.bmm(a_NCK.double(), b_NCK.mT.double()).mul_(decay_NCC)


def gathered(through_NCC: Tensor, by_gamma_NC: Tensor, reach_NC: Tensor, held_N: Tensor) -> Tensor:
    """Return the gradients of the log decays, as the formula at the head of this file has it, in the dtype of ``reach_NC``."""
    crossing_NC = through_NCC.flip(1).cumsum_(1).flip(1).tril_(-1).sum(2)
    later_NC, reach_wide_NC = by_gamma_NC.double().flip(1).cumsum_(1).flip(1), reach_NC.double()
    earlier_NC = torch.nn.functional.pad(reach_wide_NC.cumsum(1)[:, :-1], (1, 0))
    return crossing_NC.add_(later_NC).add_(earlier_NC).add_(held_N[:, None]).to(reach_NC.dtype)
