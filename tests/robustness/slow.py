"""The tests that are marked ``long``: truths that take minutes and that a change seldom touches."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run_slow_tests(*chosen: str) -> dict[str, Any]:
    """Run the tests marked ``long``, or those among some files; count them and name those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "long", f"--junitxml={report}", "-p", "no:cacheprovider", *chosen]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            return {"tests": 0, "failed": 1, "found": done.stdout.splitlines()[-3:]}
        cases = ET.parse(report).getroot().findall(".//testcase")
    broken = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    failed = max(len(broken), int(done.returncode != 0))
    return {
        "tests": len(cases),
        "failed": failed,
        "skipped": sum(case.find("skipped") is not None for case in cases),
        "found": broken,
    }
