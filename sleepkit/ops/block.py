"""A whole block of the model over whole windows as one operation, where a kernel for that exists (a CPU with a C compiler).

Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sleepkit.kernels import block as kernel
from sleepkit.kernels.block import BlockShape
from sleepkit.ops.attention import Rotation

__all__ = ["BlockShape", "fused_block", "fused_block_serves"]


def fused_block_serves(h_BTE: Tensor) -> bool:
    """Say whether ``fused_block`` runs for a residual stream: on this device, in this dtype, over a window of this length.

    Never while a graph is traced or under autocast, which are about the operations inside.
    """
    watched = torch.compiler.is_compiling() or torch.is_autocast_enabled(h_BTE.device.type)
    return not watched and kernel.serves(h_BTE)


def fused_block(
    h_BTE: Tensor,
    state_BHKV: Tensor | None,
    weights: Mapping[str, Tensor],
    shape: BlockShape,
    *,
    angles: Rotation | None = None,
    valid_BT: Tensor | None = None,
    whole: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """Run norm, mixer, residual, norm, MLP, residual: what a ``Block`` computes, differentiable in all that it reads.

    Args:
        h_BTE: residual stream.
        state_BHKV: fast weights before the window, in the dtype of h; None for softmax attention.
        weights: by the names in ``kernels.block.WEIGHTS``.
        shape: what the block is made of.
        angles: of the tokens' positions, for softmax attention.
        valid_BT: False marks padding.
        whole: False wants the fast weights and nothing else.

    Returns:
        The residual stream (None unless ``whole``) and the fast weights (None for softmax attention) after the block.
    """
    given = [weights[name].contiguous() if name in weights else None for name in kernel.WEIGHTS]
    turns = None if angles is None else (angles.cos[:, 0, 0].contiguous(), angles.sin[:, 0, 1].contiguous())
    valid = None if valid_BT is None else valid_BT.contiguous()
    return kernel.run(h_BTE, state_BHKV, given, shape, whole=whole, angles=turns, valid_BT=valid)
