"""What was used last is kept, a bounded part of it."""

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The most recently used values by key, a few of them; safe across threads.

    Args:
        n_kept: how many.
        most: the sum of their weights that is kept.
        weigh: returns the weight of a value; None: they weigh nothing.
    """

    def __init__(self, n_kept: int, *, most: int = 0, weigh: Callable[[Value], int] | None = None) -> None:
        self._n_kept, self._most, self._weigh, self._lock = n_kept, most, weigh, threading.Lock()
        self._values: collections.OrderedDict[Hashable, Value] = collections.OrderedDict()
        self._weights: dict[Hashable, int] = {}

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value; the one not used for longest makes room."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            self._weights[key] = 0 if self._weigh is None else self._weigh(value)
            while len(self._values) > self._n_kept or sum(self._weights.values()) > self._most:
                oldest, _ = self._values.popitem(last=False)
                del self._weights[oldest]
        return value

    def __len__(self) -> int:
        return len(self._values)
