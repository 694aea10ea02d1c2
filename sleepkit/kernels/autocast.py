"""Kernels run in the dtypes that were chosen for them."""

import contextlib
from typing import Any

import torch
from torch import Tensor


def in_own_dtypes(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Switch autocast off around a call on tensors like this one; the meta device has none."""
    return contextlib.nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)
