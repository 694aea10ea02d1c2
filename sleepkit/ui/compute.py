"""What all sessions share: models, traces and accuracies, cached, and the threads that make them; the newest request wins.

Nothing here imports torch: the first picture is drawn from bundled traces, and the engine is imported by the first thread that
needs it (or by ``Workshop.warm``).
"""

import asyncio
import collections
import contextlib
import functools
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

import xarray as xr

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.ui import limits
from sleepkit.ui.picture import join_passes
from sleepkit.ui.state import AccuracyRequest, TraceRequest, opening_request
from sleepkit.ui.subject import subject

if TYPE_CHECKING:
    from sleepkit.model import HybridLM

N_EXAMPLES = 256

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

    def __len__(self) -> int:
        return len(self._values)


class TraceSource:
    """Traces and accuracies of the bundled models, computed when first asked for.

    Args:
        n_traces: traces kept (0.1 to 2 MB each).
        n_accuracies: evaluations kept.
    """

    def __init__(self, *, n_traces: int = 64, n_accuracies: int = 256) -> None:
        self._models: Recent[tuple[HybridLM, zoo.Card]] = Recent(4)
        self._traces: Recent[xr.DataTree] = Recent(n_traces)
        self._accuracies: Recent[xr.Dataset] = Recent(n_accuracies)

    def load(self, name: str) -> tuple["HybridLM", "zoo.Card"]:
        """Return a bundled model and its card.

        Raises:
            InvalidInputError: for an unknown name or a model the explorer cannot show.
        """
        from sleepkit.ui import engine

        subject(name)
        return self._models.get(name) or self._models.put(name, engine.load(name))

    def known(self, request: TraceRequest) -> xr.DataTree | None:
        """Return a trace that needs no computing: one that was computed before, or a bundled one; None otherwise."""
        trace = self._traces.get(request)
        if trace is None and request == opening_request(subject(request.model)).at(request.n_passes):
            with contextlib.suppress(InvalidInputError):  # no trace at this N is bundled
                trace = self._traces.put(request, zoo.load_opening(request.model, request.n_passes))
        return trace

    def trace(self, request: TraceRequest, *, on_pass: Progress | None = None) -> xr.DataTree:
        """Return the trace of one example.

        Args:
            request: the example and the settings of sleep.
            on_pass: called with passes done and passes in all; may raise to cancel.

        Raises:
            InvalidInputError: if the settings are impossible, naming the first that is.
        """
        known = self.known(request)
        if known is not None:
            return known
        limits.require_passes(request.n_passes)
        limits.require_input_len(request.text)
        from sleepkit.ui import engine

        return self._traces.put(request, engine.trace_of(*self.load(request.model), request, on_pass))

    def accuracy(self, request: AccuracyRequest, *, on_batch: Progress | None = None) -> xr.Dataset:
        """Return the accuracy at one N, all depths, on held-out examples.

        Args:
            request: N, context length, window length and eviction.
            on_batch: called with batches done and batches in all; may raise to cancel.

        Raises:
            InvalidInputError: if the settings are impossible.
        """
        known = self._accuracies.get(request)
        if known is not None:
            return known
        limits.require_passes(request.n_passes)
        from sleepkit.ui import engine

        model, card = self.load(request.model)
        measured = engine.accuracy_of(model, card, request, n_examples=N_EXAMPLES, on_batch=on_batch)
        return self._accuracies.put(request, measured)

    def check_text(self, request: TraceRequest) -> None:
        """Refuse a text that is no example of the task.

        Raises:
            InvalidInputError: naming what is wrong with it.
        """
        from sleepkit.ui import engine

        limits.require_input_len(request.text)
        engine.read(self.load(request.model)[1], request)

    def text(self, request: TraceRequest) -> tuple[str, str]:
        """Return a held-out example as text to start from, and what the task says about such texts."""
        from sleepkit.ui import engine

        return engine.text_of(self.load(request.model)[1], request)

    def measured(self, requests: Iterable[AccuracyRequest]) -> xr.Dataset | None:
        """Return those evaluations of several N that were made already, as one Dataset; None if none was."""
        rows = {request.n_passes: self._accuracies.get(request) for request in requests}
        made = [data for _, data in sorted(rows.items()) if data is not None]
        return join_passes(made) if made else None


class Worker:
    """One thread that does the work of all sessions in the order of arrival."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._n_waiting = 0

    @property
    def n_waiting(self) -> int:
        """How many pieces of work wait or are being done."""
        return self._n_waiting

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
            InvalidInputError: if too much waits already.
        """
        limits.require_room(self._n_waiting)
        self._n_waiting += 1
        try:
            return await asyncio.wrap_future(self._executor.submit(_in_turn, turn, work))
        finally:
            self._n_waiting -= 1

    def close(self) -> None:
        """Finish what was begun and stop the thread."""
        self._executor.shutdown(cancel_futures=True)


class Workshop:
    """What all sessions of a server share: the source and two threads, so that no picture waits for an evaluation."""

    def __init__(self) -> None:
        self.source = TraceSource()
        self.tracing, self.measuring = Worker("trace"), Worker("measure")
        self._warmed: set[str] = set()

    async def warm(self, name: str) -> None:
        """Load the engine and a model in the background, so that the first change of N does not wait for them."""
        if name not in self._warmed and self.tracing.n_waiting == 0:
            self._warmed.add(name)
            await self.tracing.run_async(Turn(), lambda: self.source.load(name))

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
