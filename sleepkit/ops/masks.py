"""Masks of padding, as every operation takes them. Axes: B batch, T token."""

import torch
from torch import Tensor

from sleepkit.errors import refuse, require
from sleepkit.kernels.door import traced, transformed

_INTEGERS = (torch.int64, torch.int32, torch.uint8, torch.int8, torch.int16)


def as_mask(valid_BT: Tensor | None, shape: torch.Size, *, device: torch.device) -> Tensor | None:
    """Return a mask, False where there is padding, as a boolean tensor; None stays None.

    Integers 0 and 1 are taken for False and True, as tokenizers make their masks.

    Args:
        valid_BT: boolean, or integers 0 and 1.
        shape: that it must have.
        device: on which it must be.

    Raises:
        InvalidInputError: for another shape, device or dtype, or other integers.
    """
    if valid_BT is None:
        return None
    require(valid_BT.shape == shape, "valid", f"must have shape {list(shape)}", tuple(valid_BT.shape))
    require(valid_BT.device == device, "valid", f"must be on {device}", valid_BT.device)
    if valid_BT.dtype == torch.bool:
        return valid_BT
    require(valid_BT.dtype in _INTEGERS, "valid", "must be boolean, or integers 0 and 1", valid_BT.dtype)
    known = not (traced() or transformed() or valid_BT.is_meta)
    if known and valid_BT.numel():
        low, high = (int(x) for x in valid_BT.aminmax())
        if low < 0 or high > 1:
            refuse("valid", "must be boolean, or integers 0 and 1", low if low < 0 else high)
    return valid_BT != 0


def blanked(x: Tensor, valid_BT: Tensor | None) -> Tensor:
    """Return tokens [B, T, ...] with zeros where there is padding, whatever lay there; no gradient reaches that."""
    if valid_BT is None:
        return x
    return x.masked_fill(valid_BT.logical_not().view(*valid_BT.shape, *[1] * (x.ndim - 2)), 0.0)
