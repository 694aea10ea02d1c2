"""The gated delta rule on a GPU: a program sweeps over the chunks of one head of one sequence, the state stays in registers.

The equations, forward and backward, are those of sleepkit/kernels/chunked.py, under the same names (A, E, U, P, X, M, gamma, c, D);
S is the state before a chunk. Nothing is kept from forward to backward but the inputs.

* Values are independent of each other: a program owns a block of value channels, S [K, block of V]. Gradients of q, k, beta and
  log_decay are sums over value channels, so that where there are several blocks each program writes its own part.
* I + A is inverted by forward substitution in 16 x 16 blocks and exact merging of two blocks, both in IEEE fp32: T = (I + A)^-1,
  U = T (beta E), X = T' dU. Repeated tokens make keys that are nearly the same, and A is then far from small: an expansion in
  powers of A, or products in tf32, lose all digits.
* A decay between two tokens is the exponential of the sum of the log decays between them, summed by itself and never the
  difference of two longer sums, which would lose its digits behind one strong decay.
* Chunks have 16 or 32 tokens. All tiles then stay below the 64 rows from which a product runs on a whole warp group (see the
  launch table), and one merge is enough.

Other products take operands in the dtype of v (fp32 ones as ``PRECISION`` says) and sum in fp32.
"""

import triton
import triton.language as tl


