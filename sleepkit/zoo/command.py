"""The command ``sleepkit zoo``: its arguments, and what it prints."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.set_defaults(models=[])
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    _add(actions, "openings", "trace again what models are first seen with, and write the traces beside their weights")
    probe = _add(actions, "probe", "fit again the linear probes of what fast weights hold, and write them beside their weights")
    probe.add_argument("--n-examples", type=int, default=16384, help="examples of the train split for each group")
    probe.add_argument("--n-held-out", type=int, default=4096, help="examples of the test split")


def run(options: argparse.Namespace) -> int:
    """List the bundled models, or make again what is bundled with some of them."""
    from sleepkit import zoo

    for name in options.models or zoo.names():
        if options.action == "openings":
            print("\n".join(map(str, zoo.write_openings(name))))
        elif options.action == "probe":
            zoo.fit_probe(name, n_examples=options.n_examples, n_held_out=options.n_held_out)
        else:
            print(f"{name:<20} {zoo.facts(name).summary}")
    return 0


def _add(actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="bundled models or published folders (default: all bundled)")
    return parser
