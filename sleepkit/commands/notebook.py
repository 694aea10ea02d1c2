"""The command ``sleepkit notebook``: its arguments, and what it prints."""

import argparse

from sleepkit.commands.places import require_file_place
from sleepkit.errors import require
from sleepkit.settings import parse_value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.add_argument("name", nargs="?", metavar="NOTEBOOK", help="name or path of a notebook; without one: the list")
    parser.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--output", help="where the executed notebook goes")


def run(options: argparse.Namespace) -> int:
    """Run a notebook with checked parameters, or list those that there are."""
    from sleepkit.notebook import names, run_notebook

    if options.name is None:
        print("\n".join(names()))
        return 0
    require_file_place(options.output)
    given = [name for name, _ in options.parameters]
    for name in given:
        require(given.count(name) == 1, f"-p {name}", "must be given once", given.count(name))
    parameters = {name: parse_value(value, f"-p {name}") for name, value in options.parameters}
    print(run_notebook(options.name, output=options.output, parameters=parameters))
    return 0
