"""How many commits ago the long form ran: ``python -m tests.robustness.age``; exit status 1 if that is too many."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path("benchmarks/robustness.json")
MOST = 40


def commits_since(root: Path, record: Path = RECORD) -> int:
    """Return how many commits lie between the record's own commit and the one checked out.

    A history that was written anew does not know that commit; then the one that brought the record counts.
    """
    commit = json.loads((root / record).read_text())["commit"]
    if _git(root, "merge-base", "--is-ancestor", commit, "HEAD").returncode:
        commit = _git(root, "log", "-1", "--format=%H", "--", str(record)).stdout.strip()
    return int(_git(root, "rev-list", "--count", f"{commit}..HEAD").stdout)


def main() -> int:
    """Say how old the record is; return 1 if it is too old."""
    ago = commits_since(ROOT)
    print(
        f"{RECORD}: {ago} commits ago, at most {MOST}; python -m tests.robustness --processes 2 --output {RECORD} makes it anew"
    )
    return 1 if ago > MOST else 0


def _git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
