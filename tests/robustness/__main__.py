"""``python -m tests.robustness [PART ...] [--short] [--output FILE]``: kill, corrupt, make up input; tell what came of it.

The parts are kills, corruptions, commands, processes, addresses, texts, messages and sockets; all of them if none is named. The
exit status is 1 if anything was lost, accepted wrong, died, hung or ended in a traceback.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sleepkit.results import provenance
from tests.robustness import addresses, commands, corruptions, kills, messages, sockets, texts, things
from tests.robustness.forked import warm_up

SEED = 110
FAULTS = ("lost", "leftovers", "differs", "accepted_wrong", "tracebacks", "crashes", "hangs")
Part = Callable[[], dict[str, Any]]


def parts(*, short: bool) -> dict[str, Part]:
    """Return every part by its name, in its long or its short form."""
    few = 4 if short else None
    return {
        "kills of savings": lambda: kills.kill_savings(most=few, at_random=1 if short else 12, seed=SEED),
        "kills of work": lambda: kills.kill_work(most=2 if short else 48, at_random=0 if short else 8, seed=SEED),
        "corruptions": lambda: corruptions.corrupt(n_each=9 if short else 90, seed=SEED),
        "commands": lambda: commands.try_commands(120 if short else 5000, seed=SEED),
        "processes": lambda: commands.try_processes(2 if short else 200, seed=SEED),
        "addresses": lambda: addresses.try_addresses(100 if short else 2000, seed=SEED),
        "texts": lambda: texts.try_texts(108 if short else 2000, seed=SEED),
        "sockets": lambda: sockets.try_sockets(20 if short else 600, seed=SEED),
        "messages": lambda: messages.try_messages(40 if short else 500, seed=SEED),
    }


def main() -> int:
    """Run the parts that are asked for, print their counts and write them; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("part", nargs="*", help="the beginning of a part's name; all if none")
    parser.add_argument("--short", action="store_true", help="the form that the suite runs")
    parser.add_argument("--output", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    warm_up(things.save_and_read_arrays)
    told: dict[str, Any] = {}
    for name, part in parts(short=options.short).items():
        if options.part and not any(name.startswith(asked) for asked in options.part):
            continue
        began = time.monotonic()
        told[name] = {"seconds": 0.0, "kinds": part()}
        told[name]["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps({name: told[name]}, indent=1), flush=True)
    n_faults = count(told, FAULTS)
    print(f"{count(told, ('kills', 'tries'))} tries, {n_faults} faults")
    if options.output:
        options.output.write_text(json.dumps(_record(told, short=options.short), indent=1) + "\n")
    return 1 if n_faults else 0


def count(told: Any, names: tuple[str, ...]) -> int:
    """Add up everything of these names."""
    if not isinstance(told, dict):
        return 0
    return sum(value if name in names and isinstance(value, int) else count(value, names) for name, value in told.items())


def _record(told: dict[str, Any], *, short: bool) -> dict[str, Any]:
    facts = provenance()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    totals = {name: count(told, (name,)) for name in ("kills", "tries", *FAULTS)}
    return {"commit": commit, "provenance": facts, "seed": SEED, "short": short, "totals": totals, "parts": told}


if __name__ == "__main__":
    sys.exit(main())
