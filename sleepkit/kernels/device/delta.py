"""The gated delta rule on a GPU: a program sweeps over the chunks of one head of one sequence.

The equations, forward and backward, are those of sleepkit/kernels/chunked.py under the same names (A, E, U, P, X, M, gamma, c,
D); S is the state before a chunk, held as R = S^T. Nothing is kept from forward to backward but the inputs.

* Values are independent of each other: R is cut into blocks [block of V, K]. In forward a program owns one block and keeps it in
  registers. Gradients of q, k, beta and log_decay are sums over value channels: a backward program takes several blocks one after
  the other, or, where programs are few, one, and then each writes its own part of the sums.
* I + A is inverted by forward substitution in 16 x 16 blocks and exact merging of two blocks, both in IEEE fp32: T = (I + A)^-1,
  U = T (beta E), X = T' dU. Repeated tokens make keys that are nearly the same, and A is then far from small: an expansion in
  powers of A, or products in tf32, lose all digits.
* A decay between two tokens is the exponential of the sum of the log decays between them, summed by itself and never the
  difference of two longer sums, which would lose its digits behind one strong decay.
* Chunks have 16 or 32 tokens and blocks of value channels as many, so that no product has the 64 rows from which Hopper's
  warp-group instructions are used: some releases of Triton miscompile those. And one merge is enough.

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
    T = tl.where(same, inverse[:, :, None, :], 0.0)
    if N == 2:
        corner = (o_N[:, None] > o_N[None, :])[:, None, :, None]
        A_21 = tl.sum(tl.sum(tl.where(corner, tl.reshape(A, [N, 16, N, 16]), 0.0), axis=2), axis=0)
        second = (o_N == 1)[:, None, None]
        T_11, T_22 = tl.sum(tl.where(second, 0.0, inverse), axis=0), tl.sum(tl.where(second, inverse, 0.0), axis=0)
        T_21 = -tl.dot(T_22, tl.dot(A_21, T_11, input_precision="ieee"), input_precision="ieee")
        T = tl.where(corner, T_21[None, :, None, :], T)
    return tl.reshape(T, [C, C])


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
def of_head(
    p_q, p_k, p_v, p_log_decay, p_beta, p_valid, i_b, i_h, group,
    s_qb, s_qh, s_kb, s_kh, s_vb, s_vh, s_ab, s_ah, s_bb, s_bh, s_mb,
):  # fmt: skip
    """Return the pointers to the first token of a value head; a group of them shares one head of q and k."""
    i_g = i_h // group
    p_q += i_b * s_qb + i_g * s_qh
    p_k += i_b * s_kb + i_g * s_kh
    p_v += i_b * s_vb + i_h * s_vh
    p_log_decay += i_b * s_ab + i_h * s_ah
    p_beta += i_b * s_bb + i_h * s_bh
    return p_q, p_k, p_v, p_log_decay, p_beta, p_valid + i_b * s_mb


@triton.jit
def at(p, start, s_t):
    """Return the pointer to a token. From there on 32 bits hold every offset of a chunk."""
    return p + (s_t + tl.zeros([], tl.int64)) * start


@triton.jit
def load_rows(p, s_t, m_t, o_c, CHANNELS: tl.constexpr, C: tl.constexpr):
    """Load a tile [tokens, channels], 0 outside."""
    p_x = p + tl.arange(0, C)[:, None] * s_t + o_c[None, :]
    return tl.load(p_x, mask=m_t[:, None] & (o_c < CHANNELS)[None, :], other=0.0)


@triton.jit
def store_rows(p, s_t, m_t, o_c, CHANNELS: tl.constexpr, C: tl.constexpr, x):
    """Store a tile [tokens, channels] in the dtype of the pointer."""
    p_x = p + tl.arange(0, C)[:, None] * s_t + o_c[None, :]
    tl.store(p_x, x.to(p.dtype.element_ty), mask=m_t[:, None] & (o_c < CHANNELS)[None, :])


@triton.jit
def store_scalars(p, s_t, m_t, C: tl.constexpr, x):
    """Store one number a token in the dtype of the pointer."""
    tl.store(p + tl.arange(0, C) * s_t, x.to(p.dtype.element_ty), mask=m_t)


@triton.jit
def load_chunk(
    p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k,
    K: tl.constexpr, C: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Load keys, log decays and write strengths of a chunk, with the tokens that exist and those that count."""
    o_t = tl.arange(0, C)
    inside = o_t < seq_len - start
    m_t = inside
    if MASKED:
        m_t = inside & (tl.load(at(p_valid, start, s_mt) + o_t * s_mt, mask=inside, other=0) != 0)
    k = load_rows(at(p_k, start, s_kt), s_kt, m_t, o_k, K, C)
    # A token that does not count decays by 1 and writes 0.
    log_decay = tl.load(at(p_log_decay, start, s_at) + o_t * s_at, mask=m_t, other=0.0).to(tl.float32)
    beta = tl.load(at(p_beta, start, s_bt) + o_t * s_bt, mask=m_t, other=0.0).to(tl.float32)
    return inside, m_t, k, log_decay, beta


