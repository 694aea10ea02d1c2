"""Who may log in: a file of names and argon2 hashes of passwords, and Panel's login page over it.

The file has one ``name:hash`` a line, empty lines and lines that start with # aside, and is readable by its owner alone. It is
written by ``sleepkit dashboard --auth FILE --add-user NAME``; no password is ever stored.
"""

import asyncio
import collections
import math
import re
import stat
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import argon2
from panel.auth import BasicAuthProvider, BasicLoginHandler

from sleepkit.errors import refuse, require
from sleepkit.files import whole_file

LOGIN_PAGE = Path(__file__).with_name("login.html")
MIN_PASSWORD_LEN = 8
_NEXT = "next_url"  # the cookie that remembers where the login was asked for from
_PAGE = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LONGEST_ADDRESS, _LONGEST_NAME, _LONGEST_PASSWORD = 4096, 64, 1024
_MOST_KEYS, _MOST_DOUBLINGS, _REST = 4096, 30, 10.0
_NAME = re.compile(r"[\w.@+-]{1,64}")
_PRIVATE = 0o600


def read_users(path: Path) -> dict[str, str]:
    """Return the hash of each user of an auth file.

    Raises:
        InvalidInputError: if the file is missing, unreadable, readable by others than its owner, empty, or has a line that is no
            ``name:hash``; what a bad line holds is not said, since it may be a password.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        require(mode & 0o077 == 0, "--auth", f"{path} must be readable by its owner alone (chmod 600)", f"mode {mode:o}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        refuse("--auth", f"must be a file that can be read ({error.strerror})", str(path))
    except UnicodeDecodeError:
        refuse("--auth", "must be a text file of name:hash lines", str(path))
    users: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.strip().partition(":")
        where = f"line {number} of {path}"
        require(_NAME.fullmatch(name) is not None and _is_hash(hashed), "--auth", "must hold name:argon2-hash lines", where)
        require(name not in users, "--auth", "must name each user once", where)
        users[name] = hashed
    require(len(users) > 0, "--auth", "must name a user; --add-user NAME adds one", str(path))
    return users


def add_user(path: Path, name: str, password: str) -> None:
    """Write a user into an auth file, which is made if it is not there; a known user gets the new password.

    Raises:
        InvalidInputError: for a bad name, a short password or a bad file.
    """
    require(_NAME.fullmatch(name) is not None, "--add-user", "must be 1 to 64 letters, digits or _ . @ + -", name)
    n_letters = len(password)
    require(
        n_letters >= MIN_PASSWORD_LEN, "password", f"must have {MIN_PASSWORD_LEN} characters or more", f"{n_letters} characters"
    )
    users = read_users(path) if path.exists() else {}
    users[name] = argon2.PasswordHasher().hash(password)
    with whole_file(path, mode=_PRIVATE) as temporary:
        temporary.write_text("".join(f"{user}:{hashed}\n" for user, hashed in users.items()), encoding="utf-8")


class Delays:
    """How long to wait after wrong passwords: some tries are free, then each wrong one doubles the time until the next.

    Every try counts as wrong from its beginning, so that many at once are as slow as many in a row; the right password takes
    them back. The keys tried last are remembered, a few thousand.

    Args:
        free: wrong tries that cost nothing.
        longest_s: the longest time to wait, seconds.
        clock: seconds that only grow.
    """

    def __init__(self, *, free: int, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._free, self._longest_s, self._clock = free, longest_s, clock
        self._tries: collections.OrderedDict[Hashable, tuple[int, float]] = collections.OrderedDict()  # how many, the last one

    def wait_s(self, key: Hashable) -> float:
        """Return the seconds until a key may try again; 0 if it may now."""
        n_wrong, last = self._tries.get(key, (0, 0.0))
        if n_wrong < self._free:
            return 0.0
        delay = min(self._longest_s, 2.0 ** min(n_wrong - self._free, _MOST_DOUBLINGS))
        return max(0.0, last + delay - self._clock())

    def tried(self, key: Hashable) -> None:
        """Count a try; after a rest of ten times the longest wait the count begins anew."""
        n_wrong, last = self._tries.pop(key, (0, 0.0))
        rested = self._clock() - last > _REST * self._longest_s
        self._tries[key] = (1 if rested else n_wrong + 1, self._clock())
        while len(self._tries) > _MOST_KEYS:
            self._tries.popitem(last=False)

    def right(self, key: Hashable) -> None:
        """Forget the tries of a key, whose password was right."""
        self._tries.pop(key, None)


class PasswordFile(BasicAuthProvider):
    """Panel's login over hashed passwords, with a login page that asks nothing of other hosts.

    Passwords are checked one after another in a thread of their own: an argon2 hash takes a good part of a second and 64 MiB.
    Who fails waits, by name and address together, so that nobody locks out anybody else; an address that fails for many names
    waits too, but briefly, since all visitors of a proxy come from one.

    Args:
        users: the hash of each user.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._by_name, self._by_address = Delays(free=4, longest_s=300.0), Delays(free=32, longest_s=4.0)
        super().__init__(login_template=str(LOGIN_PAGE))  # type: ignore[no-untyped-call]
        self._users, self._hasher = dict(users), argon2.PasswordHasher()
        # A name nobody has must take as long to refuse as a wrong password, or the time tells names.
        self._nobody = self._hasher.hash("nobody")

    def knows(self, name: str, password: str) -> bool:
        """Return whether a user has this password."""
        try:
            return self._hasher.verify(self._users.get(name, self._nobody), password) and name in self._users
        except argon2.exceptions.VerificationError:
            return False

    def wait_s(self, name: str, address: str) -> float:
        """Return the seconds until somebody at an address may try a name again; 0 if now."""
        return max(self._by_name.wait_s((name, address)), self._by_address.wait_s(address))

    async def admits(self, name: str, password: str, address: str) -> bool:
        """Return whether a user has this password, checked outside the event loop; a wrong one costs its address time."""
        self._by_name.tried((name, address))
        self._by_address.tried(address)
        loop = asyncio.get_running_loop()
        admitted = await loop.run_in_executor(self._thread, self.knows, name, password)
        if admitted:
            self._by_name.right((name, address))
            self._by_address.right(address)
        return admitted

    @property
    def login_handler(self) -> type[BasicLoginHandler]:
        """The handler of the login page."""
        PasswordLogin._login_endpoint = self._login_endpoint
        PasswordLogin._login_template = self._login_template
        return PasswordLogin


