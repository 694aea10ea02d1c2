"""The server: which pages there are, from where they can be reached, by whom, and what they may do there."""

import dataclasses
import functools
import importlib
import importlib.util
import ipaddress
import re
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from bokeh.server.server import Server
from panel.io.server import get_server
from panel_material_ui.template.base import Page
from tornado.web import RedirectHandler

from sleepkit.errors import refuse, require
from sleepkit.ui import limits
from sleepkit.ui.auth import PasswordFile, read_users
from sleepkit.ui.complaints import tell_of_visitors_in_one_line
from sleepkit.ui.door import open_app
from sleepkit.ui.seats import seated

LOCAL = "127.0.0.1"
_LAB = "sleepkit.ui.lab"
_PREFIX = re.compile(r"(/[A-Za-z0-9_.~-]*[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*")
_LONGEST_MESSAGE = 2**22  # bytes; pages of ours send some thousand at a time


@dataclasses.dataclass(frozen=True)
class Serving:
    """How the dashboard is served.

    Attributes:
        port: port to listen on; 0: one that is free.
        address: IPv4 address or host name to listen on; reached by this machine alone unless visitors log in or may only look.
        origins: further HOST or HOST:PORT that browsers may come from, for names that this machine does not know of, as behind a
            proxy.
        auth: file of users who may log in, see ``sleepkit.ui.auth``; without one nobody is asked.
        read_only: grant nothing that writes files or trains.
        show: open a browser.
        root: the folder of all runs.
        prefix: a path below which all pages lie, as "/lab", for a proxy that leaves it in the addresses it passes on; behind one
            that takes it off, as JupyterHub's, none is needed.
        granted: what one request may cost; the limits of the process if None.

    Raises:
        InvalidInputError: for a port out of range, a bad origin, an address that is none, or one reached from elsewhere with
            neither auth nor read_only: whoever reached it could train here and fill the disk; a warning would scroll by unread.
    """

    port: int = 5006
    address: str = LOCAL
    origins: Sequence[str] = ()
    auth: Path | None = None
    read_only: bool = False
    show: bool = False
    root: Path = Path("runs")
    prefix: str = ""
    granted: limits.Limits | None = None

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "--port", "must be in 0..65535, 0 for one that is free", self.port)
        require(_PREFIX.fullmatch(self.prefix) is not None, "--prefix", "must be a path as /lab or /lab/one", self.prefix)
        rule = "must come with --auth FILE or --read-only: whoever reaches it from elsewhere could train here and write files"
        require(self.auth is not None or self.read_only or _is_local(self.address), "--address", rule, self.address)
        for origin in self.origins:
            host, _, port = origin.partition(":")
            good = bool(host) and "*" not in host and (not port or port.isdecimal())
            require(good, "--origin", "must be HOST or HOST:PORT, without wildcards", origin)


def pages(root: Path = Serving.root) -> dict[str, Any]:
    """Return the builder of each page by its path.

    Args:
        root: the folder of all runs.
    """
    found: dict[str, Any] = {"sleep": seated(open_app)}
    if importlib.util.find_spec(_LAB) is not None:
        found["runs"] = seated(functools.partial(_lab, root))
    return found


def make_server(serving: Serving) -> Server:
    """Return a server that listens and does not run yet; its limits hold for the whole process from now on.

    Raises:
        InvalidInputError: if the port is taken or forbidden, the address is not this machine's, or the auth file is bad.
    """
    serving = dataclasses.replace(serving, port=serving.port or _free_port(serving.address))
    options = server_options(serving)
    granted = limits.current() if serving.granted is None else serving.granted
    limits.impose(dataclasses.replace(granted, read_only=serving.read_only, models=serving.root))
    tell_of_visitors_in_one_line()
    try:
        return get_server(pages(serving.root), start=False, show=serving.show, title="sleepkit", **options)
    except socket.gaierror as error:
        refuse("--address", f"must be an address of this machine ({error.strerror})", serving.address)
    except OSError as error:
        where = f"{serving.address}:{serving.port}"
        refuse("--port", f"must be free and allowed on an address of this machine ({error.strerror})", where)