@triton.jit
def load_state(p_state, p_starts, i_c, o_vk, m_vk, SIZE: tl.constexpr):
    """Load S^T before a chunk."""
    if i_c == 0:
        R = tl.load(p_state + o_vk, mask=m_vk, other=0.0)
    else:
        R = tl.load(p_starts + (i_c - 1) * SIZE + o_vk, mask=m_vk, other=0.0)
    return R


@triton.jit
def within_chunk(k, beta, D, C: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Return K K^T D, A and T = (I + A)^-1 of a chunk: what depends on no value."""
    o_C = tl.arange(0, C)
    overlap = product(k, tl.trans(k), OPERAND, PRECISION) * D
    A = tl.where(o_C[:, None] > o_C[None, :], beta[:, None] * overlap, 0.0)
    return overlap, A, unit_lower_inverse(A, C)


@triton.jit
def corrected_values(k, v, beta, gamma, T, R, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Return K S, E and U of a chunk; R is S^T."""
    found = product(k, tl.trans(R.to(OPERAND)), OPERAND, PRECISION)
    E = v.to(tl.float32) - gamma[:, None] * found
    return found, E, tl.dot(T, beta[:, None] * E, input_precision="ieee")


@triton.jit
def state_after(k, c, gamma_C, U, R, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Return S'^T."""
    return gamma_C * R + product(tl.trans((c[:, None] * U).to(OPERAND)), k, OPERAND, PRECISION)


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
    o_k, o_v = tl.arange(0, BK), (tl.program_id(0) % N_V) * BV + tl.arange(0, BV)
    o_vk, m_vk = o_k[None, :] * V + o_v[:, None], (o_k < K)[None, :] & (o_v < V)[:, None]
    p_q, p_k, p_v, p_log_decay, p_beta, p_valid = of_head(
        p_q, p_k, p_v, p_log_decay, p_beta, p_valid, i_b, i_h, group,
        s_qb, s_qh, s_kb, s_kh, s_vb, s_vh, s_ab, s_ah, s_bb, s_bh, s_mb,
    )  # fmt: skip
    p_out += (i_b * seq_len * n_heads + i_h) * V
    R = tl.load(p_state + i_n * K * V + o_vk, mask=m_vk, other=0.0)
    for start in range(0, seq_len, C):
        inside, m_t, k, log_decay, beta = load_chunk(
            p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, K, C, MASKED
        )
        v = load_rows(at(p_v, start, s_vt), s_vt, m_t, o_v, V, C)
        q = load_rows(at(p_q, start, s_qt), s_qt, m_t, o_k, K, C)
        D, gamma, c, gamma_C = decays(log_decay, C)
        _overlap, _A, T = within_chunk(k, beta, D, C, OPERAND, PRECISION)
        _found, _E, U = corrected_values(k, v, beta, gamma, T, R, OPERAND, PRECISION)
        P = scale * product(q, tl.trans(k), OPERAND, PRECISION) * D
        asked = product(q, tl.trans(R.to(OPERAND)), OPERAND, PRECISION)
        O = scale * gamma[:, None] * asked + product(P, U, OPERAND, PRECISION)  # noqa: E741
        store_rows(at(p_out, start, n_heads * V), n_heads * V, inside, o_v, V, C, O)
        R = state_after(k, c, gamma_C, U, R, OPERAND, PRECISION)
    tl.store(p_after + i_n * K * V + o_vk, R, mask=m_vk)


@triton.jit
def leave_states(
    p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_starts, s_kt, s_vt, s_at, s_bt, s_mt, n_chunks, seq_len, o_k, o_first,
    K: tl.constexpr, V: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Read forward and leave the state before every chunk but the first in starts."""
    OPERAND: tl.constexpr = p_v.dtype.element_ty
    for i_c in range(n_chunks - 1):
        start = i_c * C
        _inside, m_t, k, log_decay, beta = load_chunk(
            p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, K, C, MASKED
        )
        D, gamma, c, gamma_C = decays(log_decay, C)
        _overlap, _A, T = within_chunk(k, beta, D, C, OPERAND, PRECISION)
        for i_block in range(BLOCKS):
            o_v = o_first + i_block * BV
            o_vk, m_vk = o_k[None, :] * V + o_v[:, None], (o_k < K)[None, :] & (o_v < V)[:, None]
            v = load_rows(at(p_v, start, s_vt), s_vt, m_t, o_v, V, C)
            R = load_state(p_state, p_starts, i_c, o_vk, m_vk, K * V)
            _found, _E, U = corrected_values(k, v, beta, gamma, T, R, OPERAND, PRECISION)
            R = state_after(k, c, gamma_C, U, R, OPERAND, PRECISION)
            tl.store(p_starts + i_c * K * V + o_vk, R, mask=m_vk)
        # What a thread reads back may have been written by another.
        tl.debug_barrier()


@triton.jit
def gradient_of_log_decay(of_D, of_gamma, of_c, of_gamma_C, C: tl.constexpr):
    """Gather what reaches each log decay j: D_ts for s < j <= t, gamma_t for t >= j, c_s for s < j, and gamma_C.

    The arguments are gradients times what they are gradients of.
    """
    o_C = tl.arange(0, C)
    row, column = o_C[:, None], o_C[None, :]
    M = tl.cumsum(of_D, axis=0, reverse=True)
    gathered = tl.sum(tl.where(row > column, M + of_c[None, :], 0.0), axis=1)
    return gathered + tl.sum(tl.where(row <= column, of_gamma[None, :], 0.0), axis=1) + of_gamma_C


@triton.jit(do_not_specialize=["scale", "seq_len"])
def backward(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_d_out, p_d_after, p_starts,
    p_d_q, p_d_k, p_d_v, p_d_log_decay, p_d_beta, p_d_state, scale, seq_len, n_heads, group, s_part,
    s_qb, s_qt, s_qh, s_kb, s_kt, s_kh, s_vb, s_vt, s_vh, s_ab, s_at, s_ah, s_bb, s_bt, s_bh, s_mb, s_mt,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, SWEEP: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Differentiate ``forward``, for BLOCKS blocks of value channels one after the other.

    With more than one chunk (SWEEP) it reads forward once more and leaves the states before the chunks, the first excepted, in
    starts [B, H, chunks - 1, K, V]: memory that lives as long as the launch. d_out and all gradients are contiguous; those of q,
    k, log_decay and beta have one part a program of a head, s_part tokens and heads apart. Between chunks dS waits in d_state.
    """
    OPERAND: tl.constexpr = p_v.dtype.element_ty
    N_V: tl.constexpr = (V + BV * BLOCKS - 1) // (BV * BLOCKS)
    i_n = (tl.program_id(0) // N_V).to(tl.int64)
    i_v = tl.program_id(0) % N_V
    i_b, i_h = i_n // n_heads, i_n % n_heads
    o_C = tl.arange(0, C)
    o_k, o_first = tl.arange(0, BK), i_v * BLOCKS * BV + tl.arange(0, BV)
    p_q, p_k, p_v, p_log_decay, p_beta, p_valid = of_head(
        p_q, p_k, p_v, p_log_decay, p_beta, p_valid, i_b, i_h, group,
        s_qb, s_qh, s_kb, s_kh, s_vb, s_vh, s_ab, s_ah, s_bb, s_bh, s_mb,
    )  # fmt: skip
    first = i_b * seq_len * n_heads + i_h
    p_d_out += first * V
    p_d_v += first * V
    first += i_v * (s_part + tl.zeros([], tl.int64))
    p_d_q += first * K
    p_d_k += first * K
    p_d_log_decay += first
    p_d_beta += first
    p_state += i_n * K * V
    p_d_after += i_n * K * V
    p_d_state += i_n * K * V
    n_chunks = (seq_len + C - 1) // C
    p_starts += i_n * (n_chunks - 1) * K * V

    if SWEEP:
        leave_states(
            p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_starts, s_kt, s_vt, s_at, s_bt, s_mt, n_chunks, seq_len,
            o_k, o_first, K, V, BV, C, MASKED, PRECISION, BLOCKS,
        )  # fmt: skip
    for i_back in range(n_chunks):
        i_c = n_chunks - 1 - i_back
        start = i_c * C
        inside, m_t, k, log_decay, beta = load_chunk(
            p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, K, C, MASKED
        )
        q = load_rows(at(p_q, start, s_qt), s_qt, m_t, o_k, K, C)
        D, gamma, c, gamma_C = decays(log_decay, C)
        overlap, A, T = within_chunk(k, beta, D, C, OPERAND, PRECISION)
        P = scale * product(q, tl.trans(k), OPERAND, PRECISION) * D

        d_A, d_P = tl.zeros([C, C], tl.float32), tl.zeros([C, C], tl.float32)
        d_q, d_k = tl.zeros([C, BK], tl.float32), tl.zeros([C, BK], tl.float32)
        d_beta, d_gamma, r = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
        d_gamma_C = 0.0
        for i_block in range(BLOCKS):
            o_v = o_first + i_block * BV
            o_vk, m_vk = o_k[None, :] * V + o_v[:, None], (o_k < K)[None, :] & (o_v < V)[:, None]
            v = load_rows(at(p_v, start, s_vt), s_vt, m_t, o_v, V, C)
            d_O = load_rows(at(p_d_out, start, n_heads * V), n_heads * V, m_t, o_v, V, C)
            R = load_state(p_state, p_starts, i_c, o_vk, m_vk, K * V)
            if i_back == 0:
                d_R = tl.load(p_d_after + o_vk, mask=m_vk, other=0.0)
            else:
                d_R = tl.load(p_d_state + o_vk, mask=m_vk, other=0.0)
            found, E, U = corrected_values(k, v, beta, gamma, T, R, OPERAND, PRECISION)

            reached = c[:, None] * product(k, tl.trans(d_R.to(OPERAND)), OPERAND, PRECISION)
            d_U = product(tl.trans(P.to(OPERAND)), d_O, OPERAND, PRECISION) + reached
            X = tl.dot(tl.trans(T), d_U, input_precision="ieee")
            store_rows(at(p_d_v, start, n_heads * V), n_heads * V, inside, o_v, V, C, beta[:, None] * X)
            d_A -= product(X, tl.trans(U.to(OPERAND)), OPERAND, PRECISION)
            d_P += product(d_O, tl.trans(U.to(OPERAND)), OPERAND, PRECISION)
            asked_by = scale * gamma[:, None] * d_O.to(tl.float32)
            found_by = beta[:, None] * gamma[:, None] * X
            d_q += product(asked_by, R, OPERAND, PRECISION)
            d_k += product(c[:, None] * U, d_R, OPERAND, PRECISION) - product(found_by, R, OPERAND, PRECISION)
            d_beta += tl.sum(X * E, axis=1)
            d_gamma -= tl.sum(found_by * found, axis=1)
            r += tl.sum(reached * U, axis=1)
            d_gamma_C += gamma_C * tl.sum(tl.sum(d_R * R, axis=1), axis=0)
            d_R = gamma_C * d_R + product(tl.trans(asked_by.to(OPERAND)), q, OPERAND, PRECISION)
            d_R -= product(tl.trans(found_by.to(OPERAND)), k, OPERAND, PRECISION)
            tl.store(p_d_state + o_vk, d_R, mask=m_vk)

        d_A = tl.where(o_C[:, None] > o_C[None, :], d_A, 0.0)
        d_beta += tl.sum(d_A * overlap, axis=1)
        # rowsum(dO (Q S)) = rowsum(Q (dO S^T)): that product is there already.
        d_gamma += tl.sum(q.to(tl.float32) * d_q, axis=1)
        d_log_decay = gradient_of_log_decay(d_A * A + d_P * P, d_gamma, r, d_gamma_C, C)
        B1 = beta[:, None] * d_A * D
        B2 = scale * d_P * D
        d_q += product(B2, k, OPERAND, PRECISION)
        d_k += product(B1 + tl.trans(B1), k, OPERAND, PRECISION) + product(tl.trans(B2.to(OPERAND)), q, OPERAND, PRECISION)
        store_rows(at(p_d_q, start, n_heads * K), n_heads * K, inside, o_k, K, C, d_q)
        store_rows(at(p_d_k, start, n_heads * K), n_heads * K, inside, o_k, K, C, d_k)
        store_scalars(at(p_d_log_decay, start, n_heads), n_heads, inside, C, tl.where(m_t, d_log_decay, 0.0))
        store_scalars(at(p_d_beta, start, n_heads), n_heads, inside, C, d_beta)
        tl.debug_barrier()


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
