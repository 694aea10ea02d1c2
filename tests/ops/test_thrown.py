"""Tensors and modules drawn at random, in a process of its own: a crash, or other numbers, is a failure."""

import os
import subprocess
import sys

N_CASES = int(os.environ.get("SLEEPKIT_DOOR_CASES", "150"))


def test_whatever_is_handed_over_gives_the_reference_or_is_refused() -> None:
    """SLEEPKIT_DOOR_CASES sets how many cases; python -m tests.support.thrown N runs them without pytest."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.thrown", str(N_CASES)], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    assert done.stdout.splitlines()[-1] == f"{N_CASES} cases, 0 wrong"
