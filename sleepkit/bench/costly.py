"""A public server under the costliest addresses that can be written: how long others wait, and what memory it takes.

``python -m sleepkit.bench.costly`` prints one JSON object, as it is kept in benchmarks/costly.json. Visitors come without
browsers, one after the other and then all at once, each with an address that asks for as much as an address can: what the server
refuses, and the most that it grants. Meanwhile one more visitor asks for a page twice a second, and another one, whose page is
open, looks at pass after pass.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import psutil
from tornado.httpclient import AsyncHTTPClient

from sleepkit.bench.browser import serving
from sleepkit.bench.crowd import troubles
from sleepkit.bench.visitor import Visitor
from sleepkit.results import provenance

COSTLY = (
    "context=400&window_len=400&n_passes=16&compare=16",
    "context=1024&window_len=1024&n_passes=16&compare=16",
    "context=1024&window_len=1024&n_passes=1&compare=1",
    "context=4096&window_len=100000000&n_passes=16",
    "model=depo-explorer&context=12&window_len=100000&n_passes=16&compare=16",
    "context=8&window_len=1000&n_passes=16&compare=15&example=255",
    "context=60&window_len=60&n_passes=16&compare=15&example=255",
    "context=20&window_len=340&n_passes=6&compare=5&eviction=sliding&example=255",
    "context=160&window_len=160&n_passes=4&compare=5&example=255",
    f"text={'%20' * 20000}",
    f"context=8&text={'0' * 20000}",
    f"model=depo-explorer&text={'a%3Eb%20' * 4000}",
)
_PERIOD_S, _LOOK_S, _REST_S, _LEFT_S = 0.5, 1.0, 5.0, 60.0
_MIB = 2**20


class Others:
    """Two visitors who meet the costly ones: one asks for a page again and again, one looks at pass after pass.

    Args:
        address: of the dashboard.
        process: the server.
        visitor: whose page is open.
    """

    def __init__(self, address: str, process: psutil.Process, visitor: Visitor) -> None:
        self._address, self._process, self._visitor, self._client = address, process, visitor, AsyncHTTPClient()

    async def ask_s(self) -> float:
        """Ask for a page; return how long that took."""
        began = time.perf_counter()
        await self._client.fetch(self._address, request_timeout=300.0)
        return time.perf_counter() - began

    async def meet(self, came: Awaitable[list[str]]) -> dict[str, object]:
        """Return what the two waited, seconds, and the memory, MiB, while the costly ones came; and what those lost."""
        waits, looks, memory = list[float](), list[float](), [self._process.memory_info().rss]

        async def watch() -> None:
            while True:
                waits.append(await self.ask_s())
                memory.append(self._process.memory_info().rss)
                await asyncio.sleep(_PERIOD_S)

        async def look() -> None:
            while True:
                looks.append(await self._visitor.scrub_s())
                await asyncio.sleep(_LOOK_S)

        others = [asyncio.ensure_future(watch()), asyncio.ensure_future(look())]
        lost = await came
        for each in others:
            each.cancel()
        return {
            "lost": lost,
            "page_s": {"longest": round(max(waits), 2), "median": round(statistics.median(waits), 2), "asked": len(waits)},
            "look_s": {"longest": round(max(looks), 2), "median": round(statistics.median(looks), 2), "looked": len(looks)},
            "memory_more_MiB": (max(memory) - memory[0]) // _MIB,
        }


async def measure(address: str, pid: int) -> dict[str, object]:
    """Send the costly visitors to a server, one after the other and then all at once; return what others waited, and memory."""
    process = psutil.Process(pid)

    async def come(query: str) -> list[str]:
        try:
            async with Visitor(f"{address}?{query}"):
                return []
        except Exception as error:  # noqa: BLE001 - whatever a visitor meets is counted, and the others go on
            return [f"{query[:60]}: {type(error).__name__}: {str(error)[:100]}"]

    async def one_after_the_other() -> list[str]:
        return [line for query in COSTLY for line in await come(query)]

    async def at_once() -> list[str]:
        return [line for lines in await asyncio.gather(*map(come, COSTLY)) for line in lines]

    async with Visitor(address) as visitor:
        others = Others(address, process, visitor)
        for _ in range(6):
            await visitor.scrub_s()
        await asyncio.sleep(_REST_S)  # the engine is loaded meanwhile
        quiet = [await others.ask_s() for _ in range(20)]
        quiet_looks = [await visitor.scrub_s() for _ in range(6)]
        before = process.memory_info().rss
        found = {
            "addresses": len(COSTLY),
            "quiet": {"page_s": round(max(quiet), 2), "look_s": round(max(quiet_looks), 2)},
            "one after the other": await others.meet(one_after_the_other()),
            "all at once": await others.meet(at_once()),
        }
    await asyncio.sleep(_LEFT_S)
    return {**found, "memory_MiB": {"before": before // _MIB, "more_after": (process.memory_info().rss - before) // _MIB}}


def main() -> None:
    """Serve read-only, measure, and print what was found and what the server's log tells of trouble."""
    argparse.ArgumentParser(prog="python -m sleepkit.bench.costly", description="Takes two minutes and prints JSON.").parse_args()
    AsyncHTTPClient.configure(None, max_clients=100)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "sleepkit", "dashboard", "--read-only", "--root", folder]
        with serving(command, path="sleep", log=log) as server:
            deadline = time.monotonic() + 120.0
            while "Ctrl-C" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.2)
            found = asyncio.run(measure(server.address, server.pid))
        print(json.dumps({**found, "in_the_log": troubles(log.read_text()), **provenance()}, indent=2))


if __name__ == "__main__":
    main()
