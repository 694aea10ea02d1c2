"""Command lines nobody means: ``main`` in one process with its work cut off, and whole processes.

No line starts work: whatever would compute with a model, start a process, open a port or draw many examples ends there, which
counts as accepted. Files go into a temporary folder alone.
"""

import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from tests.robustness.made_up import LONGEST_LINE, NO_INTEGERS, TEXTS, judged_line, try_all

ROOT = Path(__file__).resolve().parents[2]
_MODELS = ("rule110-explorer", "depo-explorer", "rule110-n1")
_TASKS = ("rule110", "depo", "gsm", "circuit", "affine")
_NO_NAMES = ("rule110-explorer-", "RULE110", "nobody", "..", "card.json", "", "\0", "\u0661", "x" * 5000, "a\nb", "\ud800", "-")
# Of each command: arguments that stand, options with an integer, with a setting, with text.
_COMMANDS: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    ("train",): (("fig2b", "rule110-explorer"), ("--n-examples",), ("--set",), ("--folder", "--summary")),
    ("evaluate",): (_MODELS, ("--n-examples", "--window-len"), (), ("--eviction", "--n-passes")),
    ("trace",): (_MODELS, ("--n-passes", "--index"), (), ("--eviction",)),
    ("tasks", "show"): (_TASKS, (), ("--set",), ()),
    ("tasks", "sample"): (_TASKS, ("--index", "--n-examples"), ("--set",), ("--split",)),
    ("sweep",): (("fig2b",), ("--n-examples", "--retries"), ("--set", "--grid"), ("--n-passes", "--folder")),
    ("figure",): (("fig2b",), (), (), ("--size",)),
    ("dashboard",): ((), ("--port",), (), ("--address", "--origin", "--auth")),
    ("bench",): (("ops", "train", "latency"), (), ("--set",), ()),
}
_NO_SETTINGS = (
    "",
    "=",
    "x",
    "x=1",
    "seed",
    "=1",
    "seed=",
    "seed=x",
    "seed=1.5",
    "seed=" + "9" * 5000,
    "seed=[" + "[" * 3000,
    "steps=\u0664",
    "steps=1e999",
    "steps=NaN",
    "steps=null",
    "steps.x=1",
    "\0=1",
    "steps=\0",
    "width=-1",
    "width=x",
    "width=true",
    "rollout_depth=[1,",
    "n_passes=0",
    "\ud800=1",
    "a\nb=1",
)


class WorkBeganError(BaseException):
    """A line was accepted, and its work would begin here."""


def command_lines(n_lines: int, *, seed: int) -> list[tuple[list[str], bool]]:
    """Make up command lines, each with whether something in it is certainly wrong."""
    draw = random.Random(f"{seed} commands")
    return [_line(draw) for _ in range(n_lines)]


def try_commands(n_tries: int, *, seed: int) -> dict[str, Any]:
    """Call ``main`` with made-up lines."""
    return {"main": try_all(command_lines(n_tries, seed=seed), _judge)}


def try_processes(n_tries: int, *, seed: int) -> dict[str, Any]:
    """Run made-up lines that are certainly wrong, each in a process of its own."""
    lines = [line for line, wrong in command_lines(40 * n_tries, seed=seed + 1) if wrong and _can_be_passed(line)]
    return {"sleepkit": try_all(lines[:n_tries], _judge_process)}


def _line(draw: random.Random) -> tuple[list[str], bool]:
    kind = draw.random()
    if kind < 0.08:
        return [draw.choice((*_NO_NAMES, "Train", "evaluat", "--quiet", "--set")), draw.choice(_NO_NAMES)], True
    command = draw.choice(list(_COMMANDS))
    names, integers, settings, texts = _COMMANDS[command]
    given = [draw.choice(names)] if names else []
    wrong = [lambda: ["--no-such-option"], lambda: ["one", "too", "many"]]
    if names:
        wrong += [list] * (command != ("figure",))  # which lists the figures
        if kind < 0.2:
            return [*command, draw.choice(_NO_NAMES)], True
    wrong += [lambda: [f"{draw.choice(integers)}={draw.choice(NO_INTEGERS)}"]] * (4 if integers else 0)
    wrong += [lambda: [f"{draw.choice(settings)}={draw.choice(_NO_SETTINGS)}"]] * (6 if settings else 0)
    wrong += [lambda: [draw.choice(integers)]] * bool(integers)
    if kind < 0.8 or command == ("bench",):
        more = draw.choice(wrong)()
        return ([*command, *given, *more] if more else list(command)), True
    loose = [f"{draw.choice(texts)}={draw.choice(TEXTS)}"] if texts else [f"{draw.choice(settings)}={draw.choice(TEXTS)}"]
    return [*command, *given, *(word for word in loose if "/" not in word and ".." not in word)], False


def _judge(tried: tuple[list[str], bool]) -> tuple[str, str]:
    line, wrong = tried
    from sleepkit.cli import main

    with tempfile.TemporaryDirectory() as folder, _cut_off(folder) as complaints:
        try:
            status = main(line)
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except WorkBeganError:
            status = 0
    said = complaints.getvalue()
    if status != 2:
        return ("accepted_wrong", f"status {status}") if wrong else ("accepted", "")
    return _judged(said)


def _judge_process(line: list[str]) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "sleepkit", *line]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=25, check=False
            )
        except subprocess.TimeoutExpired:
            return "hangs", "25 s"
        left = os.listdir(folder)
    if done.returncode < 0:
        return "crashes", f"signal {-done.returncode}"
    said = done.stderr.decode(errors="replace")
    if done.returncode != 2 or left:
        return (
            "tracebacks" if "Traceback" in said else "accepted_wrong"
        ), f"status {done.returncode}, left {left}: {said[-200:]}"
    return _judged(said)


def _judged(said: str) -> tuple[str, str]:
    """Judge what was said: usage may stand before it, the refusal is the last line."""
    lines = said.rstrip("\n").split("\n")
    if "Traceback" in said:
        return "tracebacks", said[-300:]
    usage = [line for line in lines[:-1] if not line.startswith(("usage:", " "))]
    if usage:
        return "tracebacks", f"{len(lines)} lines: {said[:300]!r}"
    return judged_line(lines[-1], most=LONGEST_LINE)


def _can_be_passed(line: list[str]) -> bool:
    """Return whether a system takes these words: no NUL, no half of a pair, and not "." or ".." as a folder."""
    return not any("\0" in word or "\ud800" in word for word in line)


@contextlib.contextmanager
def _cut_off(folder: str) -> Iterator[io.StringIO]:
    """Run in a folder, catch what is said, and end where work would begin."""
    said = io.StringIO()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.ExitStack() as stack:
            for what in ("sleepkit.model.HybridLM.embed", "subprocess.Popen.__init__", "socket.socket.bind"):
                stack.enter_context(mock.patch(what, _begin))
            stack.enter_context(mock.patch("sleepkit.experiments.sweep.run_locally", _begin))
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(said))
            yield said
    finally:
        os.chdir(before)


def _begin(*_: object, **__: object) -> NoReturn:
    raise WorkBeganError
