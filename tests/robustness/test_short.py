"""A little of everything in ``python -m tests.robustness``: nothing is lost, accepted wrong, hangs or ends in a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sleepkit.bench.documents import FAULTS
from tests.robustness.tracer import why_unavailable

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("kills of savings", "kills of work", "processes", "commands", "corruptions", "sockets", "texts", "addresses", "messages")


@pytest.mark.timeout(1200)
def test_nothing_is_lost_and_nothing_wrong_is_accepted(tmp_path: Path) -> None:
    """In a process of its own: a crash there is a failure here, and what it forks inherits no threads."""
    if reason := why_unavailable():
        pytest.skip(reason)
    output = tmp_path / "told.json"
    command = [sys.executable, "-m", "tests.robustness", "--short", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert output.exists(), done.stderr[-3000:]
    told = json.loads(output.read_text())["parts"]
    assert sorted(told) == sorted(PARTS)
    for part, kinds in ((part, told[part]["kinds"]) for part in PARTS):
        for kind, counts in kinds.items():
            assert counts.get("kills", counts.get("tries")) > 0, (part, kind)
            assert {name: counts[name] for name in FAULTS if counts.get(name)} == {}, (part, kind, counts["found"])
    assert done.returncode == 0
