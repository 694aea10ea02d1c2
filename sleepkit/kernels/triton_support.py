"""Whether and how the Triton kernels can run here; imports no triton by itself."""

import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sleepkit.kernels.door import lets_through

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_INTERPRET = "TRITON_INTERPRET"
TRUST_VARIABLE = "SLEEPKIT_TRITON"
# Devices, by compute capability, on which ``python -m sleepkit.bench.gpu`` found every kernel right.
CHECKED: tuple[tuple[int, int], ...] = ()


def interpreted() -> bool:
    """Say whether kernels run in Triton's interpreter, on CPU tensors: slow, for tests. Decided before triton is imported."""
    return os.environ.get(_INTERPRET) == "1"


def serves(x: Tensor, *others: Tensor | None) -> bool:
    """Say whether the kernels are chosen, unasked, for tensors: on a GPU, of dtypes they know, let through by the door."""
    return x.is_cuda and lets_through(x, *others, dtypes=DTYPES, device="cuda") and _ready()


def why_not_chosen(device: str = "cuda") -> str | None:
    """Say why no kernel is chosen on a kind of device unless it is asked for by name; None if they are.

    Releases of Triton have miscompiled kernels like these without a word, so they are trusted where they were checked.
    """
    problem = why_unavailable(device)
    if problem or interpreted() or os.environ.get(TRUST_VARIABLE) == "1":
        return problem
    capability = torch.cuda.get_device_capability()
    if capability in CHECKED:
        return None
    found = ".".join(map(str, capability))
    return (
        f"the kernels were not yet checked on a device of compute capability {found} (python -m sleepkit.bench.gpu checks them; "
        f"impl='triton' or {TRUST_VARIABLE}=1 takes them all the same)"
    )


@functools.cache
def why_unavailable(device: str = "cuda") -> str | None:
    """Say why no kernel can run on a kind of device; None if one can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (it exists for Linux)"
    if interpreted():
        return None
    if device != "cuda":
        return f"Triton kernels run on a CUDA device, not on {device!r}"
    if not torch.cuda.is_available():
        return "there is no CUDA device here"
    return None


# The answer cannot change while a graph is traced.
_ready = torch.compiler.assume_constant_result(lambda: why_not_chosen() is None)  # type: ignore[no-untyped-call]


def on_its_device(run: Callable[..., Any]) -> Callable[..., Any]:
    """Make kernels run where the first tensor is, whichever device is the current one."""

    @functools.wraps(run)
    def there(first: Tensor, *rest: Any) -> Any:
        with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
            return run(first, *rest)

    return there


def operation(name: str, run: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """Make an operation of torch, so that torch.compile meets it as such and breaks no graph."""
    devices = ("cuda", "cpu") if interpreted() else ("cuda",)
    made = torch.library.custom_op(f"sleepkit::{name}", run, mutates_args=(), device_types=devices)
    made.register_fake(fake)
    return made


def padded(channels: int) -> int:
    """Return the size of the block that holds this many channels: a power of two, 16 or more."""
    return max(16, 1 << (channels - 1).bit_length())


def side_by_side(x: Tensor) -> Tensor:
    """Make the channels of a token neighbours in memory; other strides are free."""
    return x if x.stride(-1) == 1 else x.contiguous()
