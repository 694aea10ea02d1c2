"""The commands ``sleepkit evaluate`` and ``sleepkit trace``: their arguments, and what they print."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sleepkit.commands.parser import counts
from sleepkit.commands.places import require_file_place
from sleepkit.errors import nearest, refuse, require_count

if TYPE_CHECKING:
    from sleepkit.model import HybridLM
    from sleepkit.sleep import SleepConfig
    from sleepkit.tasks import Task
    from sleepkit.zoo import Card

_NOTE = "settings.json"


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    _add_model(parser)
    parser.add_argument("--n-passes", type=counts, metavar="N[,N]", help="the N to try (default: those on the card, or 1,2,4)")
    parser.add_argument("--n-examples", type=int, help="examples for each N (default: as on the card, or 1000)")
    parser.add_argument("--window-len", type=int, help="window length, tokens")
    parser.add_argument("--eviction", help="hard or sliding (default: as trained)")
    parser.add_argument("--output", metavar="FILE", help="write the Dataset as netCDF")
    parser.add_argument("--check", action="store_true", help="compare the counts with the card; exit 1 if they differ")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_trace(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    _add_model(parser)
    parser.add_argument("--n-passes", type=int, default=4)
    parser.add_argument("--index", type=int, default=0, help="which held-out example")
    parser.add_argument("--eviction", help="hard or sliding (default: as trained)")
    parser.add_argument("--output", metavar="FILE", help="write the tree as netCDF")


def evaluate(options: argparse.Namespace) -> int:
    """Count right answers; return 1 if they are to be those on the card and are not."""
    _require_model(options.model)
    require_file_place(options.output)
    from sleepkit.results import save
    from sleepkit.training import evaluate as count
    from sleepkit.zoo.record import accuracy_table

    model, task, card, sleep = _load(options.model)
    if options.check and card is None:
        refuse("--check", "needs a model with a card", options.model)
    on_card = card.accuracy.n_passes.values.tolist() if card else [1, 2, 4]
    n_examples = int(card.accuracy.n_examples.max()) if card else 1000
    dataset = count(
        model,
        task,
        n_passes=options.n_passes or on_card,
        n_examples=n_examples if options.n_examples is None else options.n_examples,
        window_len=sleep.window_len if options.window_len is None else options.window_len,
        eviction=sleep.eviction if options.eviction is None else options.eviction,
        progress=not options.quiet,
    )
    print(accuracy_table(dataset))
    if options.output:
        print(save(dataset, options.output))
    if card is None or not options.check:
        return 0
    same = dataset.n_correct.equals(card.accuracy.n_correct) and dataset.n_total.equals(card.accuracy.n_total)
    print("The counts are those on the card." if same else "The counts differ from the card.")
    return 0 if same else 1


def trace(options: argparse.Namespace) -> int:
    """Record one example and print what its fast weights hold and what is answered."""
    _require_model(options.model)
    require_file_place(options.output)
    require_count("index", options.index, least=0)
    from sleepkit import plots
    from sleepkit.analysis import trace as record
    from sleepkit.results import save

    model, task, _, sleep = _load(options.model)
    eviction = sleep.eviction if options.eviction is None else options.eviction
    tree = record(model, task, n_passes=options.n_passes, index=options.index, window_len=sleep.window_len, eviction=eviction)
    for window in range(tree["tokens"].sizes["window"]):
        for sleep_pass in range(1, plots.last_pass(tree, window) + 1):
            print(plots.fast_weights_summary(tree, window=window, sleep_pass=sleep_pass))
    answers = tree["answers"]
    for number in range(answers.sizes["answer"]):
        at = answers.to_dataset().isel(answer=number)
        verdict = f"{at.predicted.item()} (true {at.truth.item()}, P(correct) {float(at.p_true):.3f})"
        print(f"answer {number}, depth {int(at.depth)}: {verdict}")
    if options.output:
        print(save(tree, options.output))
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a bundled model, a published folder or a run folder")


def _require_model(name: str) -> None:
    """Refuse what is no model, before anything heavy is imported."""
    from sleepkit.zoo.folder import names

    known, folder = names(), Path(name)
    if name not in known and not (folder / "card.json").exists() and not (folder / _NOTE).exists():
        rule = f"must be one of {', '.join(known)}, a published folder or a run folder{nearest(name, known)}"
        refuse("model name", rule, name)


def _load(name: str) -> "tuple[HybridLM, Task, Card | None, SleepConfig]":
    """A bundled or published model with its card, or the finished model of a run folder."""
    from sleepkit import zoo
    from sleepkit.model import HybridLM
    from sleepkit.training.checkpoint import read_settings

    if name not in zoo.names() and (Path(name) / _NOTE).exists():
        settings = read_settings(Path(name))
        return HybridLM.load(Path(name) / "model"), settings.task.create(), None, settings.sleep
    model, card = zoo.load(name)
    return model, card.task, card, card.sleep
