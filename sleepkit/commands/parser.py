"""The parser of the command line: one line for a mistake, plain integers, text that files and terminals take."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sleepkit.errors import InvalidInputError, nearest, one_line
from sleepkit.settings import parse_integer

Command = Callable[[argparse.Namespace], int]
Commands = argparse._SubParsersAction  # what add_subparsers returns has no public name


class Parser(argparse.ArgumentParser):
    """An ``argparse.ArgumentParser`` that raises InvalidInputError, and takes options by their whole names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self.register("type", None, _text)
        self.register("type", int, _integer)
        self.register("type", Path, lambda text: Path(_text(text)))

    def error(self, message: str) -> NoReturn:
        """Raise the one-line error.

        Raises:
            InvalidInputError: always.
        """
        raise InvalidInputError(f"{one_line(message, most=600)} (see '{self.prog} --help')")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == ["--"]:  # argparse takes it for the end of the options, and gives a list
            raise argparse.ArgumentError(action, "must be given a value, got '--'")
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = list(action.choices)
            listed = f"must be one of {', '.join(known)}{nearest(str(value), known)}"
            raise argparse.ArgumentError(action, f"{listed}, got {one_line(value)!r}")


def add(
    commands: "Commands[Any]", name: str, run: Command | None, text: str, *, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Add a command; without one to run it prints its own help."""
    formatter = argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter
    description = text[0].upper() + text[1:] + "."
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=description, epilog=epilog, formatter_class=formatter
    )
    parser.set_defaults(command=run or (lambda _: print_help(parser)))
    return parser


def print_help(parser: argparse.ArgumentParser) -> int:
    """Print the help of a command that was given alone."""
    parser.print_help()
    return 0


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Declare ``--set``, the same wherever there are settings."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"in any order, checked together, e.g. --set {example}",
    )


def counts(text: str) -> tuple[int, ...]:
    """Return integers that commas part."""
    try:
        return tuple(map(parse_integer, text.split(",")))
    except InvalidInputError:
        raise argparse.ArgumentTypeError(f"must be integers parted by commas, got {one_line(text)!r}") from None


def _integer(text: str) -> int:
    try:
        return parse_integer(text)
    except InvalidInputError:
        raise argparse.ArgumentTypeError(f"must be an integer in plain digits, got {one_line(text)!r}") from None


def _text(text: str) -> str:
    """Return text as it was typed, if it could be the name of a file."""
    try:
        good = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"must hold neither NUL nor halves of surrogate pairs, got {one_line(text)!r}")
    return text
