"""The command ``sleepkit sweep``: its arguments, and what it prints."""

import argparse
import sys
from pathlib import Path

from sleepkit import catalogue
from sleepkit.commands.parser import add_overrides, counts
from sleepkit.commands.places import require_folder_place
from sleepkit.errors import require_known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.add_argument("target", help="name of a preset, or name or path of a notebook")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="an option of the preset, a dotted setting or a parameter of the notebook, e.g. --grid n_passes=1,2,4",
    )
    add_overrides(parser, "size=paper, the same in all cells (presets with sizes: cpu, for a laptop, unless said otherwise)")
    parser.add_argument("--folder", help="sweep folder (default: sweeps/TARGET)")
    parser.add_argument("--n-passes", type=counts, default=(), metavar="N[,N]", help="the N to count at (default: its own)")
    parser.add_argument("--n-examples", type=int, default=2048, help="examples of each count")
    parser.add_argument("--timeout-s", type=int, default=3600, help="the longest a code cell of a notebook may take, seconds")
    parser.add_argument("--workers", type=int, help="processes at a time (default: one for each core, or card on CUDA)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a dask scheduler, tcp://HOST:PORT, whose workers see the folder")
    parser.add_argument("--retries", type=int, default=2, help="how often a cell is begun again whose process died")
    parser.add_argument("--gather", action="store_true", help="run nothing: gather the results, which must all be whole")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> int:
    """Run or gather a sweep and print its table; return 1 if a cell failed."""
    require_folder_place(options.folder)
    from sleepkit.notebook import names

    if not options.target.endswith(".ipynb"):
        require_known("target", options.target, dict.fromkeys([*catalogue.PRESETS, *names()]))
    from sleepkit.experiments.grid import Sweep, parse_grid
    from sleepkit.experiments.sweep import GATHERED, gather_sweep, run_sweep, sweep_table

    sweep = Sweep(
        target=options.target,
        grid=parse_grid(options.grid),
        overrides=tuple(options.overrides),
        n_passes=options.n_passes,
        n_examples=options.n_examples,
        timeout_s=options.timeout_s,
    )
    folder = Path(options.folder or Path("sweeps") / Path(options.target).stem)
    failed: dict[str, str] = {}
    if options.gather:
        gather_sweep(sweep, folder)
    else:
        failed = run_sweep(
            sweep,
            folder,
            scheduler=options.scheduler,
            workers=options.workers,
            retries=options.retries,
            progress=not options.quiet,
        )
    print(sweep_table(sweep, folder))
    for name, error in failed.items():
        print(f"sleepkit: {folder / name}: {error}", file=sys.stderr)
    if len(failed) < len(sweep.points()):
        print(folder / GATHERED)
    return 1 if failed else 0
