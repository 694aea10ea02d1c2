"""SIGKILL while something is saved: before every change of its folder in turn, and at moments drawn at random.

What was saved before or what is saved now can be read afterwards, and nothing else; the next start ends as if nothing had
happened, with the same content and the same files. A run that goes on after a kill ends with the same weights and history, bit
for bit.
"""

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from sleepkit import results
from tests.robustness.forked import in_child, made_whole, quiet
from tests.robustness.tally import Tally
from tests.robustness.things import CELL, CHECKPOINT, MODEL, RESULT, RUN, SESSION, SWEEP, TRACE, Thing, digest, files, lasting
from tests.robustness.tracer import traced

SAVED = (MODEL, SESSION, RESULT, TRACE, CHECKPOINT)
WORKED = (RUN, CELL, SWEEP)


def kill_savings(*, most: int | None, at_random: int, seed: int) -> dict[str, Any]:
    """Kill the saving of every kind of thing, over an earlier one and where there is none.

    Args:
        most: at most so many kills for each kind and beginning, evenly spread; None: before every change.
        at_random: kills at random moments for each kind and beginning.
        seed: of the random moments.
    """
    told = {}
    for thing in SAVED:
        tally, moments = _tally(), random.Random(f"{seed} {thing.name}")
        for earlier in (False, True):
            _kill_saving(thing, tally, moments, earlier=earlier, most=most, at_random=at_random)
        told[thing.name] = tally.as_dict()
    return told


def kill_work(*, most: int | None, at_random: int, seed: int) -> dict[str, Any]:
    """Kill a run, a cell and the gathering of a sweep, and go on; see ``kill_savings``."""
    told = {}
    for thing in WORKED:
        tally, moments = _tally(), random.Random(f"{seed} {thing.name}")
        with tempfile.TemporaryDirectory() as made:
            whole = Path(made)
            began = time.monotonic()
            made_whole(in_child(lambda: thing.save(whole, 0), timeout_s=300))  # noqa: B023
            took_s = time.monotonic() - began
            expected = _content(thing, whole)
            for name, kill in _kills(thing, None, most, at_random, moments, took_s):
                with tempfile.TemporaryDirectory() as killed:
                    if not kill(Path(killed)):
                        continue
                    tally.counts["kills"] += 1
                    _go_on(thing, Path(killed), tally, name, expected, files(whole))
        told[thing.name] = tally.as_dict()
    return told


def _tally() -> Tally:
    return Tally(kills=0, lost=0, leftovers=0, differs=0)


def _kill_saving(thing: Thing, tally: Tally, moments: random.Random, *, earlier: bool, most: int | None, at_random: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        old, new = Path(made) / "old", Path(made) / "new"
        old.mkdir()
        if earlier:
            made_whole(in_child(lambda: thing.save(old, 0)))
        shutil.copytree(old, new)
        began = time.monotonic()
        made_whole(in_child(lambda: thing.save(new, 1)))
        took_s = time.monotonic() - began
        readings = {"old": in_child(lambda: thing.read(old)), "new": in_child(lambda: thing.read(new))}
        for name, kill in _kills(thing, old, most, at_random, moments, took_s):
            with tempfile.TemporaryDirectory() as killed:
                if not kill(Path(killed)):
                    continue
                tally.counts["kills"] += 1
                where = f"{thing.name} {'over an earlier one' if earlier else 'anew'}, killed {name}"
                found = in_child(lambda: thing.read(Path(killed)))
                allowed = [readings["new"], readings["old"]]
                good = found in allowed or (not earlier and found.ending == "refused" and "\n" not in str(found.value))
                if not good:
                    tally.fault("lost", f"{where}: {found.ending} {str(found.value)[:160]}")
                _save_again(thing, Path(killed), new, readings["new"], tally, where)


def _save_again(thing: Thing, folder: Path, new: Path, expected: object, tally: Tally, where: str) -> None:
    again = in_child(lambda: thing.save(folder, 1))
    if again.ending != "returned":
        tally.fault("lost", f"{where}, saved again: {again.ending} {str(again.value)[:160]}")
        return
    found = in_child(lambda: thing.read(folder))
    if found != expected:
        tally.fault("differs", f"{where}, saved again: {found.ending} {str(found.value)[:160]}")
    if files(folder) != files(new):
        tally.fault("leftovers", f"{where}: {sorted(set(files(folder)) ^ set(files(new)))[:3]}")


def _go_on(thing: Thing, folder: Path, tally: Tally, name: str, expected: object, names: list[str]) -> None:
    where = f"{thing.name} killed {name}"
    again = in_child(lambda: thing.save(folder, 0), timeout_s=300)
    if again.ending != "returned":
        tally.fault("lost", f"{where}, gone on: {again.ending} {str(again.value)[:160]}")
        return
    found = _content(thing, folder)
    if found != expected:
        tally.fault("differs", f"{where}, gone on: {found}")
    if files(folder) != names:
        tally.fault("leftovers", f"{where}: {sorted(set(files(folder)) ^ set(names))[:3]}")


def _content(thing: Thing, folder: Path) -> object:
    """Return what must be the same however often the work was killed: all but what a clock measured."""

    def read() -> str:
        weights = [load_file(path) for path in sorted(folder.rglob("model/model.safetensors"))]
        known = [lasting(results.load(path)) for path in sorted(folder.rglob("*.nc"))]
        return digest(weights, known)

    return in_child(read)


def _kills(
    thing: Thing, beginning: Path | None, most: int | None, at_random: int, moments: random.Random, took_s: float
) -> Sequence[tuple[str, Callable[[Path], bool]]]:
    """Return every way to kill the saving of a version, by name; each makes the folder and says whether it killed."""
    version = 0 if beginning is None else 1

    def begin(folder: Path) -> None:
        if beginning is not None:
            shutil.copytree(beginning, folder, dirs_exist_ok=True)

    def save(folder: Path) -> None:
        thing.save(folder, version)

    with tempfile.TemporaryDirectory() as counted:
        begin(Path(counted))
        calls = traced(lambda: save(Path(counted)), Path(counted)).calls
    chosen = range(len(calls)) if most is None or most >= len(calls) else [n * len(calls) // most for n in range(most)]
    ways: list[tuple[str, Callable[[Path], bool]]] = []
    for number in chosen:

        def at_call(folder: Path, number: int = number) -> bool:
            begin(folder)
            return traced(lambda: save(folder), folder, kill_at=number).killed

        ways.append((f"before call {number} of {len(calls)} ({calls[number]})", at_call))
    for _ in range(at_random):
        after_s = moments.random() * took_s

        def at_moment(folder: Path, after_s: float = after_s) -> bool:
            begin(folder)
            return _killed_after(lambda: save(folder), after_s)

        ways.append((f"after {after_s:.4f} s", at_moment))
    return ways


def _killed_after(work: Callable[[], object], after_s: float) -> bool:
    """Fork, do the work there and kill it after a while; return whether it was still at work."""
    child = os.fork()
    if child == 0:
        try:
            quiet()
            work()
        finally:
            os._exit(0)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
