"""``python -m tests.robustness [PART ...] [--short] [--output FILE]``: kill, corrupt, make up input; tell what came of it.

The parts are kills, corruptions, commands, processes, addresses, texts, messages, sockets and the slow tests of the suite; all of
them if none is named. The exit status is 1 if anything was lost, accepted wrong, failed, died, hung or ended in a traceback. The
committed counts are those of ``python -m tests.robustness --processes 2 --output benchmarks/robustness.json``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sleepkit.bench.documents import FAULTS
from sleepkit.results import provenance
from tests.robustness import addresses, commands, corruptions, kills, messages, slow, sockets, texts, things
from tests.robustness.forked import warm_up

SEED = 110
ROOT = Path(__file__).resolve().parents[2]
Part = Callable[[], dict[str, Any]]


def parts(*, short: bool) -> dict[str, Part]:
    """Return every part by its name, in its long or its short form; those that take longest come first."""
    tests: dict[str, Part] = {} if short else {"slow tests": slow.run_slow_tests}
    return {
        **tests,
        "kills of savings": lambda: kills.kill_savings(most=2 if short else None, at_random=0 if short else 6, seed=SEED),
        "kills of work": lambda: kills.kill_work(most=1 if short else 32, at_random=0 if short else 6, seed=SEED),
        "processes": lambda: commands.try_processes(2 if short else 200, seed=SEED),
        "commands": lambda: commands.try_commands(80 if short else 4200, seed=SEED),
        "corruptions": lambda: corruptions.corrupt(n_each=5 if short else 40, seed=SEED),
        "sockets": lambda: sockets.try_sockets(20 if short else 200, seed=SEED),
        "texts": lambda: texts.try_texts(90 if short else 2600, seed=SEED),
        "addresses": lambda: addresses.try_addresses(100 if short else 2600, seed=SEED),
        "messages": lambda: messages.try_messages(40 if short else 600, seed=SEED),
    }


def main() -> int:
    """Run the parts that are asked for, print their counts and write them; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("part", nargs="*", help="the beginning of a part's name; all if none")
    parser.add_argument("--short", action="store_true", help="the form that the suite runs")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="run N parts at a time, each in its process")
    parser.add_argument("--output", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    known = parts(short=options.short)
    asked = [name for name in known if not options.part or any(name.startswith(part) for part in options.part)]
    if options.processes > 1:
        told = _apart(asked, options.processes, short=options.short)
    else:
        warm_up(things.save_and_read_arrays)
        told = {name: _timed(name, known[name]) for name in asked}
    n_faults = count(told, FAULTS)
    print(f"{count(told, ('kills', 'tries', 'tests'))} tries, {n_faults} faults")
    if options.output:
        options.output.write_text(json.dumps(_record(told, short=options.short), indent=1, ensure_ascii=True) + "\n")
    return 1 if n_faults else 0


def count(told: Any, names: tuple[str, ...]) -> int:
    """Add up everything of these names."""
    if not isinstance(told, dict):
        return 0
    return sum(value if name in names and isinstance(value, int) else count(value, names) for name, value in told.items())


def _timed(name: str, part: Part) -> dict[str, Any]:
    began = time.monotonic()
    kinds = part()
    told = {"commit": _commit(), "seconds": round(time.monotonic() - began, 1), "kinds": kinds}
    print(json.dumps({name: told}, indent=1), flush=True)
    return told


def _apart(names: list[str], n_processes: int, *, short: bool) -> dict[str, Any]:
    """Run every part in a process of its own, so many at a time."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(n_processes) as threads:

        def run(name: str) -> Any:
            output = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", "tests.robustness", name, "--output", str(output), *(["--short"] if short else [])]
            subprocess.run(command, cwd=ROOT, check=False)
            return json.loads(output.read_text())["parts"][name]

        return dict(zip(names, threads.map(run, names), strict=True))


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _record(told: dict[str, Any], *, short: bool) -> dict[str, Any]:
    totals = {name: count(told, (name,)) for name in ("kills", "tries", "tests", *FAULTS)}
    facts = {"commit": _commit(), "date": time.strftime("%Y-%m-%d"), "provenance": provenance()}
    return {**facts, "seed": SEED, "short": short, "totals": totals, "parts": told}


if __name__ == "__main__":
    sys.exit(main())
