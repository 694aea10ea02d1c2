"""Messages of a websocket that no browser sends, to a server that runs: it goes on, disturbs nobody, and logs no traceback."""

import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from bokeh.protocol import Protocol
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection

from sleepkit.bench.browser import serving
from sleepkit.bench.visitor import Visitor
from tests.robustness.made_up import TEXTS
from tests.robustness.tally import Tally

_WAIT_S = 180.0
_OF_ONE = 20  # messages of one visitor
_IDS = ("p1001", "p1002", "", "x", "\0", None, 7, ["p1001"], {})
_KINDS = ("ModelChanged", "MessageSent", "ColumnDataChanged", "RootAdded", "TitleChanged", "NoSuchKind", "", None)


def try_sockets(n_tries: int, *, seed: int) -> dict[str, Any]:
    """Send made-up messages to a server that only looks, from visitors that come and go; one visitor watches."""
    tally = Tally(tries=0, accepted=0, accepted_wrong=0, tracebacks=0, crashes=0, hangs=0)
    draw = random.Random(f"{seed} sockets")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "sleepkit", "dashboard", "--read-only", "--root", str(Path(folder) / "runs")]
        with serving(command, path="sleep", log=log) as server:
            asyncio.run(_all(server.address, n_tries, draw, tally, log))
    return {"dashboard": tally.as_dict()}


async def _all(address: str, n_tries: int, draw: random.Random, tally: Tally, log: Path) -> None:
    await _until_up(address)
    async with Visitor(address) as watcher:
        while tally.counts["tries"] < n_tries:
            size, made = len(_logged(log)), [_made_up(draw) for _ in range(min(_OF_ONE, n_tries - tally.counts["tries"]))]
            await _send_all(address, made)
            tally.counts["tries"] += len(made)
            try:
                await watcher.scrub_s()
            except TimeoutError:
                tally.fault("hangs", f"another visitor waits after {str(made)[:300]}")
                return
            new = _logged(log)[size:]
            if "Traceback" in new:
                tally.fault("tracebacks", f"in the log: {new[-300:]} after {str(made)[:300]}")
            else:
                tally.counts["accepted"] += len(made)


async def _until_up(address: str) -> None:
    async with asyncio.timeout(_WAIT_S):
        while True:
            try:
                await AsyncHTTPClient().fetch(address, request_timeout=60)
            except OSError:
                await asyncio.sleep(0.3)
            else:
                return


async def _send_all(address: str, made: list[str | bytes]) -> None:
    """Send from a visitor; from another one where the server hangs up, which it may."""
    number = 0
    while number < len(made):
        async with Visitor(address) as visitor:
            socket = visitor._socket
            assert isinstance(socket, WebSocketClientConnection)
            while number < len(made):
                number += 1
                try:
                    await _send(socket, made[number - 1])
                except OSError:
                    break
                if socket.close_code is not None:
                    break


async def _send(socket: WebSocketClientConnection, made: str | bytes) -> None:
    """Send frames as they are, or events as the three frames of a message."""
    if isinstance(made, str) and made.startswith('{"events"'):
        header = Protocol().create("PULL-DOC-REQ").header | {"msgtype": "PATCH-DOC"}
        for frame in (json.dumps(header), "{}", made):
            await socket.write_message(frame)
    else:
        await socket.write_message(made, binary=isinstance(made, bytes))
    await asyncio.sleep(0.01)


def _made_up(draw: random.Random) -> str | bytes:
    kind = draw.random()
    if kind < 0.1:
        return draw.choice((b"", b"\0" * 100, draw.randbytes(50)))
    if kind < 0.2:
        return draw.choice([text for text in TEXTS if text.isprintable()])
    values = (*(text for text in TEXTS if "\ud800" not in text), 1, -1, 10**400, 1e308, None, True, [], {}, [[]] * 50)
    event: dict[str, Any] = {"kind": draw.choice(_KINDS), "model": {"id": draw.choice(_IDS)}, "new": draw.choice(values)}
    event["attr"] = draw.choice(("value", "rows", "", None))
    if event["kind"] == "MessageSent":
        event |= {"msg_type": draw.choice(("bokeh_event", "x", None)), "msg_data": draw.choice((*values, {"type": "event"}))}
    for name in list(event):
        if draw.random() < 0.1:
            del event[name]
    return json.dumps({"events": draw.choice(([event], [event] * 30, event, None, 3))})


def _logged(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""
