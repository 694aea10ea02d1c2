"""A public server under the costliest addresses that can be written: how long others wait, and what memory it takes.

``python -m sleepkit.bench.costly`` prints one JSON object, as it is kept in benchmarks/costly.json. Visitors come without
browsers, several at once, each with an address that asks for as much as an address can: what the server refuses, and the most
that it grants. Meanwhile one more visitor asks for a page ten times a second, and another one, whose page is open, looks at pass
after pass.
"""

import asyncio
import json
import sys
import tempfile
import time
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
_PERIOD_S, _LOOK_S, _REST_S, _LEFT_S = 0.1, 1.0, 5.0, 60.0
_MIB = 2**20


async def measure(address: str, pid: int, *, n_rounds: int) -> dict[str, object]:
    """Send the costly visitors to a server, all at once, some rounds; return the others' waits, seconds, and memory, MiB."""
    process, client = psutil.Process(pid), AsyncHTTPClient()
    memory, waits, looks, opened = list[int](), list[float](), list[float](), list[float]()

    async def ask() -> float:
        began = time.perf_counter()
        await client.fetch(address, request_timeout=300.0)
        return time.perf_counter() - began

    async def come(query: str) -> None:
        began = time.perf_counter()
        async with Visitor(f"{address}?{query}"):
            opened.append(time.perf_counter() - began)

    async def watch() -> None:
        while True:
            waits.append(await ask())
            memory.append(process.memory_info().rss)
            await asyncio.sleep(_PERIOD_S)

    async def look(visitor: Visitor) -> None:
        while True:
            looks.append(await visitor.scrub_s())
            await asyncio.sleep(_LOOK_S)

    async with Visitor(address) as visitor:
        for _ in range(6):
            await visitor.scrub_s()
        await asyncio.sleep(_REST_S)  # the engine is loaded meanwhile
        quiet = [await ask() for _ in range(20)]
        quiet_looks = [await visitor.scrub_s() for _ in range(6)]
        before = process.memory_info().rss
        others = [asyncio.ensure_future(watch()), asyncio.ensure_future(look(visitor))]
        lost = []
        for _ in range(n_rounds):
            found = await asyncio.gather(*map(come, COSTLY), return_exceptions=True)
            lost += [f"{type(error).__name__}: {str(error)[:100]}" for error in found if error is not None]
        for each in others:
            each.cancel()
    await asyncio.sleep(_LEFT_S)
    return {
        "addresses": len(COSTLY) * n_rounds,
        "lost": lost,
        "page_s": {"quiet": round(max(quiet), 2), "longest": round(max(waits), 2), "asked": len(waits)},
        "look_s": {"quiet": round(max(quiet_looks), 2), "longest": round(max(looks), 2), "looked": len(looks)},
        "costly_page_s": {"longest": round(max(opened), 1)} if opened else None,
        "memory_MiB": {
            "before": before // _MIB,
            "more_at_most": (max(memory) - before) // _MIB,
            "more_after": (process.memory_info().rss - before) // _MIB,
        },
    }


def main(n_rounds: int = 2) -> None:
    """Serve read-only, measure, and print what was found and what the server's log tells of trouble."""
    AsyncHTTPClient.configure(None, max_clients=100)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "sleepkit", "dashboard", "--read-only", "--root", folder]
        with serving(command, path="sleep", log=log) as server:
            deadline = time.monotonic() + 120.0
            while "Ctrl-C" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.2)
            found = asyncio.run(measure(server.address, server.pid, n_rounds=n_rounds))
        print(json.dumps({**found, "in_the_log": troubles(log.read_text()), **provenance()}, indent=2))


if __name__ == "__main__":
    main()
