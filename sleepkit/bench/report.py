"""One JSON per suite: results, settings, device, versions, load."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sleepkit.bench.measure import TROUBLE, reason
from sleepkit.errors import require, require_known
from sleepkit.files import whole_file
from sleepkit.results import provenance
from sleepkit.settings import Settings


class Suite(NamedTuple):
    """Where a suite is: its module, and the settings class of ``run``; without one the module has ``measure()``."""

    module: str
    settings: str | None = None


SUITES = {
    "ops": Suite("sleepkit.bench.operations", "OpsSettings"),
    "train": Suite("sleepkit.bench.training", "TrainBenchSettings"),
    "latency": Suite("sleepkit.bench.latency", "LatencySettings"),
    "memory": Suite("sleepkit.bench.memory", "MemorySettings"),
    "session": Suite("sleepkit.bench.streaming"),
    "tasks": Suite("sleepkit.bench.generation"),
    "dashboard": Suite("sleepkit.bench.dashboard", "DashboardSettings"),
}
ALL = "all"


def run_suite(name: str, output: Path, *, overrides: Sequence[str] = (), progress: bool = False) -> dict[str, Any]:
    """Measure one suite and write its JSON, whole or not at all.

    Args:
        name: one of ``SUITES``.
        output: the file.
        overrides: changes of the suite's settings, e.g. "rounds=3".
        progress: show bars on stderr.

    Raises:
        InvalidInputError: for an unknown suite or setting, or if the output is a folder; nothing is measured then.
    """
    require_known("suite", name, [*SUITES, ALL])
    require(not output.is_dir(), "--json", "must be a file", str(output))
    given, measure = _prepare(name, overrides, progress)
    load_before = os.getloadavg()[0]
    results = measure()
    report = {
        "suite": name,
        "results": results,
        **({} if given is None else {"settings": given.to_dict()}),
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
        **provenance(),
    }
    with whole_file(output) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    return report


def run_all(folder: Path, *, against: str | None = None, progress: bool = False) -> dict[str, str]:
    """Measure every suite into ``FOLDER/SUITE.json``; one that cannot run is reported, its old file stays, the others go on.

    Args:
        folder: where the files go.
        against: the earlier revision that the suite ``train`` compares with.
        progress: show bars on stderr.

    Returns:
        What became of each suite: the file, or why it could not run (then it starts with "not measured").

    Raises:
        InvalidInputError: if the folder is a file, or there is no such revision; nothing is measured then.
    """
    require(not folder.exists() or folder.is_dir(), "--json", "must be a folder where all suites are run", str(folder))
    if against is not None:
        from sleepkit.bench.throughput import resolve

        resolve(against)
    outcome = {}
    for name in SUITES:
        if progress:
            print(f"suite {name}", file=sys.stderr)
        overrides = [against_override(against)] if name == "train" and against is not None else []
        try:
            run_suite(name, folder / f"{name}.json", overrides=overrides, progress=progress)
            outcome[name] = str(folder / f"{name}.json")
        except TROUBLE as error:
            outcome[name] = f"not measured ({reason(error)})"
    return outcome


def against_override(revision: str) -> str:
    """Return the override that makes the suite ``train`` compare with a revision, whatever its hash looks like."""
    return f"against={json.dumps(revision)}"


def _prepare(name: str, overrides: Sequence[str], progress: bool) -> tuple[Settings | None, Callable[[], Any]]:
    suite = SUITES[name]
    module = importlib.import_module(suite.module)
    if suite.settings is None:
        require(not overrides, "--set", f"the suite {name} has no settings", list(overrides))
        return None, module.measure
    given: Settings = getattr(module, suite.settings)().with_overrides(*overrides)
    return given, lambda: module.run(given, progress=progress)