@triton.jit
def product(a, b, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Return a b, summed in fp32."""
    return tl.dot(a.to(OPERAND), b.to(OPERAND), input_precision=PRECISION)


@triton.jit
def unit_lower_inverse(A, C: tl.constexpr):
    """Return (I + A)^-1 for a strictly lower triangular A [C, C], C 16 or 32."""
    N: tl.constexpr = C // 16
    o_N = tl.arange(0, N)
    o_16 = tl.arange(0, 16)
    # The blocks on the diagonal, [N, 16, 16]: row i of an inverse is -A_i - sum_(j < i) A_ij (row j of the inverse), less the 1.
    same = (o_N[:, None] == o_N[None, :])[:, None, :, None]
    inverse = -tl.sum(tl.where(same, tl.reshape(A, [N, 16, N, 16]), 0.0), axis=2)
    for i in range(1, 16):
        here = (o_16 == i)[None, :, None]
        row = tl.sum(tl.where(here, inverse, 0.0), axis=1)
        row += tl.sum(row[:, :, None] * inverse, axis=1)
        inverse = tl.where(here, row[:, None, :], inverse)
    inverse += tl.where((o_16[:, None] == o_16[None, :])[None, :, :], 1.0, 0.0)
    T = tl.reshape(tl.where(same, inverse[:, :, None, :], 0.0), [C, C])
    if N == 2:
        o_C = tl.arange(0, C)
        below = (o_C[:, None] >= 16) & (o_C[None, :] < 16)
        merged = tl.dot(tl.where(below, A, 0.0), T, input_precision="ieee")
        T -= tl.dot(T, merged, input_precision="ieee")
    return T


@triton.jit
def decays(log_decay, C: tl.constexpr):
    """Return D [C, C], gamma [C], c [C] and gamma of the last token, from the log decays [C] of a chunk."""
    o_C = tl.arange(0, C)
    row, column = o_C[:, None], o_C[None, :]
    gap = tl.cumsum(tl.where(row > column, log_decay[:, None], 0.0), axis=0)
    D = tl.exp(tl.where(row >= column, gap, float("-inf")))
    gamma = tl.exp(tl.sum(tl.where(row >= column, log_decay[None, :], 0.0), axis=1))
    c = tl.exp(tl.sum(tl.where(row > column, log_decay[:, None], 0.0), axis=0))
    return D, gamma, c, tl.exp(tl.sum(log_decay, axis=0))


@triton.jit
def load_rows(p, s_t, o_t, m_t, o_c, CHANNELS: tl.constexpr):
    """Load a tile [tokens, channels], 0 outside."""
    return tl.load(p + o_t[:, None] * s_t + o_c[None, :], mask=m_t[:, None] & (o_c < CHANNELS)[None, :], other=0.0)


@triton.jit
def store_rows(p, s_t, o_t, m_t, o_c, CHANNELS: tl.constexpr, x):
    """Store a tile [tokens, channels] in the dtype of the pointer."""
    p_x = p + o_t[:, None] * s_t + o_c[None, :]
    tl.store(p_x, x.to(p.dtype.element_ty), mask=m_t[:, None] & (o_c < CHANNELS)[None, :])


@triton.jit
def load_chunk(
    p_k, p_v, p_log_decay, p_beta, p_valid, s_kt, s_vt, s_at, s_bt, s_mt, start, seq_len, o_k, o_v,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Load keys, values, log decays and write strengths of a chunk, with its tokens and which of them count."""
    o_t = tl.arange(0, C).to(tl.int64) + start
    inside = o_t < seq_len
    m_t = inside
    if MASKED:
        m_t = inside & (tl.load(p_valid + o_t * s_mt, mask=inside, other=0) != 0)
    k = load_rows(p_k, s_kt, o_t, m_t, o_k, K)
    v = load_rows(p_v, s_vt, o_t, m_t, o_v, V)
    # A token that does not count decays by 1 and writes 0.
    log_decay = tl.load(p_log_decay + o_t * s_at, mask=m_t, other=0.0).to(tl.float32)
    beta = tl.load(p_beta + o_t * s_bt, mask=m_t, other=0.0).to(tl.float32)
    return o_t, inside, m_t, k, v, log_decay, beta


@triton.jit
def corrected_values(k, v, beta, gamma, D, S, C: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Return K K^T D, A, T = (I + A)^-1, E and U of a chunk."""
    o_C = tl.arange(0, C)
    overlap = product(k, tl.trans(k), OPERAND, PRECISION) * D
    A = tl.where(o_C[:, None] > o_C[None, :], beta[:, None] * overlap, 0.0)
    T = unit_lower_inverse(A, C)
    E = v.to(tl.float32) - gamma[:, None] * product(k, S, OPERAND, PRECISION)
    U = tl.dot(T, beta[:, None] * E, input_precision="ieee")
    return overlap, A, T, E, U


@triton.jit(do_not_specialize=["scale", "seq_len"])
def forward(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_out, p_after, scale, seq_len, n_heads, group,
    s_qb, s_qt, s_qh, s_kb, s_kt, s_kh, s_vb, s_vt, s_vh, s_ab, s_at, s_ah, s_bb, s_bt, s_bh, s_mb, s_mt,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Read all tokens of one head of one sequence, for one block of value channels. Out and after are contiguous."""
    OPERAND: tl.constexpr = p_v.dtype.element_ty
    N_V: tl.constexpr = (V + BV - 1) // BV
    i_n = (tl.program_id(0) // N_V).to(tl.int64)
    i_b, i_h = i_n // n_heads, i_n % n_heads
    i_g = i_h // group
    o_k, o_v = tl.arange(0, BK), (tl.program_id(0) % N_V) * BV + tl.arange(0, BV)
    o_kv, m_kv = o_k[:, None] * V + o_v[None, :], (o_k < K)[:, None] & (o_v < V)[None, :]
    p_q += i_b * s_qb + i_g * s_qh
    p_k += i_b * s_kb + i_g * s_kh
    p_v += i_b * s_vb + i_h * s_vh
    p_log_decay += i_b * s_ab + i_h * s_ah
    p_beta += i_b * s_bb + i_h * s_bh
    p_valid += i_b * s_mb
    p_out += (i_b * seq_len * n_heads + i_h) * V
    S = tl.load(p_state + i_n * K * V + o_kv, mask=m_kv, other=0.0)
    for start in range(0, seq_len, C):
        o_t, inside, m_t, k, v, log_decay, beta = load_chunk(
            p_k, p_v, p_log_decay, p_beta, p_valid, s_kt, s_vt, s_at, s_bt, s_mt, start, seq_len, o_k, o_v, K, V, C, MASKED
        )
        q = load_rows(p_q, s_qt, o_t, m_t, o_k, K)
        D, gamma, c, gamma_C = decays(log_decay, C)
        _, _, _, _, U = corrected_values(k, v, beta, gamma, D, S, C, OPERAND, PRECISION)
        P = scale * product(q, tl.trans(k), OPERAND, PRECISION) * D
        O = scale * gamma[:, None] * product(q, S, OPERAND, PRECISION) + product(P, U, OPERAND, PRECISION)  # noqa: E741
        store_rows(p_out, n_heads * V, o_t, inside, o_v, V, O)
        S = gamma_C * S + product(tl.trans(k), c[:, None] * U, OPERAND, PRECISION)
    tl.store(p_after + i_n * K * V + o_kv, S, mask=m_kv)


@triton.jit(do_not_specialize=["scale", "seq_len"])
def backward(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_d_out, p_d_after, p_starts,
    p_d_q, p_d_k, p_d_v, p_d_log_decay, p_d_beta, p_d_state, scale, seq_len, n_heads, group, s_part,
    s_qb, s_qt, s_qh, s_kb, s_kt, s_kh, s_vb, s_vt, s_vh, s_ab, s_at, s_ah, s_bb, s_bt, s_bh, s_mb, s_mt,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, SWEEP: tl.constexpr,
):  # fmt: skip
    """Differentiate ``forward``.

    With more than one chunk (SWEEP) it reads forward once more and leaves the states before the chunks, the first excepted, in
    starts [B, H, chunks - 1, K, V]: memory that lives as long as the launch. d_out and all gradients are contiguous; those of q,
    k, log_decay and beta have one part a block of value channels, s_part tokens and heads apart.
    """
    OPERAND: tl.constexpr = p_v.dtype.element_ty
    N_V: tl.constexpr = (V + BV - 1) // BV
    i_n = (tl.program_id(0) // N_V).to(tl.int64)
    i_v = (tl.program_id(0) % N_V).to(tl.int64)
    i_b, i_h = i_n // n_heads, i_n % n_heads
    i_g = i_h // group
    o_C = tl.arange(0, C)
    row, column = o_C[:, None], o_C[None, :]
    o_k, o_v = tl.arange(0, BK), i_v * BV + tl.arange(0, BV)
    o_kv, m_kv = o_k[:, None] * V + o_v[None, :], (o_k < K)[:, None] & (o_v < V)[None, :]
    p_q += i_b * s_qb + i_g * s_qh
    p_k += i_b * s_kb + i_g * s_kh
    p_v += i_b * s_vb + i_h * s_vh
    p_log_decay += i_b * s_ab + i_h * s_ah
    p_beta += i_b * s_bb + i_h * s_bh
    p_valid += i_b * s_mb
    first = i_b * seq_len * n_heads + i_h
    p_d_out += first * V
    p_d_v += first * V
    first += i_v * s_part
    p_d_q += first * K
    p_d_k += first * K
    p_d_log_decay += first
    p_d_beta += first
    p_state += i_n * K * V
    n_chunks = (seq_len + C - 1) // C
    p_starts += i_n * (n_chunks - 1) * K * V

    if SWEEP:
        S = tl.load(p_state + o_kv, mask=m_kv, other=0.0)
        for i_c in range(0, n_chunks - 1):
            o_t, inside, m_t, k, v, log_decay, beta = load_chunk(
                p_k, p_v, p_log_decay, p_beta, p_valid, s_kt, s_vt, s_at, s_bt, s_mt, i_c * C, seq_len, o_k, o_v, K, V, C, MASKED
            )
            D, gamma, c, gamma_C = decays(log_decay, C)
            _, _, _, _, U = corrected_values(k, v, beta, gamma, D, S, C, OPERAND, PRECISION)
            S = gamma_C * S + product(tl.trans(k), c[:, None] * U, OPERAND, PRECISION)
            tl.store(p_starts + i_c * K * V + o_kv, S, mask=m_kv)
        # What a thread reads back may have been written by another.
        tl.debug_barrier()

    d_S = tl.load(p_d_after + i_n * K * V + o_kv, mask=m_kv, other=0.0)
    for i_back in range(0, n_chunks):
        i_c = n_chunks - 1 - i_back
        if i_c == 0:
            S = tl.load(p_state + o_kv, mask=m_kv, other=0.0)
        else:
            S = tl.load(p_starts + (i_c - 1) * K * V + o_kv, mask=m_kv, other=0.0)
        o_t, inside, m_t, k, v, log_decay, beta = load_chunk(
            p_k, p_v, p_log_decay, p_beta, p_valid, s_kt, s_vt, s_at, s_bt, s_mt, i_c * C, seq_len, o_k, o_v, K, V, C, MASKED
        )
        q = load_rows(p_q, s_qt, o_t, m_t, o_k, K)
        d_O = load_rows(p_d_out, n_heads * V, o_t, m_t, o_v, V)
        D, gamma, c, gamma_C = decays(log_decay, C)
        overlap, A, T, E, U = corrected_values(k, v, beta, gamma, D, S, C, OPERAND, PRECISION)
        P = scale * product(q, tl.trans(k), OPERAND, PRECISION) * D

        reached = c[:, None] * product(k, d_S, OPERAND, PRECISION)
        d_U = product(tl.trans(P), d_O, OPERAND, PRECISION) + reached
        X = tl.dot(tl.trans(T), d_U, input_precision="ieee")
        store_rows(p_d_v, n_heads * V, o_t, inside, o_v, V, beta[:, None] * X)
        d_A = tl.where(row > column, -product(X, tl.trans(U), OPERAND, PRECISION), 0.0)
        d_P = product(d_O, tl.trans(U), OPERAND, PRECISION)
        d_beta = tl.sum(X * E, axis=1) + tl.sum(d_A * overlap, axis=1)
        tl.store(p_d_beta + o_t * n_heads, d_beta.to(p_d_beta.dtype.element_ty), mask=inside)

        asked_by = scale * gamma[:, None] * d_O.to(tl.float32)
        found_by = beta[:, None] * gamma[:, None] * X
        S_T = tl.trans(S.to(OPERAND))
        d_q = product(asked_by, S_T, OPERAND, PRECISION)
        d_k_found = product(found_by, S_T, OPERAND, PRECISION)
        # rowsum(dO (Q S)) = rowsum(Q (dO S^T)), and the same for K: the product is there already.
        d_gamma = tl.sum(q.to(tl.float32) * d_q, axis=1) - tl.sum(k.to(tl.float32) * d_k_found, axis=1)
        r = tl.sum(reached * U, axis=1)
        d_gamma_C = gamma_C * tl.sum(tl.sum(d_S * S, axis=1), axis=0)
        # dlog_decay_j gathers D_ts for s < j <= t, gamma_t for t >= j, c_s for s < j and gamma_C.
        M = tl.cumsum(d_A * A + d_P * P, axis=0, reverse=True)
        d_log_decay = tl.sum(tl.where(row > column, M + r[None, :], 0.0), axis=1)
        d_log_decay += tl.sum(tl.where(row <= column, d_gamma[None, :], 0.0), axis=1) + d_gamma_C
        d_log_decay = tl.where(m_t, d_log_decay, 0.0)
        tl.store(p_d_log_decay + o_t * n_heads, d_log_decay.to(p_d_log_decay.dtype.element_ty), mask=inside)

        B1 = beta[:, None] * d_A * D
        B2 = scale * d_P * D
        d_q += product(B2, k, OPERAND, PRECISION)
        d_k = c[:, None] * product(U, tl.trans(d_S.to(OPERAND)), OPERAND, PRECISION) - d_k_found
        d_k += product(B1 + tl.trans(B1), k, OPERAND, PRECISION) + product(tl.trans(B2), q, OPERAND, PRECISION)
        store_rows(p_d_q, n_heads * K, o_t, inside, o_k, K, d_q)
        store_rows(p_d_k, n_heads * K, o_t, inside, o_k, K, d_k)
        d_S = gamma_C * d_S + product(tl.trans(q), asked_by, OPERAND, PRECISION)
        d_S -= product(tl.trans(k), found_by, OPERAND, PRECISION)
    tl.store(p_d_state + i_n * K * V + o_kv, d_S, mask=m_kv)


@triton.jit(do_not_specialize=["scale"])
def step(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_out, p_after, scale, n_heads, group,
    s_qb, s_qh, s_kb, s_kh, s_vb, s_vh, s_ab, s_ah, s_bb, s_bh, s_mb,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Read one token, by the definition, in fp32."""
    N_V: tl.constexpr = (V + BV - 1) // BV
    i_n = (tl.program_id(0) // N_V).to(tl.int64)
    i_b, i_h = i_n // n_heads, i_n % n_heads
    i_g = i_h // group
    o_k, o_v = tl.arange(0, BK), (tl.program_id(0) % N_V) * BV + tl.arange(0, BV)
    m_k, m_v = o_k < K, o_v < V
    o_kv, m_kv = o_k[:, None] * V + o_v[None, :], m_k[:, None] & m_v[None, :]
    counts = i_b >= 0
    if MASKED:
        counts = tl.load(p_valid + i_b * s_mb) != 0
    q = tl.load(p_q + i_b * s_qb + i_g * s_qh + o_k, mask=m_k & counts, other=0.0).to(tl.float32)
    k = tl.load(p_k + i_b * s_kb + i_g * s_kh + o_k, mask=m_k & counts, other=0.0).to(tl.float32)
    v = tl.load(p_v + i_b * s_vb + i_h * s_vh + o_v, mask=m_v & counts, other=0.0).to(tl.float32)
    log_decay = tl.load(p_log_decay + i_b * s_ab + i_h * s_ah, mask=counts, other=0.0).to(tl.float32)
    beta = tl.load(p_beta + i_b * s_bb + i_h * s_bh, mask=counts, other=0.0).to(tl.float32)
    S = tl.exp(log_decay) * tl.load(p_state + i_n * K * V + o_kv, mask=m_kv, other=0.0)
    u = beta * (v - tl.sum(k[:, None] * S, axis=0))
    S += k[:, None] * u[None, :]
    o = scale * tl.sum(q[:, None] * S, axis=0)
    tl.store(p_out + i_n * V + o_v, o.to(p_out.dtype.element_ty), mask=m_v)
    tl.store(p_after + i_n * K * V + o_kv, S, mask=m_kv)
