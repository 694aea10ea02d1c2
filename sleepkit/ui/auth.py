"""Who may log in: a file of names and argon2 hashes of passwords, and Panel's login page over it.

The file has one ``name:hash`` a line, empty lines and lines that start with # aside, and is readable by its owner alone. It is
written by ``sleepkit dashboard --auth FILE --add-user NAME``; no password is ever stored.
"""

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import argon2
from panel.auth import BasicAuthProvider, BasicLoginHandler

from sleepkit.errors import refuse, require
from sleepkit.files import whole_file

LOGIN_PAGE = Path(__file__).with_name("login.html")
MIN_PASSWORD_LEN = 8
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


class PasswordFile(BasicAuthProvider):
    """Panel's login over hashed passwords, with a login page that asks nothing of other hosts.

    Args:
        users: the hash of each user.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
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

    @property
    def login_handler(self) -> type[BasicLoginHandler]:
        """The handler of the login page."""
        PasswordLogin._login_endpoint = self._login_endpoint
        PasswordLogin._login_template = self._login_template
        return PasswordLogin


class PasswordLogin(BasicLoginHandler):
    """The login page of a server whose auth provider is a ``PasswordFile``."""

    def _validate(self, username: str, password: str) -> bool:
        server: Any = self.application
        return bool(server.auth_provider.knows(username, password))


def _is_hash(text: str) -> bool:
    try:
        return bool(argon2.extract_parameters(text))
    except argon2.exceptions.InvalidHashError:
        return False
