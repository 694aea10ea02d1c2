"""The command ``sleepkit zoo``: its arguments, and what it prints."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.set_defaults(models=[])
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for name, text in (("openings", "trace again what models are first seen with, and write the traces beside their weights"),):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument(
            "models", nargs="*", metavar="MODEL", help="bundled models or published folders (default: all bundled)"
        )


def run(options: argparse.Namespace) -> int:
    """List the bundled models, or make again what is bundled with some of them."""
    from sleepkit import zoo

    models = options.models or zoo.names()
    for name in models:
        if options.action is None:
            print(f"{name:<20} {zoo.facts(name).summary}")
        else:
            print("\n".join(map(str, zoo.write_openings(name))))
    return 0
