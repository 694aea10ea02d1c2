"""The command ``sleepkit zoo``: its arguments, and what it prints."""

import argparse
from typing import TYPE_CHECKING

from sleepkit.commands.parser import add
from sleepkit.errors import require_count

if TYPE_CHECKING:
    from sleepkit.zoo import Facts

_HEADER = ("MODEL", "TASK", "PARAMETERS", "MB", "N", "ACCURACY", "AT N = 1", "FLOOR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    actions = parser.add_subparsers(metavar="ACTION")
    text = "trace again what models are first seen with, and write the traces beside their weights"
    _add_models(add(actions, "openings", _openings, text))
    text = "fit again the linear probes of what fast weights hold, and write them beside their weights"
    probe = add(actions, "probe", _probe, text)
    _add_models(probe)
    probe.add_argument("--n-examples", type=int, default=16384, help="examples of the train split for each group")
    probe.add_argument("--n-held-out", type=int, default=4096, help="examples of the test split")


def run(_options: argparse.Namespace) -> int:
    """List the bundled models: task, size, and accuracy over all depths at their own N, at N = 1 and without a model."""
    from sleepkit.zoo import facts, n_parameters, names
    from sleepkit.zoo.folder import folder_of

    rows, sentences = [_HEADER], []
    for name in names():
        known = facts(name)
        size = (folder_of(name) / "model.safetensors").stat().st_size
        own = int(known.sleep["n_passes"])
        figures = (_accuracy(known, own), _accuracy(known, 1), f"{100 * float(known.accuracy.floor.mean()):.1f} %")
        rows.append((name, known.task, f"{n_parameters(name):,}", f"{size / 1e6:.1f}", str(own), *figures))
        sentences.append(f"{name}: {known.summary}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print("", "Accuracy is over all depths of the card, held out; the floor is the best constant answer.", *sentences, sep="\n")
    return 0


def _accuracy(known: "Facts", n_passes: int) -> str:
    if n_passes not in known.accuracy.n_passes.values:
        return "-"
    at = known.accuracy.sel(n_passes=n_passes)
    return f"{100 * int(at.n_correct.sum()) / int(at.n_total.sum()):.1f} %"


def _openings(options: argparse.Namespace) -> int:
    from sleepkit import zoo

    for name in _models(options):
        print("\n".join(map(str, zoo.write_openings(name))))
    return 0


def _probe(options: argparse.Namespace) -> int:
    for argument in ("n_examples", "n_held_out"):
        require_count(argument, getattr(options, argument))
    from sleepkit import zoo

    for name in _models(options):
        zoo.fit_probe(name, n_examples=options.n_examples, n_held_out=options.n_held_out)
    return 0


def _models(options: argparse.Namespace) -> list[str]:
    from sleepkit.zoo.folder import folder_of, names

    chosen: list[str] = options.models or names()
    for name in chosen:
        folder_of(name)  # refused before anything is made
    return chosen


def _add_models(parser: argparse.ArgumentParser) -> None:
    text = "bundled models or published folders (default: all bundled)"
    parser.add_argument("models", nargs="*", metavar="MODEL", help=text)
