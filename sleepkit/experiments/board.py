"""Where each cell of a sweep stands: one bar for all cells, one for each worker."""

from types import TracebackType
from typing import Any, Self


class Board:
    """Progress bars; silent if nobody looks."""

    def __init__(self, total: int, *, initial: int, n_workers: int, show: bool) -> None:
        from tqdm.auto import tqdm

        self._all = tqdm(total=total, initial=initial, unit="cell", desc="sweep", disable=not show, dynamic_ncols=True)
        self._bars: list[Any] = [
            tqdm(total=1, unit="step", position=1 + slot, disable=not show, leave=False, dynamic_ncols=True)
            for slot in range(n_workers)
        ]

    def row(self, slot: int, name: str, step: int, steps: int, loss: float) -> None:
        """Show the last row of the cell that a worker has."""
        bar = self._bars[slot]
        bar.total, bar.n = steps, step
        bar.set_description_str(name, refresh=False)
        bar.set_postfix_str(f"loss {loss:.3f}")

    def ended(self, name: str, error: str) -> None:
        """Count a cell; say so if it failed."""
        if error:
            self._all.write(f"{name}: {error}")
        self._all.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        for bar in (*self._bars, self._all):
            bar.close()
