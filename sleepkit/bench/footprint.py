"""How many bytes a piece of work needs at its worst moment: tensors counted one by one, and the process as the system sees it."""

import functools
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class TensorPeak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensor storages made while it is active, and the most that were alive at once.

    The same code gives the same number on every machine. What was there before counts nothing, nor does what a single operation
    allocates and frees inside itself; for a training step that is nothing worth mentioning: the profiler of torch, which sees
    every allocation, came to the same peak within a kilobyte.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation: storages it was given and nobody made here were there before, others are new."""
        for storage in _storages((args, kwargs)):
            self._meet(storage, 0)
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._meet(storage, storage.nbytes())
        return result

    def _meet(self, storage: torch.UntypedStorage, n_bytes: int) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known[key] = weakref.ref(storage, functools.partial(self._part, key, n_bytes))
            self.held += n_bytes
            self.peak = max(self.peak, self.held)

    def _part(self, key: int, n_bytes: int, _reference: object) -> None:
        self._known.pop(key, None)
        self.held -= n_bytes


def reset_resident_peak() -> None:
    """Let the system count the peak of this process's resident memory anew.

    Raises:
        OSError: where the system cannot (no /proc, or not allowed).
    """
    _CLEAR.write_text("5")


def resident() -> tuple[int, int]:
    """Return the bytes of resident memory of this process, now and at the peak.

    Raises:
        OSError: where the system does not say (no /proc).
    """
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    now, peak = (1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, peak


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
