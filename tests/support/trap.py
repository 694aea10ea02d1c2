"""A pickle that tells on whoever opens it."""

import pickle
from pathlib import Path


class _Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def pickle_trap(mark: Path) -> bytes:
    """Return a pickle that makes the file ``mark`` when it is loaded."""
    return pickle.dumps(_Trap(mark))
