"""The depthwise causal short convolution with SiLU on a GPU: y_t = silu(sum_i w_i x_(t - W + 1 + i)), a tail before the first x.

Taps are the same for all tokens, [W, E]: neighbouring channels are neighbours in memory. Or each token brings its own (DYNAMIC,
w_(t, i)), [B, T, E, W]. A program owns a block of channels and a run of tokens of one sequence. The gradient of taps that all
tokens share is a sum over all tokens: each program writes its own part, and the parts are added in an order that never changes.
"""

import triton
import triton.language as tl


@triton.jit
def load_inputs(p_x, p_tail, s_xt, o_t, seq_len, o_e, m_e, n_channels, TAPS: tl.constexpr, TAIL: tl.constexpr):
    """Load x at tokens that may lie before the first, where the tail or zeros stand; fp32."""
    inside = (o_t >= 0) & (o_t < seq_len)
    x = tl.load(p_x + o_t[:, None] * s_xt + o_e[None, :], mask=inside[:, None] & m_e[None, :], other=0.0).to(tl.float32)
    if TAIL:
        o_tail = o_t + (TAPS - 1)
        before = (o_t < 0) & (o_tail >= 0)
        p_before = p_tail + o_tail[:, None] * n_channels + o_e[None, :]
        x += tl.load(p_before, mask=before[:, None] & m_e[None, :], other=0.0).to(tl.float32)
    return x


@triton.jit
def load_taps(p_weight, tap, o_t, seq_len, o_e, m_e, n_channels, TAPS: tl.constexpr, DYNAMIC: tl.constexpr):
    """Load one tap of every channel, for tokens o_t of one sequence, [tokens or 1, channels]; fp32."""
    if DYNAMIC:
        m_w = ((o_t >= 0) & (o_t < seq_len))[:, None] & m_e[None, :]
        w = tl.load(p_weight + (o_t[:, None] * n_channels + o_e[None, :]) * TAPS + tap, mask=m_w, other=0.0)
    else:
        w = tl.load(p_weight + tap * n_channels + o_e, mask=m_e, other=0.0)[None, :]
    return w.to(tl.float32)


@triton.jit
def convolved(
    p_x, p_tail, p_weight, s_xt, o_t, seq_len, o_e, m_e, n_channels, BT: tl.constexpr, BE: tl.constexpr,
    TAPS: tl.constexpr, TAIL: tl.constexpr, DYNAMIC: tl.constexpr,
):  # fmt: skip
    """Return the convolution at tokens o_t, before SiLU, fp32."""
    y = tl.zeros([BT, BE], tl.float32)
    for tap in tl.static_range(TAPS):
        w = load_taps(p_weight, tap, o_t, seq_len, o_e, m_e, n_channels, TAPS, DYNAMIC)
        y += w * load_inputs(p_x, p_tail, s_xt, o_t - (TAPS - 1 - tap), seq_len, o_e, m_e, n_channels, TAPS, TAIL)
    return y


