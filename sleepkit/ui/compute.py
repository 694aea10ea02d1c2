"""What all sessions share: models, traces and accuracies, cached, and the threads that make them; the newest request wins.

Nothing here imports torch: the first picture is drawn from bundled traces, and the engine is imported by the first thread that
needs it (or by ``Workshop.warm``).
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import xarray as xr

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.ui import limits
from sleepkit.ui.picture import join_passes
from sleepkit.ui.recent import Recent
from sleepkit.ui.state import AccuracyRequest, TraceRequest, opening_request
from sleepkit.ui.subject import subject

if TYPE_CHECKING:
    from sleepkit.model import HybridLM

N_EXAMPLES = 256
_MOST_TRACE_BYTES = 2**27

_PLACE_S = 1.0  # between two looks at how many are before

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


class TraceSource:
    """Traces and accuracies of the bundled models, computed when first asked for.

    Args:
        n_traces: traces kept (0.1 to 2 MB each, some up to the limit on one request), as long as they fit into 128 MiB together.
        n_accuracies: evaluations kept.
    """

    def __init__(self, *, n_traces: int = 64, n_accuracies: int = 256) -> None:
        self._models: Recent[tuple[HybridLM, zoo.Card]] = Recent(4)
        self._traces: Recent[xr.DataTree] = Recent(n_traces, most=_MOST_TRACE_BYTES, weigh=_n_bytes)
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
        from sleepkit.ui import engine, price

        price.grant(request)
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
        from sleepkit.ui import engine, price

        price.grant_measuring(request, N_EXAMPLES)
        model, card = self.load(request.model)
        measured = engine.accuracy_of(model, card, request, n_examples=N_EXAMPLES, on_batch=on_batch)
        return self._accuracies.put(request, measured)

    def grant(self, request: TraceRequest, compare: int) -> bool:
        """Return whether a picture takes but a moment.

        Raises:
            InvalidInputError: if it takes more than this process grants, or is impossible.
        """
        from sleepkit.ui import price

        return price.grant(request, compare).quick

    def check_text(self, request: TraceRequest) -> None:
        """Refuse a text that is no example of the task.

        Raises:
            InvalidInputError: naming what is wrong with it.
        """
        limits.require_input_len(request.text)
        from sleepkit.ui import engine

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


class _Piece(NamedTuple):
    """A piece of work that waits for a thread."""

    turn: Turn
    work: Callable[[], Any]
    done: "Future[Any]"


class Worker:
    """One thread that does the work of all sessions in the order of arrival; what nobody wants any more never begins.

    The thread ends with the process, whatever it is doing then.
    """

    def __init__(self, name: str) -> None:
        self._name, self._changed = name, threading.Condition()
        self._waiting: list[_Piece] = []
        self._doing: _Piece | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def n_waiting(self) -> int:
        """How many pieces of work wait or are being done, those that nobody wants any more left out."""
        with self._changed:
            self._drop()
            return len(self._waiting) + (self._doing is not None)

    def run(self, turn: Turn, work: Callable[[], Value]) -> Value:
        """Do the work in the thread and wait for it.

        Raises:
            SupersededError: if the turn ended before the work began.
        """
        result: Value = self._submit(turn, work).done.result()
        return result

    async def run_async(self, turn: Turn, work: Callable[[], Value], *, on_place: Callable[[int], None] | None = None) -> Value:
        """Do the work in the thread while the event loop goes on.

        Args:
            turn: work whose turn has ended does not begin.
            work: what is done.
            on_place: called in the event loop, about once a second, with how many pieces of work are done before this one.

        Raises:
            SupersededError: if the turn ended before the work began.
            InvalidInputError: if too much waits already.
        """
        limits.require_room(self.n_waiting)
        piece = self._submit(turn, work)
        done = asyncio.wrap_future(piece.done)
        while not done.done():
            before = self._before(piece)
            if before and on_place is not None:
                on_place(before)
            await asyncio.wait([done], timeout=_PLACE_S)
        result: Value = done.result()
        return result

    def close(self) -> None:
        """Finish what was begun and stop the thread."""
        with self._changed:
            self._closed = True
            for piece in self._waiting:
                piece.turn.end()
            self._drop()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _submit(self, turn: Turn, work: Callable[[], Any]) -> _Piece:
        piece = _Piece(turn, work, Future())
        with self._changed:
            self._drop()
            self._waiting.append(piece)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return piece

    def _before(self, piece: _Piece) -> int:
        """Return how many pieces of work are done before one."""
        with self._changed:
            self._drop()
            place = next((place for place, each in enumerate(self._waiting) if each is piece), None)
            return 0 if place is None else place + (self._doing is not None)

    def _drop(self) -> None:
        """Take out what nobody wants any more; the lock is held."""
        for piece in self._waiting:
            if piece.turn.over and piece.done.set_running_or_notify_cancel():
                piece.done.set_exception(SupersededError())
        self._waiting = [piece for piece in self._waiting if not piece.turn.over]

    def _work(self) -> None:
        while True:
            with self._changed:
                self._drop()
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._doing = piece = self._waiting.pop(0)
            _do(piece)
            with self._changed:
                self._doing = None
            del piece  # with what it was about


class Workshop:
    """What all sessions of a server share: the source and the threads.

    No picture waits for an evaluation, none that takes a moment for one that takes longer, and no refusal for a picture.
    """

    def __init__(self) -> None:
        self.source = TraceSource()
        self.checking, self.tracing, self.tracing_long, self.measuring = map(Worker, ("check", "trace", "long", "measure"))
        self._warmed: set[str] = set()

    async def warm(self, name: str) -> None:
        """Load the engine and a model in the background, so that the first change of N does not wait for them."""
        if name not in self._warmed and self.tracing.n_waiting == 0:
            self._warmed.add(name)
            await self.tracing.run_async(Turn(), lambda: self.source.load(name))

    def close(self) -> None:
        """Stop the threads."""
        for worker in (self.checking, self.tracing, self.tracing_long, self.measuring):
            worker.close()


@functools.cache
def shared_workshop() -> Workshop:
    """Return the workshop of this process."""
    return Workshop()


def _n_bytes(tree: xr.DataTree) -> int:
    return int(tree.nbytes)


def _do(piece: _Piece) -> None:
    """Do a piece of work; whatever comes of it, an error too, is for whoever asked for it."""
    if not piece.done.set_running_or_notify_cancel():
        return
    try:
        piece.turn.check()
        result = piece.work()
    except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
        piece.done.set_exception(error)
    else:
        piece.done.set_result(result)
