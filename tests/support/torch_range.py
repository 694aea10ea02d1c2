"""Try the releases of torch at both ends of the range that pyproject.toml allows: ``python tests/support/torch_range.py``.

Each release gets an environment of its own with the core and what the chosen tests need, and those tests run in it. Releases
other than the pinned one come as their CUDA build, several gigabytes, so this is no part of ``.ci/run``; the result is committed
as ``benchmarks/torch_range.json`` with the commit it is of. Exit status 1 if a test failed.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "torch_range.json"
RELEASES = ("2.11.0", "2.13.0")
TESTS = (
    "tests/model/test_hybrid.py",
    "tests/ops/test_rows.py",
    "tests/sleep/test_rollout.py",
    "tests/training/test_optimiser.py",
    "tests/zoo/test_record.py",
)
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "beartype", "packaging", "psutil")


def constraints() -> str:
    """The pinned packages but torch and what comes with it."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return "\n".join(line for line in lines if line.partition("==")[0] not in ("torch", "triton", "sympy", "networkx"))


def install(release: str, folder: Path) -> Path:
    """Make an environment with a release of torch and the core's packages; return its Python."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pinned = folder / "constraints.txt"
    pinned.write_text(constraints())
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    rest = [line for line in core if not line.startswith("torch")]
    command = [str(python), "-m", "pip", "install", "-q", "-c", str(pinned), f"torch=={release}", *rest, *TOOLS]
    subprocess.run(command, check=True)
    return python


def run_tests(python: Path, report: Path) -> dict[str, Any]:
    """Run the chosen tests and return what came of them."""
    began = time.monotonic()
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not report.exists():
        raise RuntimeError(f"pytest made no report: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if list(case.iter("failure")) or list(case.iter("error"))
    ]
    skipped = int(suite.get("skipped", "0"))
    return {
        "passed": int(suite.get("tests", "0")) - skipped - len(failed),
        "skipped": skipped,
        "failed": failed,
        "seconds": round(time.monotonic() - began),
    }


def version(python: Path) -> str:
    """The release of torch that is installed, with its build."""
    command = [str(python), "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """The commit that is tried; a plus where files of the package differ from it."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "sleepkit"], cwd=ROOT).returncode
    return found + ("+" if changed else "")


def processor() -> str:
    """The processor, as Linux names it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--release", action="append", dest="releases", help=f"a release (default: {', '.join(RELEASES)})")
    parser.add_argument("--here", action="store_true", help="try the torch of this very environment, install nothing")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = json.loads(RESULT.read_text())["results"] if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for release in ["here"] if options.here else options.releases or RELEASES:
            folder = Path(scratch, release)
            python = Path(sys.executable) if options.here else install(release, folder)
            name = version(python)
            results[name] = {"commit": commit(), **run_tests(python, Path(scratch, "report.xml"))}
            Path(scratch, "report.xml").unlink()
            print(f"torch {name}: {results[name]}", flush=True)
    facts = {"python": platform.python_version(), "processor": processor(), "system": f"{platform.system()} {platform.machine()}"}
    RESULT.write_text(json.dumps({**facts, "tests": list(TESTS), "results": results}, indent=2) + "\n")
    return 1 if any(found["failed"] for found in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
