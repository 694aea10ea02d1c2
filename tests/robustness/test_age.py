"""The record of the long form tells how many commits ago it was made, also where the history was written anew."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.robustness.age import RECORD, ROOT, commits_since


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, what: str) -> str:
    git(folder, "commit", "-q", "--allow-empty", "-m", what)
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("known", [True, False])
def test_the_age_is_the_number_of_commits_since(tmp_path: Path, known: bool) -> None:
    git(tmp_path, "init", "-q")
    measured = commit(tmp_path, "measured")
    (tmp_path / RECORD).parent.mkdir()
    (tmp_path / RECORD).write_text(json.dumps({"commit": measured if known else "0" * 40}))
    git(tmp_path, "add", ".")
    commit(tmp_path, "record")
    for number in range(3):
        commit(tmp_path, f"later {number}")
    assert commits_since(tmp_path) == (4 if known else 3)


def test_the_record_is_of_the_long_form_and_holds_no_fault() -> None:
    record = json.loads((ROOT / RECORD).read_text())
    assert not record["short"]
    assert record["totals"]["kills"] >= 300
    assert record["totals"]["tries"] >= 10_000
    assert {name: n for name, n in record["totals"].items() if name not in ("kills", "tries", "tests") and n} == {}
