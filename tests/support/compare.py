"""Comparing numbers: one rule, one message."""

from torch import Tensor


def assert_close(actual: Tensor, expected: Tensor, *, tolerance: float = 1e-10, what: str = "tensor") -> None:
    """Refuse ``actual`` if it is off by more than ``tolerance`` times max(1, largest expected magnitude), or not finite."""
    assert actual.shape == expected.shape, f"{what}: shape {list(actual.shape)}, expected {list(expected.shape)}"
    if not expected.numel():
        return
    actual, expected = actual.detach().double(), expected.detach().double()
    absolute = largest_error(actual, expected)
    size = expected.abs().max().item()
    message = f"{what}: max abs error {absolute:.3e}, relative to the largest entry {absolute / max(size, 1e-300):.3e}"
    assert absolute <= tolerance * max(1.0, size), f"{message}, allowed {tolerance:.1e} x {max(1.0, size):.3g}"


def assert_same_bits(actual: Tensor, expected: Tensor, *, what: str = "tensor") -> None:
    """Refuse tensors that differ in dtype, shape or any value (NaN equals NaN)."""
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {list(actual.shape)}, expected {list(expected.shape)}"
    differs = (actual != expected) & ~(actual.isnan() & expected.isnan())
    assert not bool(differs.any()), f"{what}: {int(differs.sum())} of {actual.numel()} entries differ"


def largest_error(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite if either holds a NaN or an infinity."""
    difference = (actual.detach().double() - expected.detach().double()).abs()
    return float("inf") if bool(difference.isnan().any()) else difference.max().item()


def rms_error(actual: Tensor, exact: Tensor) -> float:
    """Root of the mean squared difference: the size of a rounding error, less a matter of luck than the largest one."""
    return (actual.detach().double() - exact.detach().double()).square().mean().sqrt().item()
