"""The command ``sleepkit tasks``: its actions, their arguments, and what they print."""

import argparse
from typing import TYPE_CHECKING

from sleepkit import catalogue
from sleepkit.commands.parser import add, add_overrides
from sleepkit.errors import require_count, require_known
from sleepkit.settings import parse_overrides

if TYPE_CHECKING:
    from sleepkit.tasks import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments; nothing heavy is imported for that."""
    actions = parser.add_subparsers(metavar="ACTION")
    add(actions, "list", _list, "list the tasks")
    show = add(actions, "show", _show, "settings, sizes and floors of a task")
    sample = add(actions, "sample", _sample, "print examples")
    text = "check examples against the oracle and the promises of a batch; exit 1 if one fails"
    audit = add(actions, "audit", _audit, text)
    rate = add(actions, "bench", _bench, "tokens a second that one core generates")
    for action in (show, sample, audit, rate):
        action.add_argument("task", metavar="TASK", help=f"one of {', '.join(catalogue.TASKS)}")
        add_overrides(action, "n_nodes=8")
    sample.add_argument("--split", default="test", help="train, validation or test")
    sample.add_argument("--index", type=int, default=0, help="the first example")
    sample.add_argument("--n-examples", type=int, default=1)
    audit.add_argument("--n-examples", type=int, default=1000, help="examples of each split")
    rate.add_argument("--batch-size", type=int, default=512)


def _task(options: argparse.Namespace) -> "Task":
    require_known("task name", options.task, catalogue.TASKS)
    values = parse_overrides(options.overrides)
    from sleepkit import tasks

    return tasks.create(options.task, **values)


def _list(_options: argparse.Namespace) -> int:
    print(catalogue.table(catalogue.TASKS))
    return 0


def _show(options: argparse.Namespace) -> int:
    task = _task(options)
    print(task.config.to_json())
    print(f"vocabulary {len(task.vocab)} tokens, seq_len {task.seq_len}, window_len {task.window_len}, version {task.version}")
    for split in ("train", "test"):
        floor = task.floor(split)
        print(f"floors of {split} ({floor.source}): depth, chance, best constant answer")
        for depth, chance, constant in zip(floor.depth, floor.chance, floor.constant, strict=True):
            print(f"{depth:>8} {chance:>8.4f} {constant:>8.4f}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    require_count("--n-examples", options.n_examples)
    task = _task(options)
    for index in range(options.index, options.index + options.n_examples):
        print(f"{options.split}[{index}]")
        print(task.render(task.batch(options.split, index, 1), 0))
    return 0


def _audit(options: argparse.Namespace) -> int:
    require_count("n_examples", options.n_examples)
    task = _task(options)
    from sleepkit.tasks.audit import audit, table

    findings = audit(task, n_examples=options.n_examples)
    print(table(findings))
    return 1 if any(finding.n_failed for finding in findings) else 0


def _bench(options: argparse.Namespace) -> int:
    require_count("--batch-size", options.batch_size)
    task = _task(options)
    from sleepkit.bench.generation import rate

    figures = rate(task, options.batch_size, seconds=0.2, repeats=5)
    tokens = f"{figures['Mtokens_per_s']} million tokens a second ({figures['lowest']} to {figures['highest']})"
    print(f"{tokens}, {figures['examples_per_s']} examples a second")
    return 0
