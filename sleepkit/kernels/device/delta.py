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

Without DELTA the write is a gated outer product, u = beta v (Lee et al. 2026, Eq. 3): A = 0 and U = beta V, nothing else changes.
Other products take operands in the dtype of v (fp32 ones as ``PRECISION`` says) and sum in fp32.
"""

import triton
import triton.language as tl

from sleepkit.kernels.device.chunk import (
    at,
    corrected_values,
    decays,
    gradient_of_unit_rows,
    gradients_within_chunk,
    load_chunk,
    load_queries,
    load_rows,
    load_state,
    of_head,
    product,
    rate_and_bias,
    sigmoid,
    softplus,
    state_after,
    store_rows,
    store_scalars,
    within_chunk,
)


@triton.jit(do_not_specialize=["scale", "beta_scale", "eps", "seq_len"])
def forward(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_A_log, p_dt_bias, p_out, p_after,
    scale, beta_scale, eps, seq_len, n_heads, group,
    s_qb, s_qt, s_qh, s_kb, s_kt, s_kh, s_vb, s_vt, s_vh, s_ab, s_at, s_ah, s_bb, s_bt, s_bh, s_mb, s_mt,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, RAW: tl.constexpr, DELTA: tl.constexpr, PRECISION: tl.constexpr,
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
    rate, bias = rate_and_bias(p_A_log, p_dt_bias, i_h, RAW)
    R = tl.load(p_state + i_n * K * V + o_vk, mask=m_vk, other=0.0)
    for start in range(0, seq_len, C):
        inside, m_t, k, log_decay, beta = load_chunk(
            p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, rate, bias, beta_scale, eps,
            K, C, OPERAND, MASKED, RAW,
        )  # fmt: skip
        v = load_rows(at(p_v, start, s_vt), s_vt, m_t, o_v, V, C)
        q = load_queries(p_q, s_qt, start, m_t, o_k, eps, K, C, OPERAND, RAW)
        D, gamma, c, gamma_C = decays(log_decay, C)
        _overlap, _A, T = within_chunk(k, beta, D, C, OPERAND, PRECISION, DELTA)
        _found, _E, U = corrected_values(k, v, beta, gamma, T, R, OPERAND, PRECISION, DELTA)
        P = scale * product(q, tl.trans(k), OPERAND, PRECISION) * D
        asked = product(q, tl.trans(R.to(OPERAND)), OPERAND, PRECISION)
        O = scale * gamma[:, None] * asked + product(P, U, OPERAND, PRECISION)  # noqa: E741
        store_rows(at(p_out, start, n_heads * V), n_heads * V, inside, o_v, V, C, O)
        R = state_after(k, c, gamma_C, U, R, OPERAND, PRECISION)
    tl.store(p_after + i_n * K * V + o_vk, R, mask=m_vk)


@triton.jit
def leave_states(
    p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_starts, s_kt, s_vt, s_at, s_bt, s_mt, n_chunks, seq_len, o_k, o_first,
    rate, bias, beta_scale, eps, K: tl.constexpr, V: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, RAW: tl.constexpr, DELTA: tl.constexpr, PRECISION: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Read forward and leave the state before every chunk but the first in starts."""
    OPERAND: tl.constexpr = p_v.dtype.element_ty
    for i_c in range(n_chunks - 1):
        start = i_c * C
        _inside, m_t, k, log_decay, beta = load_chunk(
            p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, rate, bias, beta_scale, eps,
            K, C, OPERAND, MASKED, RAW,
        )  # fmt: skip
        D, gamma, c, gamma_C = decays(log_decay, C)
        _overlap, _A, T = within_chunk(k, beta, D, C, OPERAND, PRECISION, DELTA)
        for i_block in range(BLOCKS):
            o_v = o_first + i_block * BV
            o_vk, m_vk = o_k[None, :] * V + o_v[:, None], (o_k < K)[None, :] & (o_v < V)[:, None]
            v = load_rows(at(p_v, start, s_vt), s_vt, m_t, o_v, V, C)
            R = load_state(p_state, p_starts, i_c, o_vk, m_vk, K * V)
            _found, _E, U = corrected_values(k, v, beta, gamma, T, R, OPERAND, PRECISION, DELTA)
            R = state_after(k, c, gamma_C, U, R, OPERAND, PRECISION)
            tl.store(p_starts + i_c * K * V + o_vk, R, mask=m_vk)
        # What a thread reads back may have been written by another.
        tl.debug_barrier()


