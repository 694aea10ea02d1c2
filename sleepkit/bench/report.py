"""One JSON per suite: results, device, versions, load."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

from sleepkit.errors import require
from sleepkit.files import whole_file
from sleepkit.results import provenance

SUITES = {
    "session": "sleepkit.bench.streaming",
    "tasks": "sleepkit.bench.generation",
    "dashboard": "sleepkit.bench.dashboard",
}


def run_suite(name: str, output: Path) -> dict[str, Any]:
    """Measure one suite and write its JSON.

    Raises:
        InvalidInputError: for an unknown suite.
    """
    require(name in SUITES, "suite", f"must be one of {', '.join(SUITES)}", name)
    load_before = os.getloadavg()[0]
    results = importlib.import_module(SUITES[name]).measure()
    report = {"suite": name, "results": results, "load_before": round(load_before, 2), **provenance()}
    with whole_file(output) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    return report
