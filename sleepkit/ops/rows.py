"""What a block does to one token at a time: norms, with gate or rotary positions, and squared ReLU.

On a CPU with a C compiler each is one sweep over memory each way (kernels/rows.c), and so is the gated norm on a GPU
(kernels/device/norm.py); elsewhere, and where a tensor is so small that
the call would cost more, it is the formula in torch. Axes: B batch, T token, H head, D head channel, V value channel, E channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit.errors import require
from sleepkit.kernels import rows, triton_norm, triton_support
from sleepkit.ops.attention import Rotation, rotary

_BY_TOKEN, _BY_HEAD = 3, 4


def rms_norm(x_BTE: Tensor, weight_E: Tensor, *, eps: float) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) times the weight (arXiv 1910.07467), over the last axis."""
    if _rows_fit(x_BTE, weight_E) and rows.serves(x_BTE, weight_E):
        return rows.normalise(x_BTE.unsqueeze(2), weight_E.unsqueeze(0), scale=1 / x_BTE.shape[-1], eps=eps).squeeze(2)
    return F.rms_norm(x_BTE, (x_BTE.shape[-1],), weight_E, eps)


def gated_rms_norm(x_BTHV: Tensor, gate_BTE: Tensor, weight_V: Tensor, *, eps: float) -> Tensor:
    """Return RMSNorm(x) SiLU(gate) as [B, T, H V], the norm over each head's own channels (arXiv 2412.06464)."""
    fits = x_BTHV.ndim == _BY_HEAD and weight_V.shape == x_BTHV.shape[3:] and gate_BTE.shape == _side_by_side(x_BTHV)
    if fits and triton_support.serves(x_BTHV, gate_BTE, weight_V):
        return triton_norm.gated_rms_norm(x_BTHV, gate_BTE, weight_V, eps=eps)
    if fits and rows.serves(x_BTHV, gate_BTE, weight_V):
        scale = 1 / x_BTHV.shape[-1]
        return rows.normalise(x_BTHV, weight_V.unsqueeze(0), scale=scale, eps=eps, gate_BTE=gate_BTE).flatten(2)
    return F.rms_norm(x_BTHV, (x_BTHV.shape[-1],), weight_V, eps).flatten(2) * F.silu(gate_BTE)


def rotary_rms_norm(x_BTHD: Tensor, weight_ND: Tensor, angles: Rotation, *, eps: float) -> Tensor:
    """Return rotary(RMSNorm(x)); N rows of weights serve equal runs of heads (queries and keys side by side: two rows)."""
    n_heads, head_dim = x_BTHD.shape[2:]
    divides = weight_ND.shape[0] > 0 and n_heads % weight_ND.shape[0] == 0
    require(divides, "weight", f"must have rows that divide the {n_heads} heads", tuple(weight_ND.shape))
    turned = (x_BTHD.shape[1], 1, 1, head_dim // 2), (x_BTHD.shape[1], 1, 2, head_dim // 2)
    fits = weight_ND.ndim == 2 and weight_ND.shape[1] == head_dim and (angles.cos.shape, angles.sin.shape) == turned
    if fits and rows.serves(x_BTHD, weight_ND, *angles):
        turns = angles.cos[:, 0, 0].contiguous(), angles.sin[:, 0, 1].contiguous()
        return rows.normalise(x_BTHD, weight_ND, scale=1 / head_dim, eps=eps, angles=turns)
    weight = weight_ND.repeat_interleave(n_heads // weight_ND.shape[0], dim=0)
    return rotary(F.rms_norm(x_BTHD, (head_dim,), eps=eps) * weight, angles)


def unit_length(x_BTHK: Tensor, *, eps: float) -> Tensor:
    """Return x / sqrt(|x|^2 + eps), at least fp32."""
    wide = x_BTHK if x_BTHK.dtype == torch.float64 else x_BTHK.float()
    if wide.ndim == _BY_HEAD and rows.serves(wide):
        return rows.normalise(wide, None, scale=1.0, eps=eps)
    return wide * torch.rsqrt(wide.square().sum(dim=-1, keepdim=True) + eps)


def relu_square(x: Tensor) -> Tensor:
    """Return relu(x)^2 (arXiv 2109.08668)."""
    return rows.relu_square(x) if rows.serves(x) else F.relu(x).square()


def _rows_fit(x_BTE: Tensor, weight_E: Tensor) -> bool:
    return x_BTE.ndim == _BY_TOKEN and weight_E.shape == x_BTE.shape[2:]


def _side_by_side(x_BTHV: Tensor) -> tuple[int, int, int]:
    batch, seq_len, heads, channels = x_BTHV.shape
    return batch, seq_len, heads * channels
