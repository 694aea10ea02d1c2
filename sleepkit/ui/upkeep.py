"""Garbage of a server: what was loaded once is not looked through again, and what visitors leave behind is freed soon.

Python looks through everything it holds now and then, for a quarter of a second once torch is loaded, in which nobody is
answered; and what a page leaves, a ring of objects, stays until then.
"""

import asyncio
import gc
from collections.abc import Callable

_LATER_S = 2.0  # after a page is left: its last callbacks are done by then


class Upkeep:
    """Keeps collections short while there are visitors, and does the long ones while there are none."""

    def __init__(self) -> None:
        self._settled = False
        self._planned: asyncio.AbstractEventLoop | None = None  # where a collection is planned

    def settle(self) -> None:
        """Take all that is loaded by now out of later collections; only the first call does anything."""
        if not self._settled:
            self._settled = True
            gc.collect()
            gc.freeze()

    def plan(self, anybody: Callable[[], bool]) -> None:
        """Free what a page leaves behind, a moment from now; one collection serves all who leave until then.

        Args:
            anybody: tells whether there are visitors then.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody waits for this thread
            self._tidy(anybody)
            return
        if self._planned is loop:
            return
        self._planned = loop
        loop.call_later(_LATER_S, self._tidy, anybody)

    def _tidy(self, anybody: Callable[[], bool]) -> None:
        self._planned = None
        if anybody():
            gc.collect()
        else:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._settled = True


UPKEEP = Upkeep()
