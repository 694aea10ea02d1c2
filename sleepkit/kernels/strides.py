"""How a tensor lies in memory."""

import torch
from torch import Tensor


def compact(x: Tensor) -> Tensor:
    """Return a tensor whose entries lie in order, with the strides that its shape alone gives.

    Unlike ``contiguous``, which leaves an axis of length 1 the stride it has: a kernel that walks rows by the stride of such an
    axis would read other rows.
    """
    if x.numel() <= 1:
        return x.clone(memory_format=torch.contiguous_format)
    return x.contiguous().view(-1).view(x.shape)
