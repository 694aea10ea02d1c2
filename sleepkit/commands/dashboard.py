"""The command ``sleepkit dashboard``: its arguments, and the users of its auth file."""

import argparse
from getpass import getpass
from pathlib import Path

from sleepkit.errors import refuse, require
from sleepkit.ui.limits import Limits

LIMITS = {
    "max_passes": "the largest N of a request",
    "max_work": "the most tokens x passes x layers of a request",
    "max_measured_work": "the most tokens x passes x layers of a measurement of accuracy",
    "max_trace_mib": "the most MiB of the traces of a request",
    "max_figure_kib": "the most KiB of numbers in a figure",
    "max_input_len": "the most characters of a text of one's own",
    "max_sessions": "open pages",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.add_argument("--port", type=int, default=5006, help="where to listen; 0 for a port that is free (default: 5006)")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen, 0.0.0.0 for all networks (default: 127.0.0.1)")
    parser.add_argument(
        "--origin",
        dest="origins",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="another name it is reached by, as behind a proxy",
    )
    parser.add_argument("--auth", type=Path, metavar="FILE", help="let in the users of this file alone, by their passwords")
    parser.add_argument(
        "--add-user", metavar="NAME", help="ask for a password, write its hash into the --auth file, serve nothing"
    )
    parser.add_argument("--read-only", action="store_true", help="for public use: write no files, train nothing")
    parser.add_argument(
        "--prefix", default="", metavar="/PATH", help="below which all pages lie, for a proxy that leaves it in the addresses"
    )
    for name in LIMITS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Limits, name), help=LIMITS[name])
    parser.add_argument("--show", action="store_true", help="open a browser")
    parser.add_argument("--root", type=Path, default=Path("runs"), metavar="RUNS", help="the folder of all runs (default: runs)")


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted, or add a user."""
    if options.add_user is not None:
        return _add_user(options.auth, options.add_user)
    from sleepkit.ui.server import Serving, serve

    serving = Serving(
        port=options.port,
        address=options.address,
        origins=tuple(options.origins),
        auth=options.auth,
        read_only=options.read_only,
        show=options.show,
        root=options.root,
        prefix=options.prefix,
        granted=Limits(**{name: getattr(options, name) for name in LIMITS}),
    )
    try:
        serve(serving)
    except KeyboardInterrupt:  # that is how it is stopped
        print()
    return 0


def _add_user(file: Path | None, name: str) -> int:
    from sleepkit.ui.auth import add_user

    if file is None:
        refuse("--add-user", "needs --auth FILE", name)
    password = getpass(f"password of {name}: ")
    require(getpass("again: ") == password, "password", "must be the same both times", "two different ones")
    add_user(file, name, password)
    print(file)
    return 0
