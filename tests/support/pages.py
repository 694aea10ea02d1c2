"""Pages built without a server."""

import asyncio
from collections.abc import Callable
from typing import Any

import param


def built(build: Callable[[], Any]) -> Any:
    """Build a page inside an event loop, as a server does, and end whatever it began in the background."""

    async def build_and_end() -> Any:
        page = build()
        await asyncio.sleep(0.01)
        await end_others()
        return page

    return asyncio.run(build_and_end())


def sent(widget: Any, **values: Any) -> None:
    """Do what a message of a browser does."""
    with param.parameterized.edit_constant(widget):
        widget.param.update(**values)


async def end_others() -> None:
    """End whatever else runs in this event loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
