"""A whole block of the model over whole windows as one operation, where a kernel for that exists (a CPU with a C compiler).

Norm, mixer, residual, norm, MLP, residual: what a ``Block`` computes, differentiable in all that it reads. A call is prepared
first: that takes its tensors through the door in front of the kernel, or says why they do not pass.
Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

import torch
from torch import Tensor

from sleepkit.kernels import block as kernel
from sleepkit.kernels.block import BlockShape, BlockWeights, Prepared
from sleepkit.ops.attention import Rotation
from sleepkit.ops.masks import blanked

__all__ = ["BlockShape", "BlockWeights", "Prepared", "prepare_block", "run_block", "why_no_block"]

why_no_block = kernel.why_not_here
run_block = kernel.run


def prepare_block(
    h_BTE: Tensor,
    state_BHKV: Tensor | None,
    weights: BlockWeights,
    shape: BlockShape,
    *,
    angles: Rotation | None = None,
    valid_BT: Tensor | None = None,
    whole: bool = True,
) -> Prepared | str:
    """Return a call for ``run_block``, where ``why_no_block`` has nothing against one; or say why its tensors do not fit.

    Args:
        h_BTE: residual stream [B, T, E]; everything has its dtype.
        state_BHKV: fast weights before the window; None for softmax attention.
        weights: of the block; None where it has none, or where what is not ``whole`` reads none.
        shape: what the block is made of.
        angles: of the tokens' positions, for softmax attention.
        valid_BT: False marks padding, boolean: read as 0, whatever lies there (NaN too).
        whole: False wants the fast weights and nothing else.
    """
    turns = None if angles is None else (angles.cos[:, 0, 0], angles.sin[:, 0, 1])
    if valid_BT is not None and valid_BT.dtype == torch.bool and valid_BT.shape == h_BTE.shape[:2]:
        h_BTE = blanked(h_BTE, valid_BT)
    return kernel.prepare(h_BTE, state_BHKV, weights, shape, whole=whole, angles=turns, valid_BT=valid_BT)
