"""What the GPU kernels are, for those who measure them."""

import contextlib
from collections.abc import Iterator

import torch

from sleepkit.errors import require
from sleepkit.kernels import triton_compile, triton_delta
from sleepkit.kernels.triton_compile import Usage
from sleepkit.kernels.triton_delta import Launch, Launches
from sleepkit.kernels.triton_support import TRUST_VARIABLE, padded

__all__ = ["CAPABILITIES", "TRUST_VARIABLE", "Usage", "compiled_kernels", "launched"]
CAPABILITIES = (80, 90)


def compiled_kernels(*, capability: int = 90, containing: str = "") -> Iterator[tuple[str, Usage]]:
    """Compile every kernel of the launch tables and yield its name and what it takes; needs triton, and no GPU.

    Args:
        capability: 80 (A100) or 90 (H100).
        containing: only kernels whose name contains this.

    Raises:
        InvalidInputError: for another capability.
    """
    require(capability in CAPABILITIES, "capability", f"must be one of {CAPABILITIES}", capability)
    for variant in triton_compile.variants():
        if containing in variant.name:
            yield variant.name, triton_compile.usage(variant, capability=capability)


@contextlib.contextmanager
def launched(
    *, key_dim: int, dtype: torch.dtype, forward: tuple[int, int] | None = None, backward: tuple[int, int] | None = None
) -> Iterator[None]:
    """Run the gated delta rule with another row of its launch table, to measure what the table should say.

    Args:
        key_dim: channels of a key.
        dtype: of v.
        forward: longest chunk (16 or 32) and warps a program; None leaves the table's.
        backward: likewise.
    """
    table, key = triton_delta.LAUNCHES, (padded(key_dim), dtype.itemsize)
    before = table[key]
    table[key] = Launches(
        before.forward if forward is None else Launch(*forward), before.backward if backward is None else Launch(*backward)
    )
    try:
        yield
    finally:
        table[key] = before
