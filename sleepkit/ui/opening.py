"""How pictures are made: priced first, then traced in a thread, quick ones beside long ones; and the one a page opens with."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sleepkit.errors import SleepkitError
from sleepkit.ui.compute import Progress, TraceSource, Turn, Workshop
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState, TraceRequest
from sleepkit.ui.subject import subject

OnPlace = Callable[[int], None]


class Opening(NamedTuple):
    """What a page opens with.

    Attributes:
        picture: of the settings asked for; of the model's own, if those are refused.
        refused: why they are; "" if they are not.
    """

    picture: Picture
    refused: str = ""


async def opening_of(state: ExplorerState, workshop: Workshop, *, on_place: OnPlace | None = None) -> Opening:
    """Return what a page with these settings opens with, computed outside the event loop.

    Args:
        state: the settings.
        workshop: where it is computed.
        on_place: called with how many pieces of work are done before.
    """
    refused = ""
    try:
        return Opening(await _picture(workshop, state.trace_request(), state.compare, on_place))
    except SleepkitError as error:
        refused = str(error)
    own = ExplorerState()
    own.adopt(subject(state.model))
    return Opening(await _picture(workshop, own.trace_request(), own.compare, on_place), refused)


def opening_now(state: ExplorerState, workshop: Workshop) -> Opening:
    """Return what ``opening_of`` does, and wait for it: for pages that no server builds."""
    with ThreadPoolExecutor(1) as thread:  # an event loop may run in this one
        return thread.submit(lambda: asyncio.run(opening_of(state, workshop))).result()


async def _picture(workshop: Workshop, request: TraceRequest, compare: int, on_place: OnPlace | None) -> Picture:
    known = known_picture(workshop.source, request, compare)
    return known or await traced(workshop, Turn(), request, compare, on_place=on_place)


def known_picture(source: TraceSource, request: TraceRequest, compare: int) -> Picture | None:
    """Return a picture for which nothing must be computed; None if something must."""
    tree, other = source.known(request), source.known(request.at(compare))
    if tree is None or other is None:
        return None
    return Picture(request, compare, subject(request.model), tree, other)


async def traced(
    workshop: Workshop,
    turn: Turn,
    request: TraceRequest,
    compare: int,
    *,
    report: Progress | None = None,
    on_place: OnPlace | None = None,
) -> Picture:
    """Return a picture, once its price is granted and its turn has come.

    Args:
        workshop: where it is computed.
        turn: what ends it.
        request: the example and the settings of sleep.
        compare: the N it is compared with.
        report: called in the thread with what is done and what there is to do; may raise to cancel.
        on_place: called with how many pieces of work are done before.

    Raises:
        InvalidInputError: at once, if it costs more than this process grants; if the settings are impossible.
        SupersededError: if the turn ends.
    """
    source = workshop.source
    quick = await workshop.checking.run_async(turn, lambda: source.grant(request, compare))
    worker = workshop.tracing if quick else workshop.tracing_long
    return await worker.run_async(turn, lambda: _compute(source, request, compare, report), on_place=on_place)


def _compute(source: TraceSource, request: TraceRequest, compare: int, report: Progress | None) -> Picture:
    """Trace at both N; passes of the two count together for the progress."""
    total = request.n_passes + compare

    def share(part: int, start: int) -> Progress | None:
        return None if report is None else lambda done, passes: report(start * passes + part * done, total * passes)

    tree = source.trace(request, on_pass=share(request.n_passes, 0))
    other = source.trace(request.at(compare), on_pass=share(compare, request.n_passes))
    return Picture(request, compare, subject(request.model), tree, other)
