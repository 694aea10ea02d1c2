"""Weights that are numbers: a model full of NaN answers all the same, since the largest of no numbers is the first of them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sleepkit.errors import require


def refuse_spoilt(model: nn.Module) -> None:
    """Refuse a model with a parameter or buffer that holds NaN or an infinity: it computes nothing, and argmax hides that.

    Raises:
        InvalidInputError: naming the first such tensor.
    """
    found = spoilt({**dict(model.named_parameters()), **dict(model.named_buffers())})
    require(found is None, "model", "must hold finite weights alone", found)


def spoilt(tensors: Mapping[str, Tensor]) -> str | None:
    """Say which tensor holds NaN or an infinity, and how many of them; None if none does.

    One pass, and for all tensors of a device one answer: sums of squares would overflow, the largest and the smallest do not.
    """
    numbers = {
        name: tensor.detach()
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta
    }
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in numbers.values():
        by_device.setdefault(tensor.device, []).append(torch.stack(torch.aminmax(tensor)).double())
    if all(bool(torch.stack(ends).isfinite().all()) for ends in by_device.values()):
        return None
    name, tensor = next((name, tensor) for name, tensor in numbers.items() if not bool(tensor.isfinite().all()))
    return f"{int((~tensor.isfinite()).sum())} of {tensor.numel()} entries of {name} that are NaN or infinite"
