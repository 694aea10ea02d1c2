"""What rounding explains: the errors of one evaluation held against those of an independent one, both measured from fp64."""

from collections.abc import Mapping

from torch import Tensor

from tests.support.compare import rms_error

ROUNDING = 2.0**-23


def assert_within_budget(
    actual: Mapping[str, Tensor], independent: Mapping[str, Tensor], exact: Mapping[str, Tensor], *, factor: float = 3.0
) -> None:
    """Refuse a result whose error is more than ``factor`` times the independent one's, and than those roundings of its own size.

    The factor is the luck of the dice: a gradient of a dozen entries has an error of a dozen roundings.
    """
    assert actual.keys() == independent.keys() == exact.keys()
    for name, truth in exact.items():
        assert actual[name].shape == truth.shape, f"{name}: shape {list(actual[name].shape)}, expected {list(truth.shape)}"
        assert bool(actual[name].isfinite().all()), f"{name}: not finite"
        size = truth.double().square().mean().sqrt().item()
        allowed = factor * max(rms_error(independent[name], truth), ROUNDING * size)
        error = rms_error(actual[name], truth)
        assert error <= allowed, f"{name}: rms error {error:.3e}, allowed {allowed:.3e}"
