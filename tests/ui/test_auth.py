"""The auth file: what is written, what is refused, and that a password is known by its hash alone."""

from pathlib import Path

import argon2
import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.ui.auth import Delays, PasswordFile, add_user, page_after, read_users

PASSWORD = "correct horse"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = CHEAP.hash(PASSWORD)


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "users"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_an_added_user_is_known_by_the_password_which_is_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add_user(path, "ann", PASSWORD)
    add_user(path, "bob", "battery staple")
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()
    users = PasswordFile(read_users(path))
    assert users.knows("ann", PASSWORD)
    assert not users.knows("ann", "battery staple")
    assert not users.knows("bob", PASSWORD)
    assert not users.knows("eve", PASSWORD)


def test_a_known_user_gets_the_new_password(tmp_path: Path) -> None:
    path = written(tmp_path, f"ann:{HASH}\n")
    add_user(path, "ann", "battery staple")
    users = PasswordFile(read_users(path))
    assert users.knows("ann", "battery staple")
    assert not users.knows("ann", PASSWORD)


def test_the_password_of_the_name_nobody_has_lets_nobody_in() -> None:
    assert not PasswordFile({"ann": HASH}).knows("eve", "nobody")


def test_comments_and_empty_lines_are_no_users(tmp_path: Path) -> None:
    assert list(read_users(written(tmp_path, f"# the lab\n\nann:{HASH}\n"))) == ["ann"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must name a user; --add-user NAME adds one"),
        ("# nobody\n", "must name a user; --add-user NAME adds one"),
        (f"ann:{HASH}\nbob:secret-in-clear\n", "must hold name:argon2-hash lines, got 'line 2 of"),
        ("just words\n", "must hold name:argon2-hash lines, got 'line 1 of"),
        (f":{HASH}\n", "must hold name:argon2-hash lines, got 'line 1 of"),
        (f"ann:{HASH}\nann:{HASH}\n", "must name each user once, got 'line 2 of"),
    ],
    ids=["empty", "a comment", "a password in clear", "words", "no name", "a user twice"],  # a hash differs in every process
)
def test_a_bad_file_is_refused_in_one_line_that_repeats_nothing_of_it(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_users(written(tmp_path, text))
    assert str(caught.value).startswith("--auth: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret-in-clear" not in str(caught.value)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_try_after_the_free_ones_doubles_the_wait_up_to_the_longest() -> None:
    clock = Clock()
    delays, waits = Delays(free=2, longest_s=5.0, clock=clock), []
    for _ in range(6):
        delays.tried("ann")
        waits.append(delays.wait_s("ann"))
        clock.now += waits[-1]
    assert waits == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert delays.wait_s("ann") == 0.0
    assert delays.wait_s("bob") == 0.0


def test_tries_at_once_count_as_tries_in_a_row_and_the_right_one_takes_them_back() -> None:
    delays = Delays(free=3, longest_s=60.0, clock=Clock())
    for _ in range(40):
        delays.tried("ann")
    assert delays.wait_s("ann") == 60.0
    delays.right("ann")
    assert delays.wait_s("ann") == 0.0


def test_after_a_long_rest_the_count_begins_anew_and_few_keys_are_remembered() -> None:
    clock = Clock()
    delays = Delays(free=1, longest_s=4.0, clock=clock)
    for _ in range(5):
        delays.tried("ann")
    clock.now += 100.0
    delays.tried("ann")
    assert delays.wait_s("ann") == 1.0
    for number in range(10_000):
        delays.tried(number)
    assert len(delays._tries) == 4096


@pytest.mark.parametrize(
    ("asked", "page"),
    [
        ("/sleep", "sleep"),
        ("/lab/sleep?n_passes=4&text=a%20b", "sleep?n_passes=4&text=a%20b"),
        ("", "./"),
        ("/", "./"),
        ("https://evil.example.org/", "./"),
        ("//evil.example.org", "./"),
        ("https://evil.example.org/sleep", "sleep"),
        ("/sleep\r\nSet-Cookie: a=b", "./"),
        ("javascript:alert(1)", "./"),
        ("/" + "a" * 5000, "./"),
    ],
)
def test_a_login_leads_to_a_page_beside_it_and_nowhere_else(asked: str, page: str) -> None:
    assert page_after(asked) == page


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"must be readable by its owner alone \(chmod 600\), got 'mode {mode:o}'"):
        read_users(written(tmp_path, f"ann:{HASH}\n", mode))


def test_no_file_a_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"must be a file that can be read \(No such file"):
        read_users(tmp_path / "nothing")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    with pytest.raises(InvalidInputError, match=r"must be a file that can be read \(Is a directory"):
        read_users(folder)
    bad = written(tmp_path, "")
    bad.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidInputError, match="must be a text file of name:hash lines"):
        read_users(bad)


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("", PASSWORD, "--add-user: must be 1 to 64 letters"),
        ("a:b", PASSWORD, "--add-user: must be 1 to 64 letters"),
        ("ann\nbob", PASSWORD, "--add-user: must be 1 to 64 letters"),
        ("ann", "short", "password: must have 8 characters or more, got '5 characters'"),
    ],
)
def test_a_bad_name_and_a_short_password_are_refused_and_nothing_is_written(
    tmp_path: Path, name: str, password: str, words: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        add_user(tmp_path / "users", name, password)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []
