"""Gated RMSNorm on a GPU: y = x r w silu(g), r = (mean(x^2) + eps)^-1/2 over the V channels of each head.

With n = x r and h = silu(g):

    dw = sum dy n h,   dg = dy n w silu'(g),   a = dy w h,   dx = r (a - n mean(a n))

A row is one head of one token. The gradient of the weight is a sum over all rows: each program writes its own part.
"""

import triton
import triton.language as tl


@triton.jit
def load_rows(p, s_t, s_h, i_row, m_row, n_heads, o_v, m_v):
    """Load a tile [rows, V] in fp32; tokens are evenly spaced."""
    o_row = (i_row // n_heads) * s_t + (i_row % n_heads) * s_h
    return tl.load(p + o_row[:, None] + o_v[None, :], mask=m_row[:, None] & m_v[None, :], other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["eps", "n_rows"])
def forward(
    p_x, p_gate, p_weight, p_out, eps, n_rows, n_heads, s_xt, s_xh, s_gt,
    V: tl.constexpr, BV: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Normalise rows. Out is contiguous."""
    i_row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o_v = tl.arange(0, BV)
    m_row, m_v = i_row < n_rows, o_v < V
    x = load_rows(p_x, s_xt, s_xh, i_row, m_row, n_heads, o_v, m_v)
    g = load_rows(p_gate, s_gt, V, i_row, m_row, n_heads, o_v, m_v)
    w = tl.load(p_weight + o_v, mask=m_v, other=0.0).to(tl.float32)
    r = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / V + eps)
    y = x * r[:, None] * w[None, :] * g * tl.sigmoid(g)
    tl.store(p_out + i_row[:, None] * V + o_v[None, :], y.to(p_out.dtype.element_ty), mask=m_row[:, None] & m_v[None, :])


@triton.jit(do_not_specialize=["eps", "n_rows", "n_tiles"])
def backward(
    p_x, p_gate, p_weight, p_d_out, p_d_x, p_d_gate, p_d_weight_parts, eps, n_rows, n_tiles, n_heads, s_xt, s_xh, s_gt,
    V: tl.constexpr, BV: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Differentiate ``forward`` for n_tiles tiles of rows. d_out and the gradients are contiguous; parts are [programs, V]."""
    o_v = tl.arange(0, BV)
    m_v = o_v < V
    w = tl.load(p_weight + o_v, mask=m_v, other=0.0).to(tl.float32)
    d_w = tl.zeros([BV], tl.float32)
    for i_tile in range(n_tiles):
        i_row = (tl.program_id(0).to(tl.int64) * n_tiles + i_tile) * ROWS + tl.arange(0, ROWS)
        m_row = i_row < n_rows
        o_x, m_x = i_row[:, None] * V + o_v[None, :], m_row[:, None] & m_v[None, :]
        x = load_rows(p_x, s_xt, s_xh, i_row, m_row, n_heads, o_v, m_v)
        g = load_rows(p_gate, s_gt, V, i_row, m_row, n_heads, o_v, m_v)
        d_y = tl.load(p_d_out + o_x, mask=m_x, other=0.0).to(tl.float32)
        r = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / V + eps)
        n, s = x * r[:, None], tl.sigmoid(g)
        d_w += tl.sum(d_y * n * g * s, axis=0)
        d_g = d_y * n * w[None, :] * s * (1.0 + g * (1.0 - s))
        a = d_y * w[None, :] * g * s
        d_x = r[:, None] * (a - n * (tl.sum(a * n, axis=1) / V)[:, None])
        tl.store(p_d_x + o_x, d_x.to(p_d_x.dtype.element_ty), mask=m_x)
        tl.store(p_d_gate + o_x, d_g.to(p_d_gate.dtype.element_ty), mask=m_x)
    tl.store(p_d_weight_parts + tl.program_id(0) * V + o_v, d_w, mask=m_v)
