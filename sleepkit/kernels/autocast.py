"""Kernels run in the dtypes that were chosen for them."""

import contextlib
from typing import Any

import torch
from torch import Tensor


def in_own_dtypes(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Switch autocast off around a call on tensors like this one, where it is on; the meta device has none."""
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)
