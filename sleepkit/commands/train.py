"""The command ``sleepkit train``: its arguments, and what it prints."""

import argparse
import os

from sleepkit import catalogue
from sleepkit.commands.parser import add_overrides
from sleepkit.commands.places import require_folder_place
from sleepkit.errors import require_count, require_known
from sleepkit.settings import parse_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.add_argument("preset", metavar="PRESET", help="name of a preset; 'sleepkit presets' lists them")
    add_overrides(parser, "sleep.n_passes=2, or an option of the preset: --set size=paper (default: cpu, for a laptop)")
    parser.add_argument("--folder", help="run folder (default: runs/NAME-DIGEST)")
    parser.add_argument("--publish", metavar="FOLDER", help="evaluate the finished run and write model and card into FOLDER")
    parser.add_argument("--n-examples", type=int, default=4096, help="held-out examples for each N of the card")
    parser.add_argument("--summary", default="", help="one sentence for the card")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Train, or go on with an interrupted run; publish it if wanted."""
    require_known("preset", options.preset, catalogue.PRESETS)
    require_count("--n-examples", options.n_examples)
    for folder in (options.folder, options.publish):
        require_folder_place(folder)
    changes = parse_overrides(options.overrides)
    from sleepkit import zoo
    from sleepkit.experiments import presets
    from sleepkit.training import train

    settings = presets.changed(options.preset, changes)
    done = train(settings, folder=options.folder, progress=not options.quiet)
    if int(os.environ.get("RANK", "0")):  # torchrun started several processes, and the first one speaks for all
        return 0
    last = done.history.isel(step=-1)
    print(f"{done.folder}: {settings.steps} steps, loss {float(last.loss):.4f}, {float(last.elapsed_s):.0f} s")
    if options.publish:
        card = zoo.publish(
            done, options.publish, summary=options.summary, n_examples=options.n_examples, progress=not options.quiet
        )
        print(card.table())
    return 0
