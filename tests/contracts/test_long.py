"""The long form of the suite names tests that exist, and its counts are committed."""

import json
import re
from pathlib import Path

from tests.robustness.age import RECORD
from tests.support.long import LONG

ROOT = Path(__file__).resolve().parents[2]


def test_every_entry_of_the_long_form_names_a_test() -> None:
    for entry in LONG:
        path, _, name = entry.partition("::")
        function = re.match(r"\w+", name)
        assert function is not None, entry
        assert f"def {function[0]}(" in (ROOT / path).read_text(), entry


def test_all_of_the_long_form_passed_when_it_was_last_run() -> None:
    record = json.loads((ROOT / RECORD).read_text())
    outside = {entry for entry in LONG if not entry.startswith("tests/interpreted")}  # those run inside another
    assert record["totals"]["tests"] >= len(outside)
    assert record["totals"]["failed"] == 0
