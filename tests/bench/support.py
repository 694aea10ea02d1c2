"""What the tests of the suites share."""

import math
from collections.abc import Iterator
from typing import Any


def numbers(report: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Walk through every number of a report."""
    if isinstance(report, dict):
        for name, value in report.items():
            yield from numbers(value, f"{path}/{name}")
    elif isinstance(report, list | tuple):
        for index, value in enumerate(report):
            yield from numbers(value, f"{path}/{index}")
    elif isinstance(report, int | float) and not isinstance(report, bool):
        yield path, float(report)


def assert_all_numbers_are_finite(report: Any) -> None:
    """Fail if a report holds no number, or one that is not finite."""
    found = list(numbers(report))
    assert found
    assert [path for path, value in found if not math.isfinite(value)] == []
