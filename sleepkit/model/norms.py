"""Norms of a block: the operation that stands for ``nn.RMSNorm``, or the module where it is hooked, exchanged or replaced.

Axes: B batch, T token, E channel, H head, D head channel, V value channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.door import plain_norm


def normed(h_BTE: Tensor, norm: nn.Module) -> Tensor:
    """Return Norm h."""
    if not plain_norm(norm, h_BTE.shape[-1]):
        return norm(h_BTE)  # type: ignore[no-any-return]
    return ops.rms_norm(h_BTE, norm.weight, eps=norm.eps)  # type: ignore[arg-type]


def gated_normed(x_BTHV: Tensor, gate_BTE: Tensor, norm: nn.Module) -> Tensor:
    """Return Norm(x) SiLU(gate) as [B, T, H V], the norm over each head's own channels."""
    if not plain_norm(norm, x_BTHV.shape[-1]):
        return norm(x_BTHV).flatten(2) * F.silu(gate_BTE)  # type: ignore[no-any-return]
    return ops.gated_rms_norm(x_BTHV, gate_BTE, norm.weight, eps=norm.eps)  # type: ignore[arg-type]


def rotary_normed(
    both_BTHD: Tensor, n_queries: int, query_norm: nn.Module, key_norm: nn.Module, angles: ops.Rotation
) -> tuple[Tensor, Tensor]:
    """Return rotary(Norm q) and rotary(Norm k) of heads of queries and, after those, of keys, each by its own norm."""
    n_keys, channels = both_BTHD.shape[2] - n_queries, both_BTHD.shape[3]
    if not (plain_norm(query_norm, channels) and plain_norm(key_norm, channels) and _agree(query_norm, key_norm)):
        query, key = torch.split(both_BTHD, [n_queries, n_keys], dim=2)
        return ops.rotary(query_norm(query), angles), ops.rotary(key_norm(key), angles)
    weights = torch.stack((*[query_norm.weight] * (n_queries // n_keys), key_norm.weight))  # type: ignore[arg-type]
    turned = ops.rotary_rms_norm(both_BTHD, weights, angles, eps=query_norm.eps)  # type: ignore[arg-type]
    query, key = torch.split(turned, [n_queries, n_keys], dim=2)
    return query, key


def _agree(query_norm: nn.Module, key_norm: nn.Module) -> bool:
    query, key = query_norm.weight, key_norm.weight
    return query_norm.eps == key_norm.eps and query.dtype == key.dtype and query.shape == key.shape
