"""How every suite measures: things to be compared take turns, A B A B ..., so that noise hits all of them.

A figure is the median of repeated runs after warm-up with its spread; a ratio is the median of the ratios of the rounds, so that
only runs made side by side are divided by one another.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from sleepkit.errors import SleepkitError, one_line, refuse, require, require_count

Item = TypeVar("Item")
Figures = dict[str, Any]
# What a missing package, compiler, device or file raises; a mistake in our own code (TypeError, KeyError, ...) is let through.
TROUBLE = (SleepkitError, ImportError, RuntimeError, OSError, subprocess.SubprocessError)
ROOT = Path(__file__).resolve().parents[2]
_SLOWEST_S = 3600


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmups: int = 2,
    slot_s: float = 0.0,
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, list[float]]:
    """Time calls in turns and return the seconds of one call, per name and round.

    Args:
        calls: what to time; every round makes each of them once, in this order.
        rounds: rounds that are timed.
        warmups: calls of each before the first round, not timed.
        slot_s: a call shorter than this is repeated within its turn until the turn takes about as long, and averaged.
        device: waits for this device before a clock is read.
        progress: show a bar on stderr.

    Raises:
        InvalidInputError: if there is no round or nothing to time.
    """
    require_count("rounds", rounds)
    require(len(calls) > 0, "calls", "must hold something to time", list(calls))
    repeats = {}
    for name, call in calls.items():
        for _ in range(warmups):
            call()
        took = _seconds(call, 1, device) if slot_s > 0 else 0.0
        repeats[name] = max(1, round(slot_s / took)) if took > 0 else 1
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in bar(range(rounds), description=" : ".join(calls), progress=progress):
        for name, call in calls.items():
            seconds[name].append(_seconds(call, repeats[name], device))
    return seconds


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Return the ratios of two series round by round.

    Raises:
        InvalidInputError: if they have not the same number of rounds.
    """
    require(len(of) == len(to), "rounds", f"must be as many as the other's {len(to)}", len(of))
    return [a / b for a, b in zip(of, to, strict=True)]


def spread(values: Iterable[float], *, factor: float = 1.0) -> Figures:
    """Return median, quartiles, lowest and highest of the values times a factor, to four digits, and their number.

    Raises:
        InvalidInputError: if there are no values.
    """
    scaled = [factor * value for value in values]
    require(len(scaled) > 0, "values", "must not be empty", scaled)
    low, quarter, middle, three_quarters, high = (float(np.quantile(scaled, q)) for q in (0, 0.25, 0.5, 0.75, 1))
    return {
        "median": digits(middle),
        "quartiles": [digits(quarter), digits(three_quarters)],
        "range": [digits(low), digits(high)],
        "n": len(scaled),
    }


def latencies(seconds: Sequence[float]) -> Figures:
    """Return median and 95th percentile (the nearest rank: no value is made up) of waiting times, their number and all of them.

    Raises:
        InvalidInputError: if there are none.
    """
    require(len(seconds) > 0, "values", "must not be empty", list(seconds))
    ordered = sorted(seconds)
    rank = max(0, -(-95 * len(ordered) // 100) - 1)
    return {
        "median_s": round(float(np.median(ordered)), 3),
        "p95_s": round(ordered[rank], 3),
        "n": len(ordered),
        "all_s": [round(value, 3) for value in seconds],
    }


def digits(value: float, n_digits: int = 4) -> float:
    """Round to significant digits."""
    return float(f"{value:.{n_digits}g}")


def attempt(part: Callable[[], Figures]) -> Figures:
    """Measure a part of a suite; where it cannot run, return why, so that the other parts go on."""
    try:
        return part()
    except TROUBLE as error:
        return unavailable(reason(error))


def unavailable(why: str) -> Figures:
    """Return what stands in a report for a part that could not be measured."""
    return {"unavailable": why}


def reason(error: BaseException) -> str:
    """Return an error as one line of at most 500 characters."""
    return one_line(f"{type(error).__name__}: {error}", most=500)


def bar(items: Iterable[Item], *, description: str, progress: bool) -> Iterable[Item]:
    """Walk through items, with a progress bar on stderr if wanted."""
    from tqdm.auto import tqdm

    walk: Iterable[Item] = tqdm(items, desc=description[:60], disable=not progress, dynamic_ncols=True, file=sys.stderr)
    return walk


def ask(program: Sequence[str], order: Figures, *, tree: Path) -> Figures:
    """Run a probe in a process of its own, with the sleepkit of a tree, and return the JSON of its last line.

    Args:
        program: arguments of Python: a file, or "-m" and a module.
        order: what the probe gets, as JSON.
        tree: the folder that holds the package ``sleepkit``.

    Raises:
        InvalidInputError: with the last line of what the probe said, if it fails.
        subprocess.TimeoutExpired: if it takes more than an hour.
    """
    command = [sys.executable, "-P", *program, json.dumps(order)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, timeout=_SLOWEST_S)
    if done.returncode != 0:
        refuse(Path(program[-1]).name, "must run to its end", (done.stderr.strip().splitlines() or ["no message"])[-1])
    report: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return report


@contextlib.contextmanager
def threads(n_threads: int) -> Iterator[int]:
    """Compute with this number of CPU threads, 0 for torch's choice; yield the number."""
    before = torch.get_num_threads()
    if n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def synchronise(device: str) -> None:
    """Wait until a device has done what it was told; a CPU always has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _seconds(call: Callable[[], object], repeats: int, device: str) -> float:
    synchronise(device)
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronise(device)
    return (time.perf_counter() - began) / repeats


def guarded(part: Callable[[], Figures]) -> Figures:
    """Measure a part; whatever goes wrong on a new device stands in the report, and the other parts go on."""
    try:
        return part()
    except Exception as error:  # noqa: BLE001 - compilers and drivers raise what they like
        return unavailable(one_line(f"{type(error).__name__}: {error}", most=800))
