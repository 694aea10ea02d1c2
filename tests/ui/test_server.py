"""The server without a browser: where it listens, whom it lets in, what it refuses before it starts."""

import contextlib
import gc
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import argon2
import panel as pn
import pytest
import requests
import websocket
from bokeh.util.token import generate_jwt_token, generate_session_id
from panel.io.state import state
from panel.tests.util import get_open_ports, serve_and_wait

from sleepkit.cli import main
from sleepkit.errors import InvalidInputError
from sleepkit.ui import limits
from sleepkit.ui.address import search_asked_for
from sleepkit.ui.page import frame
from sleepkit.ui.server import Serving, allowed_origins, greeting, make_server, pages, server_options

PASSWORD = "correct horse"
WAIT_S = 30


@pytest.fixture
def auth(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(f"ann:{argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before, secret = limits.current(), pn.config.cookie_secret
    yield
    state.kill_all_servers()
    limits.impose(before)
    pn.config.cookie_secret = secret


def running(page: Callable[[], Any] = lambda: pn.pane.HTML("a page"), **given: Any) -> str:
    """Serve a small page as the dashboard is served and return the address."""
    serving = Serving(port=get_open_ports()[0], **given)
    options = server_options(serving)
    port = options.pop("port")
    serve_and_wait({"sleep": page}, port=port, **options)
    return f"http://localhost:{port}"


def first_message(address: str, *, origin: str, cookies: str = "", token: str | None = None) -> str | bytes | None:
    """What the server says first over a websocket, to a token of its own if none is given; None if it refuses to talk."""
    text = requests.get(f"{address}/sleep", timeout=WAIT_S, headers={"cookie": cookies}).text if token is None else ""
    given = re.search(r'"token":"([^"]+)"', text)
    token = token or (given[1] if given else generate_jwt_token(generate_session_id()))
    url, who = f"{address.replace('http', 'ws')}/sleep/ws", {"origin": origin, "cookie": cookies or None}
    try:
        connection = websocket.create_connection(url, subprotocols=["bokeh", token], timeout=WAIT_S, **who)
    except websocket.WebSocketBadStatusException as error:
        if error.status_code != 403:
            raise
        return None
    with contextlib.closing(connection):
        message: str | bytes = connection.recv()
    return message or None


@contextlib.contextmanager
def stripping_proxy(path: str, address: str) -> Iterator[str]:
    """A proxy that passes on what lies below a path, without that path, as JupyterHub's does."""
    host = address.removeprefix("http://")

    class Passing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(path):
                self.send_error(404)
                return
            connection = http.client.HTTPConnection(host, timeout=WAIT_S)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection.request(self.command, self.path.removeprefix(path), body, dict(self.headers.items()))
            with contextlib.closing(connection):
                answer = connection.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{path}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "-1"], "--port: must be in 0..65535, 0 for one that is free, got -1"),
        (["--port", "65536"], "--port: must be in 0..65535, 0 for one that is free, got 65536"),
        (["--prefix", "lab"], "--prefix: must be a path as /lab or /lab/one, got 'lab'"),
        (["--prefix", "/lab/"], "--prefix: must be a path as /lab or /lab/one, got '/lab/'"),
        (["--prefix", "/.."], "--prefix: must be a path as /lab or /lab/one, got '/..'"),
        (["--max-work", "0"], "max_work: must be 1 or more, got 0"),
        (["--address", "0.0.0.0"], "--address: must come with --auth FILE or --read-only"),
        (["--address", "lab.example.org"], "--address: must come with --auth FILE or --read-only"),
        (["--address", "::1"], "--address: must be an IPv4 address or a host name, got '::1'"),
        (["--address", ""], "--address: must be an IPv4 address or a host name, got ''"),
        (["--origin", "*"], "--origin: must be HOST or HOST:PORT, without wildcards, got '*'"),
        (["--origin", "lab:http"], "--origin: must be HOST or HOST:PORT, without wildcards, got 'lab:http'"),
        (["--auth", "nothing"], "--auth: must be a file that can be read (No such file or directory), got 'nothing'"),
        (["--add-user", "ann"], "--add-user: needs --auth FILE, got 'ann'"),
    ],
)
def test_a_bad_option_is_one_line_and_status_2_and_nothing_is_served(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", *arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"sleepkit: {words}")
    assert printed.count("\n") == 1
    assert state._servers == {}


# Tornado leaves a socket that it could not bind to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_taken_port_and_an_address_of_another_machine_are_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InvalidInputError, match=rf"--port: must be free .*Address already in use.*, got '127.0.0.1:{port}'"):
            make_server(Serving(port=port))
    with pytest.raises(InvalidInputError, match=r"--port: must be free and allowed .*, got '203.0.113.7:\d+'"):
        make_server(Serving(port=get_open_ports()[0], address="203.0.113.7", read_only=True))


def test_the_command_adds_a_user_after_asking_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([PASSWORD, PASSWORD, PASSWORD, "another one"])
    monkeypatch.setattr("sleepkit.commands.dashboard.getpass", lambda _prompt: next(answers))
    path = tmp_path / "users"
    assert main(["dashboard", "--auth", str(path), "--add-user", "ann"]) == 0
    assert path.read_text().startswith("ann:$argon2id$")
    assert main(["dashboard", "--auth", str(path), "--add-user", "bob"]) == 2
    assert "password: must be the same both times" in capsys.readouterr().err
    assert "bob" not in path.read_text()


def test_by_default_only_this_machine_is_listened_to_and_may_talk() -> None:
    options = server_options(Serving(port=5006))
    assert options["address"] == "127.0.0.1"
    assert options["websocket_origin"] == ["127.0.0.1:5006", "localhost:5006"]
    assert "auth_provider" not in options


def test_on_all_networks_every_name_of_this_machine_may_talk_and_no_other() -> None:
    origins = allowed_origins(Serving(port=5006, address="0.0.0.0", read_only=True, origins=("Lab.example.org",)))
    assert {"localhost:5006", "127.0.0.1:5006", f"{socket.gethostname().lower()}:5006", "lab.example.org"} <= set(origins)
    assert not any("*" in origin or "0.0.0.0" in origin for origin in origins)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_browser_of_this_machine_may_open_the_websocket_and_one_from_elsewhere_may_not(host: str) -> None:
    address = running().replace("localhost", host)
    assert first_message(address, origin=address)
    assert first_message(address, origin="http://evil.example.org") is None


def test_the_root_leads_to_the_dashboard() -> None:
    answer = requests.get(running(), timeout=WAIT_S, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "sleep")


@pytest.mark.parametrize("query", [f"text={'0' * 20_000}", f"n_passes={'9' * 5_000}", f"{'9' * 5_000}=1", "text=%ED%A0%80"])
def test_a_page_opens_whatever_stands_in_its_address(query: str) -> None:
    found: list[str] = []

    def page() -> Any:
        found.append(search_asked_for())
        return frame("a page", with_controls=False)

    answer = requests.get(f"{running(page)}/sleep?{query}", timeout=WAIT_S)
    assert answer.status_code == 200
    assert parse_qsl(found[0].removeprefix("?")) == parse_qsl(query)


def test_below_a_prefix_the_root_leads_to_the_dashboard_with_and_without_its_slash() -> None:
    address = running(prefix="/lab/one")
    for path, leads_to in (("/lab/one/", "sleep"), ("/lab/one", "one/")):
        answer = requests.get(f"{address}{path}", timeout=WAIT_S, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (302, leads_to)
    assert requests.get(f"{address}/lab/one", timeout=WAIT_S).url == f"{address}/lab/one/sleep"


def test_behind_a_proxy_that_takes_off_the_beginning_of_the_path_all_stays_below_it(auth: Path) -> None:
    address = running(auth=auth)
    with stripping_proxy("/user/ann/proxy/5006", address) as below:
        visitor = requests.Session()
        answer = visitor.get(f"{below}/", timeout=WAIT_S)
        assert answer.url.startswith(f"{below}/login")
        answer = visitor.post(f"{below}/login", data={"username": "ann", "password": PASSWORD}, timeout=WAIT_S)
        assert answer.url == f"{below}/sleep"
        assert "docs_json" in answer.text


# Tornado leaves the socket of a websocket that it refuses to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_session_opens_by_a_token_of_the_server_and_not_by_one_of_anothers_making() -> None:
    address = running()
    assert first_message(address, origin=address)
    made = generate_jwt_token(generate_session_id())
    assert first_message(address, origin=address, token=made) is None
    signed = generate_jwt_token(generate_session_id(b"guess", signed=True), b"guess", signed=True)
    assert first_message(address, origin=address, token=signed) is None
    foreign = requests.get(f"{address}/sleep", params={"bokeh-session-id": generate_session_id()}, timeout=WAIT_S)
    assert foreign.status_code == 403
    gc.collect()


def test_after_wrong_passwords_one_waits_and_others_do_not(auth: Path) -> None:
    address, visitor = running(auth=auth), requests.Session()

    def tried(name: str, password: str) -> requests.Response:
        return visitor.post(f"{address}/login", data={"username": name, "password": password}, timeout=WAIT_S)

    wrong = [tried("eve", "wrong").status_code for _ in range(10)]
    assert wrong[:4] == [200] * 4
    assert 429 in wrong[4:]
    assert "docs_json" in tried("ann", PASSWORD).text


def test_the_greeting_says_where_for_whom_what_and_how_to_stop(tmp_path: Path) -> None:
    said = greeting(Serving(port=0, read_only=True, address="0.0.0.0", prefix="/lab", root=tmp_path), 7777)
    assert "http://localhost:7777/lab/sleep, listening on 0.0.0.0" in said
    assert f"the lab of {tmp_path}: http://localhost:7777/lab/runs" in said
    assert "whoever reaches it, to look only" in said
    assert f"{limits.current().max_work:,}" in said
    assert "Ctrl-C stops it" in said


def test_the_command_says_where_it_serves_at_once_and_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sleepkit", "dashboard", "--port", "0", "--root", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        port = int(re.findall(r"localhost:([0-9]+)/sleep", lines[0])[0])
        assert port > 0
        assert requests.get(f"http://localhost:{port}/sleep", timeout=WAIT_S).status_code == 200
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "Traceback" not in complaints


def test_port_0_is_a_port_that_is_free() -> None:
    server = make_server(Serving(port=0))
    assert server.port not in (None, 0)
    assert f"localhost:{server.port}" in server._tornado.websocket_origins
    server.stop()


def test_with_an_auth_file_nothing_is_shown_without_the_password(auth: Path) -> None:
    address = running(auth=auth)
    visitor = requests.Session()
    for path in ("", "/sleep", "/sleep/autoload.js?bokeh-autoload-element=x"):
        answer = visitor.get(f"{address}{path}", timeout=WAIT_S)
        assert "/login" in answer.url or answer.status_code == 403
        assert "docs_json" not in answer.text
    for name, password in (("ann", "wrong"), ("eve", PASSWORD), ("ann", "")):
        answer = visitor.post(f"{address}/login", data={"username": name, "password": password}, timeout=WAIT_S)
        assert "Invalid username or password!" in answer.text
        assert "user" not in visitor.cookies
    answer = visitor.post(f"{address}/login", data={"username": "ann", "password": PASSWORD}, timeout=WAIT_S)
    assert answer.url.rstrip("/").endswith("/sleep")
    assert "docs_json" in answer.text


def test_the_login_page_asks_nothing_of_other_hosts(auth: Path) -> None:
    text = requests.get(f"{running(auth=auth)}/login", timeout=WAIT_S).text
    assert "http" not in text.replace('http-equiv="', "")
    assert "<form" in text


def test_with_an_auth_file_the_websocket_says_nothing_to_strangers(auth: Path) -> None:
    address = running(auth=auth)
    visitor = requests.Session()
    visitor.post(f"{address}/login", data={"username": "ann", "password": PASSWORD}, timeout=WAIT_S)
    known = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    assert first_message(address, origin=address, cookies=known)
    assert first_message(address, origin=address) is None


def test_read_only_holds_for_the_whole_process_and_only_if_asked_for() -> None:
    make_server(Serving(port=get_open_ports()[0])).stop()
    assert not limits.current().read_only
    make_server(Serving(port=get_open_ports()[0], read_only=True)).stop()
    assert limits.current().read_only


def test_the_dashboard_is_among_the_pages(tmp_path: Path) -> None:
    assert set(pages(tmp_path)) in ({"sleep"}, {"sleep", "runs"})
