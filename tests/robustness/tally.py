"""Counts of what tries came to, with the first faults in words."""

import collections
from typing import Any

_MOST_TOLD = 12


class Tally:
    """What the tries of one kind came to.

    Attributes:
        counts: tries, and how many of them came to what.
        found: the first faults, in words.
    """

    def __init__(self, **counts: int) -> None:
        self.counts: collections.Counter[str] = collections.Counter(counts)
        self.found: list[str] = []

    def fault(self, kind: str, what: str) -> None:
        """Count a fault and keep its description, if it is among the first."""
        self.counts[kind] += 1
        told = f"{kind}: {what}"
        if len(self.found) < _MOST_TOLD and told not in self.found:
            self.found.append(told)

    def as_dict(self) -> dict[str, Any]:
        """Return counts and descriptions as plain data."""
        return {**self.counts, "found": self.found}
