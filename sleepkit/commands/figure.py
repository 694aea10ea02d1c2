"""The command ``sleepkit figure``: published results and what they say; trainings only where they are asked for."""

import argparse

from sleepkit import catalogue
from sleepkit.commands.places import require_folder_place
from sleepkit.errors import refuse, require_known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.add_argument("name", nargs="?", metavar="FIGURE", help=f"one of {', '.join(catalogue.FIGURES)}; without one: the list")
    parser.add_argument("--size", default="cpu", help=f"{', '.join(catalogue.SIZES)} (default: cpu, for a laptop)")
    parser.add_argument("--run", action="store_true", help="make what is not published yet: trains every cell of the figure")
    parser.add_argument("--runs", default="runs", help="the folder of all runs; what is finished there is not run again")
    parser.add_argument("--publish", action="store_true", help="run, and write the results where the notebooks find them")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> int:
    """Print the table, the cost and the verdict of a figure, or the list of all."""
    name, size = options.name, options.size
    if name is None:
        print(catalogue.table(catalogue.FIGURES))
        return 0
    require_known("figure", name, catalogue.FIGURES)
    require_known("size", size, catalogue.SIZES)
    require_folder_place(options.runs if options.run or options.publish else None)
    if name == "fig6":
        return _measurement(options)
    from sleepkit.experiments import figures
    from sleepkit.results import load

    if options.publish:
        data = load(figures.publish(name, size, root=options.runs, progress=not options.quiet))
    elif options.run or figures.results_path(name, size).exists():
        data = figures.load_or_run(name, size, root=options.runs, progress=not options.quiet)
    else:
        n_cells = len(figures.get(name).cells(size))
        refuse(f"results of {name}", f"must be published at this size, or made here with --run ({n_cells} trainings)", size)
    print(figures.table(name, data))
    print(figures.cost(data))
    print(figures.get(name).judge(data).markdown())
    return 0


def _measurement(options: argparse.Namespace) -> int:
    from sleepkit.bench import windows
    from sleepkit.experiments.figures import results_path
    from sleepkit.results import load

    size, progress = options.size, not options.quiet
    if options.publish:
        data = load(windows.publish(size, progress=progress))
    elif options.run or results_path("fig6", size).exists():
        data = windows.load_or_measure(size, progress=progress)
    else:
        refuse("results of fig6", "must be published at this size, or measured here with --run", size)
    print(windows.judge(data).markdown())
    return 0
