"""The command ``sleepkit bench``: its arguments, and what it prints."""

import argparse
import json
from pathlib import Path

from sleepkit import catalogue
from sleepkit.commands.parser import add_overrides
from sleepkit.commands.places import require_folder_place
from sleepkit.errors import require, require_known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    suites = f"{', '.join(catalogue.SUITES)}, or all of them; screenshots draws the pictures of the documents"
    parser.add_argument("suite", metavar="SUITE", help=suites)
    parser.add_argument(
        "--json",
        dest="output",
        metavar="FILE",
        help="where the JSON goes (default: benchmarks/SUITE.json); for all suites a folder (default: benchmarks)",
    )
    parser.add_argument("--against", metavar="REV", help="train: also measure an earlier revision of this checkout, in turns")
    add_overrides(parser, "rounds=3, for one suite")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> int:
    """Measure one suite or all of them, or take the pictures; return 1 if a suite of all could not be measured."""
    require_known("suite", options.suite, [*catalogue.SUITES, "all", "screenshots"])
    require_folder_place(options.output)
    from sleepkit.bench import against_override, run_all, run_suite

    name, against, overrides = options.suite, options.against, options.overrides
    require(against is None or name in ("train", "all"), "--against", "belongs to the suite train", against)
    if name == "screenshots":
        return _screenshots(options)
    if name == "all":
        require(not overrides, "--set", "belongs to one suite, not to all", overrides)
        outcome = run_all(Path(options.output or "benchmarks"), against=against, progress=not options.quiet)
        print("\n".join(f"{suite:<10} {what}" for suite, what in outcome.items()))
        return 1 if any(what.startswith("not measured") for what in outcome.values()) else 0
    if against is not None:
        overrides = [*overrides, against_override(against)]
    output = Path(options.output or f"benchmarks/{name}.json")
    report = run_suite(name, output, overrides=overrides, progress=not options.quiet)
    print(json.dumps(report["results"], indent=2))
    return 0


def _screenshots(options: argparse.Namespace) -> int:
    from sleepkit.bench.screenshots import take_all

    require(not options.overrides, "--set", "belongs to a suite", options.overrides)
    require(options.output is None, "--json", "belongs to a suite", options.output)
    for path in take_all():
        print(path)
    return 0
