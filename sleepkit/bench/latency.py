"""The suite ``latency``: a prediction costs one pass, whatever N and however much was read; sleep costs N - 1 passes.

All of it with a bundled model, one sequence, tokens one by one unless said otherwise.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sleepkit import zoo
from sleepkit.bench import measure
from sleepkit.bench.measure import Figures
from sleepkit.errors import require, require_count
from sleepkit.model import HybridLM
from sleepkit.settings import Settings, settings
from sleepkit.sleep import Session, SleepConfig
from sleepkit.tasks import Task


@settings
class LatencySettings(Settings):
    """Settings of the suite ``latency``.

    Attributes:
        model: a bundled model.
        n_passes: the N to compare, rising.
        rounds: windows read token by token in turns.
        n_young: tokens read before the young session is timed, rounded up to whole windows.
        n_old: tokens read before the old one is timed, rounded up to whole windows.
        old_n_passes: N of both.
        n_held: tokens after which the bytes held are counted, rounded up to whole windows.
        sleep_rounds: rounds of sleeps against passes.
        n_threads: CPU threads; 0 leaves torch's choice.
    """

    model: str = "rule110-explorer"
    n_passes: tuple[int, ...] = (1, 2, 4, 8)
    rounds: int = 200
    n_young: int = 100
    n_old: int = 100_000
    old_n_passes: int = 4
    n_held: int = 1_000_000
    sleep_rounds: int = 100
    n_threads: int = 0

    def check(self) -> None:
        """Refuse a comparison of nothing."""
        rising = len(self.n_passes) >= 2 and list(self.n_passes) == sorted(set(self.n_passes)) and self.n_passes[0] >= 1
        require(rising, "n_passes", "must be at least two rising counts", self.n_passes)
        for name in ("rounds", "n_young", "n_old", "old_n_passes", "n_held", "sleep_rounds"):
            require_count(name, getattr(self, name))


def run(given: LatencySettings, *, progress: bool = False) -> Figures:
    """Measure the four facts; the tokens are the model's own task, held-out split."""
    model, card = zoo.load(given.model)
    task, window_len = card.task, card.sleep.window_len
    require(window_len >= 2, "window_len", "must be 2 or more to read a token without closing the window", window_len)
    with measure.threads(given.n_threads) as n_threads:
        by_n = _by_n_passes(model, task, window_len, given, progress)
        by_age = _by_age(model, task, window_len, given, progress)
        sleep = _sleep(model, task, window_len, given, progress)
        held = _held(model, task, window_len, given, progress)
    return {
        "ratios": {
            "token, largest N : smallest N": by_n.pop("ratio"),
            "token, old session : young session": by_age.pop("ratio"),
            "sleep : (N - 1) passes": sleep.pop("ratios"),
            "bytes held, at the end : after one window": held.pop("ratio"),
        },
        "model": given.model,
        "window_len": window_len,
        "n_threads": n_threads,
        "token_by_n_passes": by_n,
        "token_by_age": by_age,
        "sleep": sleep,
        "bytes_held": held,
    }


def _by_n_passes(model: HybridLM, task: Task, window_len: int, given: LatencySettings, progress: bool) -> Figures:
    sessions = {str(n): Session(model, SleepConfig(n_passes=n, window_len=window_len)) for n in given.n_passes}
    seconds = _read_in_turns(sessions, task, window_len, given.rounds, fork=False, progress=progress)
    first, last = str(given.n_passes[0]), str(given.n_passes[-1])
    return {
        "ratio": measure.spread(_window_ratios(seconds[last], seconds[first])),
        "us": _describe(seconds),
        f"N : N = {first}": {n: measure.spread(_window_ratios(took, seconds[first])) for n, took in seconds.items()},
    }


def _by_age(model: HybridLM, task: Task, window_len: int, given: LatencySettings, progress: bool) -> Figures:
    sleep = SleepConfig(n_passes=given.old_n_passes, window_len=window_len)
    sessions = {}
    for name, n_tokens in (("young", given.n_young), ("old", given.n_old)):
        sessions[name] = Session(model, sleep)
        for piece in measure.bar(_windows(task, window_len, n_tokens), description=f"{name} session", progress=progress):
            sessions[name].read(piece)
    seconds = _read_in_turns(sessions, task, window_len, given.rounds, fork=True, progress=progress)
    return {
        "ratio": measure.spread(_window_ratios(seconds["old"], seconds["young"])),
        "us": _describe(seconds),
        "n_read": {name: session.n_read for name, session in sessions.items()},
        "n_passes": given.old_n_passes,
    }


