"""The command line: parse, call, print. Every error a user can cause is one line, and the exit status is then 2."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from sleepkit import __version__, catalogue, extras, signals
from sleepkit.commands import bench, dashboard, figure, models, notebook, seal, sweep, tasks, train, zoo
from sleepkit.commands.parser import Parser, add, print_help
from sleepkit.errors import SleepkitError, one_line, os_line

_MOST_CHARACTERS = 1000  # of an error: longer than any that sleepkit writes, shorter than what a library may
_EXAMPLES = """\
a first look:
  sleepkit dashboard                        the explorer and the lab, in a browser
  sleepkit evaluate rule110-explorer        a bundled model on held-out examples
  sleepkit train rule110-explorer           train one on a laptop; Ctrl-C saves a checkpoint, the same command goes on
  sleepkit doctor                           what this installation can do
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done, 1 a check failed, 2 bad input, 130 interrupted, 141 whoever read the output is gone, 143 asked to end.
    """
    try:
        with signals.ending(), extras.named():
            return _run(arguments)
    except SleepkitError as error:
        return _refused(str(error))
    except BrokenPipeError:  # whoever read the output has gone, as ``head`` does
        with contextlib.suppress(OSError):
            _flush()
        return 141
    except OSError as error:
        with contextlib.suppress(OSError):
            _flush()
        return _refused(os_line(error))
    except MemoryError as error:
        return _refused(f"memory: must be enough for what was asked, got {one_line(error)}")
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return _refused(f"memory: must be enough for what was asked, got {one_line(error)}")
    except signals.EndRequest as request:
        print("sleepkit: asked to end", file=sys.stderr)
        return 128 + request.number
    except KeyboardInterrupt:
        print("sleepkit: interrupted", file=sys.stderr)
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(arguments)
        status: int = options.command(options)
    except SystemExit:  # of --help and --version
        _flush()
        raise
    _flush()
    return status


def _parser() -> Parser:
    parser = Parser(
        prog="sleepkit",
        description="Watch, train and speed up language models that sleep.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sleepkit {__version__}")
    parser.set_defaults(command=lambda _: print_help(parser))
    commands = parser.add_subparsers(metavar="COMMAND")
    train.add_arguments(add(commands, "train", train.run, "train a preset, or go on with an interrupted run"))
    text = "accuracy by N and reasoning depth on held-out examples"
    models.add_evaluate(add(commands, "evaluate", models.evaluate, text))
    text = "record one example: fast weights after every pass, attention, answers"
    models.add_trace(add(commands, "trace", models.trace, text))
    notebook.add_arguments(add(commands, "notebook", notebook.run, "run a notebook with checked parameters"))
    text = "serve the dashboard, to this machine alone unless told otherwise"
    dashboard.add_arguments(add(commands, "dashboard", dashboard.run, text))
    bench.add_arguments(add(commands, "bench", bench.run, "measure, and write the figures that the documents quote"))
    text = "run a preset or a notebook over every combination of some values; resumable"
    sweep.add_arguments(add(commands, "sweep", sweep.run, text))
    text = "show a figure of the paper, or of what lies beyond it, as published or run here, and judge it"
    figure.add_arguments(add(commands, "figure", figure.run, text, epilog=catalogue.table(catalogue.FIGURES)))
    tasks.add_arguments(add(commands, "tasks", None, "look at the tasks, check them and measure their generators"))
    add(commands, "presets", _presets, "list the presets")
    zoo.add_arguments(add(commands, "zoo", zoo.run, "list the bundled models, or make again what comes with them"))
    seal.add_arguments(add(commands, "seal", seal.run, "give saved things of earlier versions the digests they lack"))
    add(commands, "doctor", _doctor, "say what this installation can do")
    return parser


def _presets(_options: argparse.Namespace) -> int:
    print(catalogue.table(catalogue.PRESETS))
    return 0


def _doctor(_options: argparse.Namespace) -> int:
    examine: Callable[[], int] = importlib.import_module("sleepkit.doctor").report
    return examine()


def _refused(why: str) -> int:
    print(f"sleepkit: {one_line(why, most=_MOST_CHARACTERS)}", file=sys.stderr)
    return 2


def _flush() -> None:
    """Write what is still to be printed; what does not fit on a full disk is told, and Python's flush at exit finds nothing.

    Raises:
        OSError: naming the standard output.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        error.filename = "standard output"
        raise


def _is_out_of_memory(error: RuntimeError) -> bool:
    said = str(error)
    return any(words in said for words in ("can't allocate memory", "not enough memory", "out of memory"))


if __name__ == "__main__":
    sys.exit(main())
