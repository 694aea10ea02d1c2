"""What is done to one chunk of tokens on a GPU: loads, gates, the inverse of I + A, and the sums that make its state.

The names are those of sleepkit/kernels/chunked.py; R is S^T, [V, K].

A RAW chunk is given as the projections of the layer have it, before its activations (arXiv 2412.06464):

    q = x r, k = y r with r = (|x|^2 + eps)^-1/2,   log_decay = -rate softplus(a + bias),   beta = beta_scale sigmoid(b)

and its gradients go on to those:

    dx = r (dq - q (q . dq)),   da = -rate sigmoid(a + bias) dlog_decay,   db = dbeta beta (1 - beta / beta_scale)
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
def softplus(x):
    """Return log(1 + e^x), right to the last digits also where it is small: log(1 + y) = 2 atanh(y / (2 + y))."""
    y = tl.exp(-tl.abs(x))
    z = y / (2.0 + y)
    s = z * z
    series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13 + s * (1 / 15)))))))
    return tl.maximum(x, 0.0) + 2.0 * z * series


@triton.jit
def sigmoid(x):
    """Return 1 / (1 + e^-x)."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def inverse_length(x, eps):
    """Return (|x|^2 + eps)^-1/2 of every row in fp32, as a column."""
    wide = x.to(tl.float32)
    return (1.0 / tl.sqrt(tl.sum(wide * wide, axis=1) + eps))[:, None]


@triton.jit
def unit_rows(x, eps, OPERAND: tl.constexpr):
    """Return rows of unit length, as operands."""
    return (x.to(tl.float32) * inverse_length(x, eps)).to(OPERAND)


@triton.jit
def gradient_of_unit_rows(x, d_unit, eps):
    """Return the gradient of rows x from that of ``unit_rows(x)``."""
    r = inverse_length(x, eps)
    y = x.to(tl.float32) * r
    return r * (d_unit - y * tl.sum(y * d_unit, axis=1)[:, None])


@triton.jit
def rate_and_bias(p_A_log, p_dt_bias, i_h, RAW: tl.constexpr):
    """Return e^A_log and dt_bias of a head; nothing of use unless RAW."""
    rate, bias = 0.0, 0.0
    if RAW:
        rate = tl.exp(tl.load(p_A_log + i_h))
        bias = tl.load(p_dt_bias + i_h)
    return rate, bias


@triton.jit
def load_chunk(
    p_k, p_log_decay, p_beta, p_valid, s_kt, s_at, s_bt, s_mt, start, seq_len, o_k, rate, bias, beta_scale, eps,
    K: tl.constexpr, C: tl.constexpr, OPERAND: tl.constexpr, MASKED: tl.constexpr, RAW: tl.constexpr,
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
    if RAW:
        k = unit_rows(k, eps, OPERAND)
        log_decay = tl.where(m_t, -rate * softplus(log_decay + bias), 0.0)
        beta = tl.where(m_t, beta_scale * sigmoid(beta), 0.0)
    return inside, m_t, k, log_decay, beta


@triton.jit
def load_queries(p_q, s_qt, start, m_t, o_k, eps, K: tl.constexpr, C: tl.constexpr, OPERAND: tl.constexpr, RAW: tl.constexpr):
    """Load the queries of a chunk."""
    q = load_rows(at(p_q, start, s_qt), s_qt, m_t, o_k, K, C)
    if RAW:
        q = unit_rows(q, eps, OPERAND)
    return q


@triton.jit
def load_state(p_state, p_starts, i_c, o_vk, m_vk, SIZE: tl.constexpr):
    """Load S^T before a chunk."""
    if i_c == 0:
        R = tl.load(p_state + o_vk, mask=m_vk, other=0.0)
    else:
        R = tl.load(p_starts + (i_c - 1) * SIZE + o_vk, mask=m_vk, other=0.0)
    return R


@triton.jit
def within_chunk(k, beta, D, C: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr, DELTA: tl.constexpr):
    """Return K K^T D, A and T = (I + A)^-1 of a chunk: what depends on no value. Without the delta rule nobody asks for them."""
    overlap, A, T = D, D, D
    if DELTA:
        o_C = tl.arange(0, C)
        overlap = product(k, tl.trans(k), OPERAND, PRECISION) * D
        A = tl.where(o_C[:, None] > o_C[None, :], beta[:, None] * overlap, 0.0)
        T = unit_lower_inverse(A, C)
    return overlap, A, T


@triton.jit
def corrected_values(k, v, beta, gamma, T, R, OPERAND: tl.constexpr, PRECISION: tl.constexpr, DELTA: tl.constexpr):
    """Return K S, E and U of a chunk; R is S^T. Without the delta rule E are the values, and U = beta E."""
    E = v.to(tl.float32)
    found, U = E, beta[:, None] * E
    if DELTA:
        found = product(k, tl.trans(R.to(OPERAND)), OPERAND, PRECISION)
        E -= gamma[:, None] * found
        U = tl.dot(T, beta[:, None] * E, input_precision="ieee")
    return found, E, U


@triton.jit
def state_after(k, c, gamma_C, U, R, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Return S'^T."""
    return gamma_C * R + product(tl.trans((c[:, None] * U).to(OPERAND)), k, OPERAND, PRECISION)


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


@triton.jit
def gradients_within_chunk(
    q, k, beta, D, A, P, overlap, d_A, d_P, d_q, d_k, d_beta, d_gamma, r, d_gamma_C, scale,
    C: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr, DELTA: tl.constexpr,
):  # fmt: skip
    """Finish the gradients of q, k, log_decay and beta once all value channels have added to those of A, P and the decays."""
    through = d_P * P
    if DELTA:
        o_C = tl.arange(0, C)
        d_A = tl.where(o_C[:, None] > o_C[None, :], d_A, 0.0)
        d_beta += tl.sum(d_A * overlap, axis=1)
        through += d_A * A
    # rowsum(dO (Q S)) = rowsum(Q (dO S^T)): that product is there already.
    d_gamma += tl.sum(q.to(tl.float32) * d_q, axis=1)
    d_log_decay = gradient_of_log_decay(through, d_gamma, r, d_gamma_C, C)
    B2 = scale * d_P * D
    d_q += product(B2, k, OPERAND, PRECISION)
    d_k += product(tl.trans(B2.to(OPERAND)), q, OPERAND, PRECISION)
    if DELTA:
        B1 = beta[:, None] * d_A * D
        d_k += product(B1 + tl.trans(B1), k, OPERAND, PRECISION)
    return d_q, d_k, d_log_decay, d_beta