class PasswordLogin(BasicLoginHandler):
    """The login page of a server whose auth provider is a ``PasswordFile``.

    It leads on to pages beside it by their names alone, so that it works below any path a proxy may have taken off.
    """

    def get(self) -> None:
        """Show the page, and remember where it was asked for from."""
        self.set_cookie(_NEXT, quote(page_after(self.get_argument("next", "")), safe=""))
        self._show("")

    async def post(self) -> None:
        """Let in who has the password."""
        name, password = self.get_argument("username", "")[:_LONGEST_NAME], self.get_argument("password", "")[:_LONGEST_PASSWORD]
        server: Any = self.application
        users, address = server.auth_provider, str(self.request.remote_ip)
        wait_s = users.wait_s(name, address)
        if wait_s > 0:
            self.set_status(429)
            self.set_header("Retry-After", str(math.ceil(wait_s)))
            self._show(f"Too many wrong passwords. Try again in {math.ceil(wait_s)} s.")
        elif await users.admits(name, password, address):
            self.set_current_user(name)
            self.redirect(page_after(unquote(self.get_cookie(_NEXT, "") or "")))
        else:
            self._show("Invalid username or password!")

    def _show(self, message: str) -> None:
        self.write(self._login_template.render(login_endpoint="/login", errormessage=message))


def page_after(asked: str) -> str:
    """Return the page to lead to after the login, relative to the login page: the name and the query of what was asked for."""
    parts = urlsplit(asked if len(asked) <= _LONGEST_ADDRESS and asked.isascii() and asked.isprintable() else "")
    name = parts.path.rpartition("/")[2]
    if _PAGE.fullmatch(name) is None:
        return "./"
    return f"{name}?{parts.query}" if parts.query else name


def _is_hash(text: str) -> bool:
    try:
        return bool(argon2.extract_parameters(text))
    except argon2.exceptions.InvalidHashError:
        return False
