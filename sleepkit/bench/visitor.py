"""A visitor without a browser: what a page sends to its server and gets back, over the same websocket, and nothing is drawn.

Twenty browsers on the machine that serves them would measure the browsers; this one reads every byte that a browser would get.
"""

import asyncio
import re
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from bokeh.protocol import Protocol
from bokeh.protocol.messages.patch_doc import patch_doc
from bokeh.protocol.receiver import Receiver
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from sleepkit.bench.browser import PASS_SLIDER
from sleepkit.errors import refuse

_TOKEN = re.compile(r'"token":\s*"([^"]+)"')
_LARGEST_MESSAGE = 64 * 2**20
_WAIT_S = 60.0
_READY = {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": {"type": "event", "name": "document_ready", "values": {}}}


class Visitor:
    """One session of the dashboard; to be used as an asynchronous context.

    Args:
        address: of the dashboard, with its query.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._receiver = Receiver(Protocol())
        self._socket: WebSocketClientConnection | None = None
        self._slider, self._figure, self._pass, self._last_pass = "", "", 0, 0

    async def __aenter__(self) -> Self:
        """Load the page, connect as its scripts would, and read what the page is filled with until the figures are there."""
        async with asyncio.timeout(_WAIT_S):
            page = (await AsyncHTTPClient().fetch(self._address, request_timeout=_WAIT_S)).body.decode()
            found = _TOKEN.search(page)
            if found is None:
                refuse("page", "must hold a session's token", self._address)
            path = self._address.partition("?")[0].replace("http://", "ws://") + "/ws"
            self._socket = await websocket_connect(
                HTTPRequest(path), subprotocols=["bokeh", found[1]], max_message_size=_LARGEST_MESSAGE
            )
            await self._message()  # the server's greeting
            await self._send(Protocol().create("PULL-DOC-REQ"))
            await self._message("PULL-DOC-REPLY")
            await self._patch(_READY)
            while not (self._slider and self._figure):
                self._know(await self._message("PATCH-DOC"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the page."""
        if self._socket is not None:
            self._socket.close()

    async def scrub_s(self) -> float:
        """Look at another pass and return the seconds until its fast weights and their title are here.

        Raises:
            TimeoutError: if that takes a minute.
            InvalidInputError: if the server answers with an error or hangs up.
        """
        self._pass = self._pass - 1 if self._pass > 1 else self._last_pass
        began = time.perf_counter()
        async with asyncio.timeout(_WAIT_S):
            await self._patch({"kind": "ModelChanged", "model": {"id": self._slider}, "attr": "value", "new": self._pass})
            await self._until_drawn(f"after pass {self._pass} of {self._last_pass}")
        return time.perf_counter() - began

    def _know(self, change: dict[str, Any]) -> None:
        """Find the slider of the passes and the first figure of the fast weights."""
        for each in _objects(change):
            attributes = each.get("attributes", {})
            if str(attributes.get("label", "")).startswith(PASS_SLIDER) and "value" in attributes:
                self._slider, self._pass, self._last_pass = each["id"], attributes["value"], attributes["end"]
            if "sk-fast-weights" in attributes.get("css_classes", []):
                self._figure = next(part["id"] for part in _objects(attributes) if part["attributes"].get("figure"))

    async def _until_drawn(self, title: str) -> None:
        """Read until another figure was sent and a title holds these words."""
        drawn = entitled = False
        while not (drawn and entitled):
            for event in (await self._message("PATCH-DOC"))["events"]:
                if event["kind"] == "ModelChanged":
                    drawn |= event["model"]["id"] == self._figure and event["attr"] == "figure"
                    entitled |= title in str(event["new"])

    async def _message(self, wanted: str = "") -> Any:
        """Read a message of a kind and return what it holds."""
        assert self._socket is not None
        while True:
            fragment = await self._socket.read_message()
            if fragment is None:
                refuse("server", "must stay on the line", self._address)
            message = await self._receiver.consume(fragment)
            if message is None:
                continue
            if message.msgtype == "ERROR":
                refuse("server", "must answer", str(message.content)[:300])
            if not wanted or message.msgtype == wanted:
                return message.content

    async def _patch(self, event: dict[str, Any]) -> None:
        events: Any = [event]
        await self._send(patch_doc(patch_doc.create_header(), {}, {"events": events}))

    async def _send(self, message: Any) -> None:
        assert self._socket is not None
        for fragment in (message.header_json, message.metadata_json, message.content_json):
            await self._socket.write_message(fragment)


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Walk through everything in a document that has a number of its own."""
    if isinstance(node, dict):
        if "id" in node and "attributes" in node:
            yield node
        for each in node.values():
            yield from _objects(each)
    elif isinstance(node, list):
        for each in node:
            yield from _objects(each)
