"""A line of those who wait in one event loop for what is done for one at a time; each is told its place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

_TOLD_S = 1.0  # between two tidings of one's place


class Line:
    """Turns in the order of arrival."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Event] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def turn(self, tell: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Wait for one's turn, which lasts as long as the context.

        Args:
            tell: called about once a second with how many are before.
        """
        mine = asyncio.Event()
        self._waiting.append(mine)
        try:
            while self._waiting[0] is not mine:
                if tell is not None:
                    tell(self._waiting.index(mine))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(mine.wait(), _TOLD_S)
            yield
        finally:
            self._waiting.remove(mine)
            if self._waiting:
                self._waiting[0].set()
