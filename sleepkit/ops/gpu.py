"""What the GPU kernels are, for those who measure them."""

from collections.abc import Iterator

from sleepkit.errors import require
from sleepkit.kernels import triton_compile
from sleepkit.kernels.triton_compile import Usage

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