def _sleep(model: HybridLM, task: Task, window_len: int, given: LatencySettings, progress: bool) -> Figures:
    """Time sleeps of a full window, and whole passes over it from an empty KV cache.

    The window of the session is one token longer than what is read, so that it does not fall asleep by itself.
    """
    longest = max(given.n_passes)
    counts = [n for n in given.n_passes if n > 1]
    session = Session(model, SleepConfig(n_passes=longest, window_len=window_len + 1))
    (tokens,) = _windows(task, window_len, window_len)
    session.read(tokens)
    with torch.no_grad():
        hidden, state = model.embed(tokens), session.state

    @torch.no_grad()
    def one_pass() -> object:
        return model.blocks(hidden, state)

    calls = {"pass": one_pass} | {str(n): (lambda n=n: session.fork().sleep(n)) for n in counts}
    seconds = measure.interleave(calls, rounds=given.sleep_rounds, progress=progress)
    return {
        "ratios": {
            str(n): measure.spread([took / (n - 1) for took in measure.ratios(seconds[str(n)], seconds["pass"])]) for n in counts
        },
        "us_per_pass": measure.spread(seconds["pass"], factor=1e6),
        "us_of_a_sleep": {str(n): measure.spread(seconds[str(n)], factor=1e6) for n in counts},
    }


def _held(model: HybridLM, task: Task, window_len: int, given: LatencySettings, progress: bool) -> Figures:
    """Count the bytes a session holds just before a window closes, with N = 1 because N changes no size."""
    session = Session(model, SleepConfig(n_passes=1, window_len=window_len))
    held, resident = [], 0
    began = time.perf_counter()
    for piece in measure.bar(_windows(task, window_len, given.n_held), description="bytes held", progress=progress):
        session.read(piece[:, :-1])
        held.append(session.n_bytes)
        session.read(piece[:, -1:])
        resident = resident or resident_bytes()
    return {
        "ratio": measure.digits(held[-1] / held[0]),
        "largest : after one window": measure.digits(max(held) / held[0]),
        "bytes_after_one_window": held[0],
        "bytes_at_the_end": held[-1],
        "n_read": session.n_read,
        "process_MiB_after_one_window": measure.digits(resident / 2**20),
        "process_MiB_at_the_end": measure.digits(resident_bytes() / 2**20),
        "seconds": measure.digits(time.perf_counter() - began),
    }


def resident_bytes() -> int:
    """Return the resident memory of this process now; 0 where the system does not say (no /proc)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096


def _read_in_turns(
    sessions: dict[str, Session], task: Task, window_len: int, rounds: int, *, fork: bool, progress: bool
) -> dict[str, np.ndarray]:
    """Read window after window token by token, the sessions in turns at every position, all but the token that closes the window.

    A read takes microseconds, so whose turn it is first matters: the order goes round from window to window.

    Returns:
        Seconds by session, [rounds, window_len - 1].
    """
    seconds = {name: np.zeros((rounds, window_len - 1)) for name in sessions}
    for piece in _windows(task, window_len, 3 * window_len):
        for session in sessions.values():
            session.fork().read(piece)
    windows = _windows(task, window_len, rounds * window_len)
    for number, piece in enumerate(measure.bar(windows, description=" : ".join(sessions), progress=progress)):
        readers = {name: session.fork() if fork else session for name, session in _rotated(sessions, number).items()}
        for position in range(window_len - 1):
            token = piece[:, position : position + 1]
            for name, reader in readers.items():
                began = time.perf_counter()
                reader.read(token)
                seconds[name][number, position] = time.perf_counter() - began
        for reader in readers.values():
            reader.read(piece[:, -1:])
    return seconds


def _window_ratios(of: np.ndarray, to: np.ndarray) -> list[float]:
    """Return one ratio a window: the median over its positions of the ratios at equal positions."""
    return [float(ratio) for ratio in np.median(of / to, axis=1)]


def _describe(seconds: dict[str, np.ndarray]) -> Figures:
    """Microseconds of a token, and by position in the window, first and last."""
    return {
        name: measure.spread(np.median(took, axis=1).tolist(), factor=1e6)
        | {
            "first_position": measure.digits(1e6 * float(np.median(took[:, 0]))),
            "last_position": measure.digits(1e6 * float(np.median(took[:, -1]))),
        }
        for name, took in seconds.items()
    }


def _rotated(sessions: dict[str, Session], by: int) -> dict[str, Session]:
    names = list(sessions)
    by %= len(names)
    return {name: sessions[name] for name in names[by:] + names[:by]}


def _windows(task: Task, window_len: int, n_tokens: int) -> list[Tensor]:
    """Return ``n_tokens`` of the task, or a few more, as pieces [1, window_len]: test tokens, which repeat after 512 examples."""
    stream = task.batch("test", 0, 512).tokens.flatten()
    pieces = stream[: len(stream) // window_len * window_len].view(-1, 1, window_len).unbind()
    return list(itertools.islice(itertools.cycle(pieces), -(-n_tokens // window_len)))
