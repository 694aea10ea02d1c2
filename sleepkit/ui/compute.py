"""What the explorer computes with the real model: traces and accuracies, cached; newest request wins."""

import asyncio
import collections
import functools
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
import xarray as xr

from sleepkit import zoo
from sleepkit.analysis import trace
from sleepkit.model import HybridLM
from sleepkit.training import evaluate
from sleepkit.ui.state import AccuracyRequest, TraceRequest, explorable, sleep_of, task_at
from sleepkit.zoo import Card

N_EXAMPLES = 256
# Small batches: a newer request waits for one of them at most.
BATCH_SIZE = 32

Value = TypeVar("Value")
Progress = Callable[[int, int], None]


class SupersededError(Exception):
    """The work was cancelled, or a newer request took its place."""


class Turn:
    """The right to publish a result, until somebody newer takes it."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def end(self) -> None:
        """Make the work of this turn stale."""
        self._over.set()

    @property
    def over(self) -> bool:
        """Whether a result of this turn is still wanted by nobody."""
        return self._over.is_set()

    def check(self) -> None:
        """Raise if the turn is over.

        Raises:
            SupersededError: if it is.
        """
        if self.over:
            raise SupersededError


class Turns:
    """Hands out turns; each new one ends the one before."""

    def __init__(self) -> None:
        self._latest = Turn()

    def take(self) -> Turn:
        """End the latest turn and start a new one."""
        self.end()
        self._latest = Turn()
        return self._latest

    def end(self) -> None:
        """End the latest turn; nobody follows."""
        self._latest.end()


class Recent(Generic[Value]):
    """The most recently used values by key, a few of them; safe across threads."""

    def __init__(self, n_kept: int) -> None:
        self._n_kept, self._lock = n_kept, threading.Lock()
        self._values: collections.OrderedDict[Hashable, Value] = collections.OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value; the one not used for longest makes room."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._n_kept:
                self._values.popitem(last=False)
        return value

    def items(self) -> list[tuple[Hashable, Value]]:
        """Return what is kept, the least recently used first."""
        with self._lock:
            return list(self._values.items())

    def __len__(self) -> int:
        return len(self._values)


class TraceSource:
    """Traces and accuracies of the bundled models, computed when first asked for.

    Args:
        n_traces: traces kept (about 0.4 MB each).
        n_accuracies: evaluations kept.
    """

    def __init__(self, *, n_traces: int = 64, n_accuracies: int = 256) -> None:
        self._models: Recent[tuple[HybridLM, Card]] = Recent(4)
        self._traces: Recent[xr.DataTree] = Recent(n_traces)
        self._accuracies: Recent[xr.Dataset] = Recent(n_accuracies)

    def load(self, name: str) -> tuple[HybridLM, Card]:
        """Return a bundled model and its card.

        Raises:
            InvalidInputError: for an unknown name or a model the explorer cannot show.
        """
        known = self._models.get(name)
        if known is None:
            model, card = zoo.load(name)
            explorable(card)
            known = self._models.put(name, (model, card))
        return known

    def trace(self, request: TraceRequest) -> xr.DataTree:
        """Return the trace of one example of the test split.

        Raises:
            InvalidInputError: if the settings are impossible, naming the first that is.
        """
        known = self._traces.get(request)
        if known is not None:
            return known
        model, card = self.load(request.model)
        task = task_at(card, n_strings=request.n_strings, depth=request.depth)
        sleep = sleep_of(request)
        tree = trace(model, task, n_passes=sleep.n_passes, index=request.example, window_len=sleep.window_len)
        return self._traces.put(request, tree)

    def accuracy(self, request: AccuracyRequest, *, on_batch: Progress | None = None) -> xr.Dataset:
        """Return the accuracy at one N, all depths, on held-out strings.

        Args:
            request: N, context length and window length.
            on_batch: called with batches done and batches in all; may raise to cancel.

        Raises:
            InvalidInputError: if the settings are impossible.
        """
        known = self._accuracies.get(request)
        if known is not None:
            return known
        model, card = self.load(request.model)
        sleep = sleep_of(request)
        dataset = evaluate(
            model,
            task_at(card, n_strings=request.n_strings),
            n_passes=sleep.n_passes,
            n_examples=N_EXAMPLES,
            window_len=sleep.window_len,
            batch_size=BATCH_SIZE,
            on_batch=on_batch,
        )
        return self._accuracies.put(request, dataset)

    def measured(self, request: AccuracyRequest) -> xr.Dataset | None:
        """Return everything measured so far at a context and window length, all N together; None if nothing was."""
        wanted = (request.model, request.n_strings, request.window_len)
        rows = {
            key.n_passes: dataset
            for key, dataset in self._accuracies.items()
            if isinstance(key, AccuracyRequest) and (key.model, key.n_strings, key.window_len) == wanted
        }
        if not rows:
            return None
        ordered = [rows[n_passes] for n_passes in sorted(rows)]
        return xr.concat(
            ordered,
            dim="n_passes",
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="exact",
            combine_attrs="override",
        )


class Worker:
    """One thread that does the work of all sessions in the order of arrival."""

    def __init__(self, name: str) -> None:
        # A model this small is fastest on one core, and the others stay free for other sessions.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(1,))

    def run(self, turn: Turn, work: Callable[[], Value]) -> Value:
        """Do the work in the thread and wait for it.

        Raises:
            SupersededError: if the turn ended before the work began.
        """
        return self._executor.submit(_in_turn, turn, work).result()

    async def run_async(self, turn: Turn, work: Callable[[], Value]) -> Value:
        """Do the work in the thread while the event loop goes on.

        Raises:
            SupersededError: if the turn ended before the work began.
        """
        return await asyncio.wrap_future(self._executor.submit(_in_turn, turn, work))

    def close(self) -> None:
        """Finish what was begun and stop the thread."""
        self._executor.shutdown(cancel_futures=True)


class Workshop:
    """What all sessions of a server share: the source and two threads, so that no picture waits for an evaluation."""

    def __init__(self) -> None:
        self.source = TraceSource()
        self.tracing, self.measuring = Worker("trace"), Worker("measure")

    def close(self) -> None:
        """Stop the threads."""
        self.tracing.close()
        self.measuring.close()


@functools.cache
def shared_workshop() -> Workshop:
    """Return the workshop of this process."""
    return Workshop()


def _in_turn(turn: Turn, work: Callable[[], Value]) -> Value:
    turn.check()
    return work()