def serve(serving: Serving) -> None:
    """Serve the pages until interrupted, and say where they are.

    Raises:
        InvalidInputError: as ``make_server``.
        KeyboardInterrupt: when interrupted.
    """
    server = make_server(serving)
    server.start()
    print(greeting(serving, server.port or serving.port), flush=True)
    try:
        server.io_loop.start()
    finally:
        server.stop()


def greeting(serving: Serving, port: int) -> str:
    """Return what is said when the server listens: where, who may come in, what they may ask for, how to stop.

    Args:
        serving: how it is served.
        port: the port it listens on.
    """
    host = "localhost" if serving.address in (LOCAL, "0.0.0.0") else serving.address
    root = f"http://{host}:{port}{serving.prefix}"
    listening = f", listening on {serving.address}" if serving.address not in (LOCAL, "localhost") else ""
    others = "whoever reaches it, to look only" if serving.read_only else "this machine's users"
    users = f"the users of {serving.auth}" if serving.auth is not None else others
    lines = [
        f"sleepkit dashboard: {root}/sleep{listening}",
        *([f"the lab of {serving.root}: {root}/runs"] if importlib.util.find_spec(_LAB) is not None else []),
        f"open to {users}",
        f"one request: {limits.current().describe()}",
        "Ctrl-C stops it; runs that were started from the lab go on",
    ]
    return "\n".join(lines)


def server_options(serving: Serving) -> dict[str, Any]:
    """Return what Panel's server is given: port, address, origins, the way from / to the dashboard, and the login.

    Raises:
        InvalidInputError: if the auth file is bad.
    """
    name = serving.prefix.rpartition("/")[2]
    options: dict[str, Any] = {
        "port": serving.port,
        "address": serving.address,
        "websocket_origin": allowed_origins(serving),
        # By relative addresses: a proxy may have taken off the beginning of the path.
        "extra_patterns": [
            ("/", RedirectHandler, {"url": "sleep", "permanent": False}),
            *([("", RedirectHandler, {"url": f"{name}/", "permanent": False})] if name else []),
        ],
        "prefix": serving.prefix,
        # Nobody opens a session by an id of one's own making: the server signs those it gives, anew at each start.
        "sign_sessions": True,
        "secret_key": secrets.token_hex(32),
        "websocket_max_message_size": _LONGEST_MESSAGE,
    }
    if serving.auth is not None:
        options["auth_provider"] = PasswordFile(read_users(serving.auth))
        # A new secret at each start: whoever was logged in logs in again, and none lies on a disk.
        options["cookie_secret"] = secrets.token_hex(32)
    return options


def allowed_origins(serving: Serving) -> list[str]:
    """Return the HOST:PORT that browsers may come from: every name of this machine under which the server can be reached.

    A wildcard would let any page on the web talk to this server through its visitor's browser.
    """
    names = {"localhost", LOCAL, serving.address}
    if serving.address == "0.0.0.0":
        cards = psutil.net_if_addrs().values()
        names |= {each.address for card in cards for each in card if each.family == socket.AF_INET}
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        names.discard(serving.address)
    own = sorted(f"{name}:{serving.port}" for name in names)
    return [*own, *(origin.lower() for origin in serving.origins)]


def _free_port(address: str) -> int:
    """Return a port that nobody listens on."""
    try:
        with socket.socket() as trial:
            trial.bind((address, 0))
            port: int = trial.getsockname()[1]
    except OSError as error:
        refuse("--address", f"must be an address of this machine ({error.strerror})", address)
    return port


def _is_local(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.IPv4Address(address).is_loopback
    except ValueError:
        require(":" not in address and address != "", "--address", "must be an IPv4 address or a host name", address)
        return False


def _lab(root: Path) -> Page:
    page: Page = importlib.import_module(_LAB).build_lab(root, read_only=limits.current().read_only)
    return page