@triton.jit(do_not_specialize=["scale", "beta_scale", "eps", "seq_len"])
def backward(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_A_log, p_dt_bias, p_d_out, p_d_after, p_starts,
    p_d_q, p_d_k, p_d_v, p_d_log_decay, p_d_beta, p_d_state, p_d_rates, scale, beta_scale, eps, seq_len, n_heads, group, s_part,
    s_qb, s_qt, s_qh, s_kb, s_kt, s_kh, s_vb, s_vt, s_vh, s_ab, s_at, s_ah, s_bb, s_bt, s_bh, s_mb, s_mt,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    MASKED: tl.constexpr, RAW: tl.constexpr, DELTA: tl.constexpr, PRECISION: tl.constexpr,
    SWEEP: tl.constexpr, BLOCKS: tl.constexpr,
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
    rate, bias = rate_and_bias(p_A_log, p_dt_bias, i_h, RAW)

    if SWEEP:
        leave_states(
            p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_starts, s_kt, s_vt, s_at, s_bt, s_mt, n_chunks, seq_len,
            o_k, o_first, rate, bias, beta_scale, eps, K, V, BV, C, MASKED, RAW, DELTA, PRECISION, BLOCKS,
        )  # fmt: skip
    d_A_log, d_bias = 0.0, 0.0
    for i_back in range(n_chunks):
        i_c = n_chunks - 1 - i_back
        start = i_c * C
        inside, m_t, k, log_decay, beta = load_chunk(
            p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, rate, bias, beta_scale, eps,
            K, C, OPERAND, MASKED, RAW,
        )  # fmt: skip
        q = load_queries(p_q, s_qt, start, m_t, o_k, eps, K, C, OPERAND, RAW)
        D, gamma, c, gamma_C = decays(log_decay, C)
        overlap, A, T = within_chunk(k, beta, D, C, OPERAND, PRECISION, DELTA)
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
            found, E, U = corrected_values(k, v, beta, gamma, T, R, OPERAND, PRECISION, DELTA)

            reached = c[:, None] * product(k, tl.trans(d_R.to(OPERAND)), OPERAND, PRECISION)
            d_U = product(tl.trans(P.to(OPERAND)), d_O, OPERAND, PRECISION) + reached
            X = d_U
            if DELTA:
                X = tl.dot(tl.trans(T), d_U, input_precision="ieee")
            store_rows(at(p_d_v, start, n_heads * V), n_heads * V, inside, o_v, V, C, beta[:, None] * X)
            d_P += product(d_O, tl.trans(U.to(OPERAND)), OPERAND, PRECISION)
            asked_by = scale * gamma[:, None] * d_O.to(tl.float32)
            d_q += product(asked_by, R, OPERAND, PRECISION)
            d_k += product(c[:, None] * U, d_R, OPERAND, PRECISION)
            d_beta += tl.sum(X * E, axis=1)
            r += tl.sum(reached * U, axis=1)
            d_gamma_C += gamma_C * tl.sum(tl.sum(d_R * R, axis=1), axis=0)
            d_R = gamma_C * d_R + product(tl.trans(asked_by.to(OPERAND)), q, OPERAND, PRECISION)
            if DELTA:
                found_by = beta[:, None] * gamma[:, None] * X
                d_A -= product(X, tl.trans(U.to(OPERAND)), OPERAND, PRECISION)
                d_k -= product(found_by, R, OPERAND, PRECISION)
                d_gamma -= tl.sum(found_by * found, axis=1)
                d_R -= product(tl.trans(found_by.to(OPERAND)), k, OPERAND, PRECISION)
            tl.store(p_d_state + o_vk, d_R, mask=m_vk)

        d_q, d_k, d_log_decay, d_beta = gradients_within_chunk(
            q, k, beta, D, A, P, overlap, d_A, d_P, d_q, d_k, d_beta, d_gamma, r, d_gamma_C, scale, C, OPERAND, PRECISION, DELTA
        )
        d_log_decay = tl.where(m_t, d_log_decay, 0.0)
        if RAW:
            d_q = gradient_of_unit_rows(load_rows(at(p_q, start, s_qt), s_qt, m_t, o_k, K, C), d_q, eps)
            d_k = gradient_of_unit_rows(load_rows(at(p_k, start, s_kt), s_kt, m_t, o_k, K, C), d_k, eps)
            d_A_log += tl.sum(d_log_decay * log_decay, axis=0)
            a = tl.load(at(p_log_decay, start, s_at) + o_C * s_at, mask=m_t, other=0.0).to(tl.float32)
            d_log_decay *= -rate * sigmoid(a + bias)
            d_bias += tl.sum(d_log_decay, axis=0)
            d_beta *= beta * (1.0 - beta / beta_scale)
        store_rows(at(p_d_q, start, n_heads * K), n_heads * K, inside, o_k, K, C, d_q)
        store_rows(at(p_d_k, start, n_heads * K), n_heads * K, inside, o_k, K, C, d_k)
        store_scalars(at(p_d_log_decay, start, n_heads), n_heads, inside, C, d_log_decay)
        store_scalars(at(p_d_beta, start, n_heads), n_heads, inside, C, d_beta)
        tl.debug_barrier()
    if RAW:
        tl.store(p_d_rates + tl.program_id(0), d_A_log)
        tl.store(p_d_rates + tl.num_programs(0) + tl.program_id(0), d_bias)


@triton.jit
def add_range(p_parts, p_sum, i_block, n, n_parts, group, W: tl.constexpr, BLOCK: tl.constexpr):
    """Add parts [n_parts, n / W, group, W] to sums [n / W, W], for a block of the n sums, in the order of the parts."""
    i = i_block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    p_part = p_parts + (i // W) * (group * W) + i % W
    total = tl.zeros([BLOCK], tl.float32)
    for _ in range(n_parts):
        for i_g in range(group):
            total += tl.load(p_part + i_g * W, mask=i < n, other=0.0)
        p_part += (n + tl.zeros([], tl.int64)) * group
    tl.store(p_sum + i, total.to(p_sum.dtype.element_ty), mask=i < n)


@triton.jit(do_not_specialize=["n_keys", "n_gates", "batch", "n_parts", "key_blocks", "gate_blocks"])
def add_parts(
    p_q_parts, p_k_parts, p_log_decay_parts, p_beta_parts, p_rate_parts,
    p_d_q, p_d_k, p_d_log_decay, p_d_beta, p_d_A_log, p_d_bias,
    n_keys, n_gates, batch, n_heads, n_parts, group, key_blocks, gate_blocks, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add what the programs of ``backward`` wrote in parts: blocks of q and of k, of log_decay and of beta, then rates by head.

    n_keys and n_gates count the numbers in a whole gradient of k and of beta; with no blocks of a kind nothing is added there.
    """
    i = tl.program_id(0)
    i_gate = i - 2 * key_blocks
    if i < key_blocks:
        add_range(p_q_parts, p_d_q, i, n_keys, n_parts, group, K, BLOCK)
    elif i < 2 * key_blocks:
        add_range(p_k_parts, p_d_k, i - key_blocks, n_keys, n_parts, group, K, BLOCK)
    elif i_gate < gate_blocks:
        add_range(p_log_decay_parts, p_d_log_decay, i_gate, n_gates, n_parts, 1, 1, BLOCK)
    elif i_gate < 2 * gate_blocks:
        add_range(p_beta_parts, p_d_beta, i_gate - gate_blocks, n_gates, n_parts, 1, 1, BLOCK)
    else:
        i_h = i_gate - 2 * gate_blocks
        d_A_log, d_bias = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
        for first in range(0, batch * n_parts, BLOCK):
            i_part = first + tl.arange(0, BLOCK)
            p_part = p_rate_parts + (i_part // n_parts * n_heads + i_h) * n_parts + i_part % n_parts
            d_A_log += tl.load(p_part, mask=i_part < batch * n_parts, other=0.0)
            d_bias += tl.load(p_part + batch * n_heads * n_parts, mask=i_part < batch * n_parts, other=0.0)
        tl.store(p_d_A_log + i_h, tl.sum(d_A_log, axis=0))
        tl.store(p_d_bias + i_h, tl.sum(d_bias, axis=0))


@triton.jit(do_not_specialize=["scale", "beta_scale", "eps"])
def step(
    p_q, p_k, p_v, p_log_decay, p_beta, p_state, p_valid, p_A_log, p_dt_bias, p_out, p_after,
    scale, beta_scale, eps, n_heads, group,
    s_qb, s_qh, s_kb, s_kh, s_vb, s_vh, s_ab, s_ah, s_bb, s_bh, s_mb,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    MASKED: tl.constexpr, RAW: tl.constexpr, DELTA: tl.constexpr,
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
    if RAW:
        rate, bias = rate_and_bias(p_A_log, p_dt_bias, i_h, RAW)
        q *= 1.0 / tl.sqrt(tl.sum(q * q, axis=0) + eps)
        k *= 1.0 / tl.sqrt(tl.sum(k * k, axis=0) + eps)
        log_decay = tl.where(counts, -rate * softplus(log_decay + bias), 0.0)
        beta = tl.where(counts, beta_scale * sigmoid(beta), 0.0)
    S = tl.exp(log_decay) * tl.load(p_state + i_n * K * V + o_kv, mask=m_kv, other=0.0)
    if DELTA:
        v -= tl.sum(k[:, None] * S, axis=0)
    u = beta * v
    S += k[:, None] * u[None, :]
    o = scale * tl.sum(q[:, None] * S, axis=0)
    tl.store(p_out + i_n * V + o_v, o.to(p_out.dtype.element_ty), mask=m_v)
    tl.store(p_after + i_n * K * V + o_kv, S, mask=m_kv)