@triton.jit(do_not_specialize=["seq_len"])
def forward(
    p_x, p_tail, p_weight, p_out, s_xb, s_xt, seq_len, n_channels, n_runs,
    TAPS: tl.constexpr, BT: tl.constexpr, BE: tl.constexpr, SILU: tl.constexpr, TAIL: tl.constexpr,
    DYNAMIC: tl.constexpr,
):  # fmt: skip
    """Convolve a run of tokens. Out and tail are contiguous."""
    n_blocks = (n_channels + BE - 1) // BE
    i_e, i_run = tl.program_id(0) % n_blocks, tl.program_id(0) // n_blocks % n_runs
    i_b = (tl.program_id(0) // n_blocks // n_runs).to(tl.int64)
    o_e, o_t = i_e * BE + tl.arange(0, BE), i_run * BT + tl.arange(0, BT)
    m_e = o_e < n_channels
    p_tail += i_b * (TAPS - 1) * n_channels
    if DYNAMIC:
        p_weight += i_b * seq_len * n_channels * TAPS
    y = convolved(p_x + i_b * s_xb, p_tail, p_weight, s_xt, o_t, seq_len, o_e, m_e, n_channels, BT, BE, TAPS, TAIL, DYNAMIC)
    if SILU:
        y *= tl.sigmoid(y)
    p_y = p_out + i_b * seq_len * n_channels + o_t[:, None] * n_channels + o_e[None, :]
    tl.store(p_y, y.to(p_out.dtype.element_ty), mask=(o_t < seq_len)[:, None] & m_e[None, :])


@triton.jit
def gradient_before_silu(
    p_x, p_tail, p_weight, p_d_out, s_xt, o_t, seq_len, o_e, m_e, n_channels, BT: tl.constexpr, BE: tl.constexpr,
    TAPS: tl.constexpr, SILU: tl.constexpr, TAIL: tl.constexpr,
    DYNAMIC: tl.constexpr,
):  # fmt: skip
    """Return the gradient of the convolution's own result at tokens o_t, 0 outside the sequence."""
    m_y = ((o_t >= 0) & (o_t < seq_len))[:, None] & m_e[None, :]
    d_y = tl.load(p_d_out + o_t[:, None] * n_channels + o_e[None, :], mask=m_y, other=0.0).to(tl.float32)
    if SILU:
        y = convolved(p_x, p_tail, p_weight, s_xt, o_t, seq_len, o_e, m_e, n_channels, BT, BE, TAPS, TAIL, DYNAMIC)
        gate = tl.sigmoid(y)
        d_y *= gate * (1.0 + y * (1.0 - gate))
    return d_y


@triton.jit(do_not_specialize=["seq_len"])
def backward(
    p_x, p_tail, p_weight, p_d_out, p_d_x, p_d_tail, p_d_weight, s_xb, s_xt, seq_len, n_channels, n_runs,
    TAPS: tl.constexpr, BT: tl.constexpr, BE: tl.constexpr, SILU: tl.constexpr, TAIL: tl.constexpr,
    DYNAMIC: tl.constexpr,
):  # fmt: skip
    """Differentiate ``forward``: dx_t = sum_i w_i dy_(t + W - 1 - i), dw_i = sum_t dy_t x_(t - W + 1 + i).

    Parts of the taps' gradient are [sequences x runs, W, E]. With taps of its own for each token, w_i is theirs, and its
    gradient one product and no sum.
    """
    n_blocks = (n_channels + BE - 1) // BE
    i_e, i_run = tl.program_id(0) % n_blocks, tl.program_id(0) // n_blocks % n_runs
    i_part = (tl.program_id(0) // n_blocks).to(tl.int64)
    i_b = i_part // n_runs
    o_e, o_t = i_e * BE + tl.arange(0, BE), i_run * BT + tl.arange(0, BT)
    m_e = o_e < n_channels
    p_x += i_b * s_xb
    p_tail += i_b * (TAPS - 1) * n_channels
    p_d_out += i_b * seq_len * n_channels
    if DYNAMIC:
        p_weight += i_b * seq_len * n_channels * TAPS
        p_d_weight += i_b * seq_len * n_channels * TAPS
    d_x = tl.zeros([BT, BE], tl.float32)
    for ahead in tl.static_range(TAPS):
        d_y = gradient_before_silu(
            p_x, p_tail, p_weight, p_d_out, s_xt, o_t + ahead, seq_len, o_e, m_e, n_channels, BT, BE, TAPS, SILU, TAIL,
            DYNAMIC,
        )  # fmt: skip
        d_x += load_taps(p_weight, TAPS - 1 - ahead, o_t + ahead, seq_len, o_e, m_e, n_channels, TAPS, DYNAMIC) * d_y
        if ahead == 0:
            for tap in tl.static_range(TAPS):
                x = load_inputs(p_x, p_tail, s_xt, o_t - (TAPS - 1 - tap), seq_len, o_e, m_e, n_channels, TAPS, TAIL)
                if DYNAMIC:
                    p_d_w = p_d_weight + (o_t[:, None] * n_channels + o_e[None, :]) * TAPS + tap
                    d_w = (d_y * x).to(p_d_weight.dtype.element_ty)
                    tl.store(p_d_w, d_w, mask=(o_t < seq_len)[:, None] & m_e[None, :])
                else:
                    tl.store(p_d_weight + (i_part * TAPS + tap) * n_channels + o_e, tl.sum(d_y * x, axis=0), mask=m_e)
    p_d = p_d_x + i_b * seq_len * n_channels + o_t[:, None] * n_channels + o_e[None, :]
    tl.store(p_d, d_x.to(p_d_x.dtype.element_ty), mask=(o_t < seq_len)[:, None] & m_e[None, :])
    if TAIL and i_run == 0:
        d_y = gradient_before_silu(
            p_x, p_tail, p_weight, p_d_out, s_xt, o_t, seq_len, o_e, m_e, n_channels, BT, BE, TAPS, SILU, TAIL,
            DYNAMIC,
        )  # fmt: skip
        for back in tl.static_range(1, TAPS):
            # Input -back reaches output t through tap W - 1 - back - t.
            d_tail = tl.zeros([BE], tl.float32)
            for tap in tl.static_range(TAPS - back):
                w = load_taps(p_weight, tap, o_t, seq_len, o_e, m_e, n_channels, TAPS, DYNAMIC)
                d_tail += tl.sum(tl.where((o_t == TAPS - 1 - back - tap)[:, None], w * d_y, 0.0), axis=0)
            p_before = p_d_tail + (i_b * (TAPS - 1) + TAPS - 1 - back) * n_channels + o_e
            tl.store(p_before, d_tail.to(p_d_tail.dtype.element_ty), mask=m_e)
