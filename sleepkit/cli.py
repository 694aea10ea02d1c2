"""The command line: parse, call, print. Every error a user can cause is one line, and the exit status is then 2."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sleepkit import extras
from sleepkit.commands import bench, dashboard, seal
from sleepkit.errors import SleepkitError, one_line, os_line, refuse, require, require_count
from sleepkit.experiments import command
from sleepkit.zoo import command as zoo_command

if TYPE_CHECKING:
    from sleepkit.model import HybridLM
    from sleepkit.sleep import SleepConfig
    from sleepkit.tasks import Task
    from sleepkit.zoo import Card

Command = Callable[[argparse.Namespace], int]

_MOST_CHARACTERS = 1000  # of an error: longer than any that sleepkit writes, shorter than what a library may


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    chosen: Command = options.command
    try:
        with extras.named():
            return chosen(options)
    except SleepkitError as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(os_line(error))
    except KeyboardInterrupt:
        print("sleepkit: interrupted", file=sys.stderr)
        return 130


def _refused(why: str) -> int:
    print(f"sleepkit: {one_line(why, most=_MOST_CHARACTERS)}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sleepkit", description="Watch, train and speed up language models that sleep.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _add(commands, "train", _train, "train a preset, or go on with an interrupted run")
    train.add_argument("preset", help="name of a preset; 'sleepkit presets' lists them")
    train.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="e.g. --set sleep.n_passes=2"
    )
    train.add_argument("--folder", help="run folder (default: runs/NAME-DIGEST)")
    train.add_argument("--publish", metavar="FOLDER", help="evaluate the finished run and write model and card into FOLDER")
    train.add_argument("--n-examples", type=int, default=4096, help="held-out examples for each N of the card")
    train.add_argument("--summary", default="", help="one sentence for the card")
    train.add_argument("--quiet", action="store_true", help="no progress bar")

    evaluate = _add(commands, "evaluate", _evaluate, "accuracy by N and reasoning depth on held-out examples")
    evaluate.add_argument("model", help="a bundled model, a published folder or a run folder")
    evaluate.add_argument("--n-passes", type=_counts, metavar="N[,N]", help="the N to try (default: those on the card, or 1,2,4)")
    evaluate.add_argument("--n-examples", type=int, help="examples for each N (default: as on the card, or 1000)")
    evaluate.add_argument("--window-len", type=int, help="window length, tokens")
    evaluate.add_argument("--eviction", help="hard or sliding (default: as trained)")
    evaluate.add_argument("--output", metavar="FILE", help="write the Dataset as netCDF")
    evaluate.add_argument("--check", action="store_true", help="compare the counts with the card; exit 1 if they differ")
    evaluate.add_argument("--quiet", action="store_true", help="no progress bar")

    trace = _add(commands, "trace", _trace, "record one example: fast weights after every pass, attention, answers")
    trace.add_argument("model", help="a bundled model, a published folder or a run folder")
    trace.add_argument("--n-passes", type=int, default=4)
    trace.add_argument("--index", type=int, default=0, help="which held-out example")
    trace.add_argument("--eviction", help="hard or sliding (default: as trained)")
    trace.add_argument("--output", metavar="FILE", help="write the tree as netCDF")

    notebook = _add(commands, "notebook", _notebook, "run a notebook with checked parameters")
    notebook.add_argument("name", help="name or path of a notebook")
    notebook.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    notebook.add_argument("--output", help="where the executed notebook goes")

    served = _add(commands, "dashboard", dashboard.run, "serve the dashboard, to this machine alone unless told otherwise")
    dashboard.add_arguments(served)

    measured = _add(commands, "bench", bench.run, "measure, and write the figures that the documents quote")
    bench.add_arguments(measured)

    sweep = _add(commands, "sweep", command.run, "run a preset or a notebook over every combination of some values; resumable")
    command.add_arguments(sweep)

    figure = _add(
        commands, "figure", _figure, "run the cells of a figure of the paper, or of what lies beyond it, and judge them"
    )
    figure.add_argument("name", help="fig2a, fig2b, ...; 'sleepkit presets' says what they are; fig6 is a measurement")
    figure.add_argument("--size", default="cpu", help="smoke, cpu or paper (default: cpu)")
    figure.add_argument("--runs", default="runs", help="the folder of all runs; what is finished there is not run again")
    figure.add_argument("--publish", action="store_true", help="write the results where the notebooks find them")
    figure.add_argument("--quiet", action="store_true", help="no progress bars")

    _add_tasks(commands)
    _add(commands, "presets", _presets, "list the presets")
    zoo_command.add_arguments(
        _add(commands, "zoo", zoo_command.run, "list the bundled models, or make again what comes with them")
    )
    seal.add_arguments(_add(commands, "seal", seal.run, "give saved things of earlier versions the digests they lack"))
    _add(commands, "doctor", _doctor, "say what this installation can do")
    return parser


def _add_tasks(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "look at the tasks, check them and measure their generators"
    actions = commands.add_parser("tasks", help=text, description=text[0].upper() + text[1:] + ".").add_subparsers(
        required=True, metavar="ACTION"
    )
    _add(actions, "list", _tasks_list, "list the tasks")
    show = _add(actions, "show", _tasks_show, "settings, sizes and floors of a task")
    sample = _add(actions, "sample", _tasks_sample, "print examples")
    audit = _add(
        actions, "audit", _tasks_audit, "check examples against the oracle and the promises of a batch; exit 1 if one fails"
    )
    rate = _add(actions, "bench", _tasks_bench, "tokens a second that one core generates")
    for parser in (show, sample, audit, rate):
        parser.add_argument("task", help="name of a task; 'sleepkit tasks list' lists them")
        parser.add_argument(
            "--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="e.g. --set n_nodes=8"
        )
    sample.add_argument("--split", default="test", help="train, validation or test")
    sample.add_argument("--index", type=int, default=0, help="the first example")
    sample.add_argument("--n-examples", type=int, default=1)
    audit.add_argument("--n-examples", type=int, default=1000, help="examples of each split")
    rate.add_argument("--batch-size", type=int, default=512)


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def _counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be integers separated by commas, got {text!r}") from None


def _train(options: argparse.Namespace) -> int:
    from sleepkit import zoo
    from sleepkit.experiments import presets
    from sleepkit.training import train

    settings = presets.get(options.preset).with_overrides(*options.overrides)
    run = train(settings, folder=options.folder, progress=not options.quiet)
    if int(os.environ.get("RANK", "0")):  # torchrun started several processes, and the first one speaks for all
        return 0
    last = run.history.isel(step=-1)
    print(f"{run.folder}: {settings.steps} steps, loss {float(last.loss):.4f}, {float(last.elapsed_s):.0f} s")
    if options.publish:
        card = zoo.publish(
            run, options.publish, summary=options.summary, n_examples=options.n_examples, progress=not options.quiet
        )
        print(card.table())
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from sleepkit.results import save
    from sleepkit.training import evaluate

    model, task, card, sleep = _load(options.model)
    on_card = card.accuracy.n_passes.values.tolist() if card else [1, 2, 4]
    n_examples = int(card.accuracy.n_examples.max()) if card else 1000
    dataset = evaluate(
        model,
        task,
        n_passes=options.n_passes or on_card,
        n_examples=n_examples if options.n_examples is None else options.n_examples,
        window_len=sleep.window_len if options.window_len is None else options.window_len,
        eviction=sleep.eviction if options.eviction is None else options.eviction,
        progress=not options.quiet,
    )
    from sleepkit.zoo.record import accuracy_table

    print(accuracy_table(dataset))
    if options.output:
        print(save(dataset, options.output))
    if not options.check:
        return 0
    if card is None:
        refuse("--check", "needs a model with a card", options.model)
    same = dataset.n_correct.equals(card.accuracy.n_correct) and dataset.n_total.equals(card.accuracy.n_total)
    print("The counts are those on the card." if same else "The counts differ from the card.")
    return 0 if same else 1


def _trace(options: argparse.Namespace) -> int:
    from sleepkit import plots
    from sleepkit.analysis import trace
    from sleepkit.results import save

    model, task, _, sleep = _load(options.model)
    eviction = sleep.eviction if options.eviction is None else options.eviction
    tree = trace(model, task, n_passes=options.n_passes, index=options.index, window_len=sleep.window_len, eviction=eviction)
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


def _load(name: str) -> "tuple[HybridLM, Task, Card | None, SleepConfig]":
    """A bundled or published model with its card, or the finished model of a run folder."""
    from sleepkit import zoo
    from sleepkit.model import HybridLM
    from sleepkit.training.checkpoint import NOTE, read_settings

    if name not in zoo.names() and (Path(name) / NOTE).exists():
        settings = read_settings(Path(name))
        return HybridLM.load(Path(name) / "model"), settings.task.create(), None, settings.sleep
    model, card = zoo.load(name)
    return model, card.task, card, card.sleep


def _figure(options: argparse.Namespace) -> int:
    from sleepkit.bench import windows
    from sleepkit.experiments import figures
    from sleepkit.results import load

    name, size, progress = options.name, options.size, not options.quiet
    if name == "fig6":
        data = (
            load(windows.publish(size, progress=progress))
            if options.publish
            else windows.load_or_measure(size, progress=progress)
        )
        print(windows.judge(data).markdown())
        return 0
    figure = figures.get(name)
    if options.publish:
        data = load(figures.publish(name, size, root=options.runs, progress=progress))
    else:
        data = figures.load_or_run(name, size, root=options.runs, progress=progress)
    print(figures.table(name, data))
    print(figures.cost(data))
    print(figure.judge(data).markdown())
    return 0


def _notebook(options: argparse.Namespace) -> int:
    from sleepkit.notebook import parse_parameter, run_notebook

    given = [name for name, _ in options.parameters]
    for name in given:
        require(given.count(name) == 1, f"-p {name}", "must be given once", given.count(name))
    parameters = {name: parse_parameter(value) for name, value in options.parameters}
    print(run_notebook(options.name, output=options.output, parameters=parameters))
    return 0


def _task(options: argparse.Namespace) -> "Task":
    from sleepkit import tasks
    from sleepkit.settings import parse_override

    return tasks.create(options.task, **dict(map(parse_override, options.overrides)))


def _tasks_list(_options: argparse.Namespace) -> int:
    from sleepkit import tasks

    for name in tasks.names():
        print(f"{name:<20} {tasks.describe(name)}")
    return 0


def _tasks_show(options: argparse.Namespace) -> int:
    task = _task(options)
    print(task.config.to_json())
    print(f"vocabulary {len(task.vocab)} tokens, seq_len {task.seq_len}, window_len {task.window_len}, version {task.version}")
    for split in ("train", "test"):
        floor = task.floor(split)
        print(f"floors of {split} ({floor.source}): depth, chance, best constant answer")
        for depth, chance, constant in zip(floor.depth, floor.chance, floor.constant, strict=True):
            print(f"{depth:>8} {chance:>8.4f} {constant:>8.4f}")
    return 0


def _tasks_sample(options: argparse.Namespace) -> int:
    require_count("--n-examples", options.n_examples)
    task = _task(options)
    for index in range(options.index, options.index + options.n_examples):
        print(f"{options.split}[{index}]")
        print(task.render(task.batch(options.split, index, 1), 0))
    return 0


def _tasks_audit(options: argparse.Namespace) -> int:
    from sleepkit.tasks.audit import audit, table

    findings = audit(_task(options), n_examples=options.n_examples)
    print(table(findings))
    return 1 if any(finding.n_failed for finding in findings) else 0


def _tasks_bench(options: argparse.Namespace) -> int:
    from sleepkit.bench.generation import rate

    require_count("--batch-size", options.batch_size)
    figures = rate(_task(options), options.batch_size, seconds=0.2, repeats=5)
    tokens = f"{figures['Mtokens_per_s']} million tokens a second ({figures['lowest']} to {figures['highest']})"
    print(f"{tokens}, {figures['examples_per_s']} examples a second")
    return 0


def _presets(_options: argparse.Namespace) -> int:
    from sleepkit.experiments import presets

    for name in presets.names():
        print(f"{name:<20} {presets.describe(name)}")
    return 0


def _doctor(_options: argparse.Namespace) -> int:
    from sleepkit.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'MISS'} {finding.what}: {finding.detail}")
    return 0 if all(finding.good or not finding.needed for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
