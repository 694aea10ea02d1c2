"""The computing side of the explorer: real traces of the bundled model, caches, and the newest request winning."""

import asyncio
import dataclasses
import functools
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import sleepkit as sk
from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import explore
from sleepkit.ui import compute, engine
from sleepkit.ui.compute import SupersededError, TraceSource, Turn, Turns, Worker
from sleepkit.ui.state import AccuracyRequest, TraceRequest, opening_request
from sleepkit.ui.subject import subject

NAME = "rule110-explorer"
REQUEST = TraceRequest(model=NAME, n_passes=3, context=2, window_len=17, eviction="hard", depth=4, example=1, text="")
ACCURACY = AccuracyRequest(model=NAME, n_passes=1, context=1, window_len=17, eviction="hard")


@pytest.fixture
def source() -> TraceSource:
    return TraceSource(n_traces=2)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("test")
    yield worker
    worker.close()


def test_a_trace_is_what_the_library_computes_for_the_same_settings(source: TraceSource) -> None:
    model, card = zoo.load(NAME)
    task = explore.at_depth(card.task, 4, n_strings=2)
    expected = sk.trace(model, task, n_passes=3, index=1, window_len=17)
    made = source.trace(REQUEST)
    for group in ("fast_weights", "attention", "tokens", "answers"):
        assert made[group].to_dataset().identical(expected[group].to_dataset())


def test_another_n_changes_the_fast_weights(source: TraceSource) -> None:
    low, high = source.trace(REQUEST.at(1)), source.trace(REQUEST)
    last_low = low["fast_weights"]["state"].isel(window=1, sleep_pass=1).values
    last_high = high["fast_weights"]["state"].isel(window=1, sleep_pass=3).values
    assert np.abs(last_low - last_high).max() > 0.01


def test_a_trace_asked_for_again_comes_from_the_cache_until_newer_ones_push_it_out(source: TraceSource) -> None:
    first = source.trace(REQUEST)
    assert source.trace(REQUEST) is first
    source.trace(REQUEST.at(1))
    source.trace(REQUEST.at(2))
    assert source.trace(REQUEST) is not first


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"window_len": 1}, "window_len: must hold the label block"),
        ({"window_len": 0}, "window_len"),
        ({"depth": 99}, "depth"),
    ],
)
def test_impossible_settings_are_refused_by_name(source: TraceSource, change: dict[str, int], rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule):
        source.trace(TraceRequest(**{**vars(REQUEST), **change}))


def test_accuracy_is_measured_once_and_gathered_over_n(source: TraceSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "N_EXAMPLES", 64)
    seen: list[tuple[int, int]] = []
    wanted = [ACCURACY.at(n_passes) for n_passes in (3, 1, 2)]
    assert source.measured(wanted) is None
    source.accuracy(ACCURACY, on_batch=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    source.accuracy(ACCURACY, on_batch=lambda done, total: seen.append((done, total)))
    assert len(seen) == 2
    source.accuracy(ACCURACY.at(3))
    source.accuracy(dataclasses.replace(ACCURACY, n_passes=2, context=2))
    measured = source.measured(wanted)
    assert measured is not None
    assert measured.n_passes.values.tolist() == [1, 3]
    assert int(measured.n_total.sum()) == 2 * 64


def test_sliding_eviction_and_own_text_are_traced_as_asked(source: TraceSource) -> None:
    sliding = source.trace(dataclasses.replace(REQUEST, eviction="sliding"))
    assert sliding.attrs["eviction"] == "sliding"
    text, about = source.text(REQUEST)
    assert about
    own = source.trace(dataclasses.replace(REQUEST, text=text))
    drawn = source.trace(REQUEST)
    assert own["tokens"]["id"].values.tolist() == drawn["tokens"]["id"].values.tolist()
    assert own["answers"]["truth"].values.tolist() == drawn["answers"]["truth"].values.tolist()
    with pytest.raises(InvalidInputError):
        source.check_text(dataclasses.replace(REQUEST, text="not an example"))


def test_a_trace_stops_between_two_passes_when_its_turn_ends(source: TraceSource) -> None:
    turn, done_passes = Turn(), []

    def on_pass(done: int, _total: int) -> None:
        done_passes.append(done)
        turn.end()
        turn.check()

    with pytest.raises(SupersededError):
        source.trace(REQUEST, on_pass=on_pass)
    assert done_passes == [1]
    assert source.known(REQUEST) is None


@pytest.mark.parametrize("name", ["rule110-explorer", "depo-explorer"])
def test_the_opening_needs_no_model_and_shows_what_the_model_would(source: TraceSource, name: str) -> None:
    request = opening_request(subject(name))
    bundled = source.known(request)
    assert bundled is not None
    model, card = zoo.load(name)
    made = engine.trace_of(model, card, request)
    assert bundled["answers"]["predicted"].values.tolist() == made["answers"]["predicted"].values.tolist()
    states = (bundled["fast_weights"]["state"].values, made["fast_weights"]["state"].values)
    np.testing.assert_allclose(*states, rtol=2e-3, atol=2e-3)


def test_a_measurement_stops_at_the_next_batch_when_its_turn_ends(source: TraceSource) -> None:
    turn = Turn()
    n_batches = 0

    def on_batch(_done: int, _total: int) -> None:
        nonlocal n_batches
        n_batches += 1
        turn.end()
        turn.check()

    with pytest.raises(SupersededError):
        source.accuracy(ACCURACY, on_batch=on_batch)
    assert n_batches == 1
    assert source.measured([ACCURACY]) is None


def test_a_new_turn_ends_the_one_before() -> None:
    turns = Turns()
    first = turns.take()
    assert not first.over
    second = turns.take()
    assert first.over
    assert not second.over
    turns.end()
    assert second.over


def test_work_whose_turn_is_over_before_it_begins_is_not_done(worker: Worker) -> None:
    gate, done = threading.Event(), []
    turns = Turns()

    async def ask_twice() -> list[object]:
        busy = asyncio.ensure_future(worker.run_async(Turn(), gate.wait))
        await asyncio.sleep(0)
        old = asyncio.ensure_future(worker.run_async(turns.take(), lambda: done.append("old")))
        await asyncio.sleep(0)
        new = asyncio.ensure_future(worker.run_async(turns.take(), lambda: done.append("new")))
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(busy, old, new, return_exceptions=True)

    results = asyncio.run(ask_twice())
    assert isinstance(results[1], SupersededError)
    assert done == ["new"]


def test_of_many_requests_at_once_the_last_is_done_and_the_others_never_begin(worker: Worker) -> None:
    gate, done, turns = threading.Event(), list[int](), Turns()

    async def ask() -> int:
        busy = asyncio.ensure_future(worker.run_async(Turn(), gate.wait))
        await asyncio.sleep(0)
        asked = []
        for number in range(200):
            asked.append(asyncio.ensure_future(worker.run_async(turns.take(), functools.partial(done.append, number))))
            await asyncio.sleep(0)
        waiting = worker.n_waiting
        gate.set()
        await asyncio.gather(busy, *asked, return_exceptions=True)
        return waiting

    assert asyncio.run(ask()) == 2
    assert done == [199]


def test_who_waits_is_told_how_many_are_before(worker: Worker) -> None:
    gate, told = threading.Event(), list[int]()

    async def ask() -> None:
        before = [asyncio.ensure_future(worker.run_async(Turn(), gate.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        last = asyncio.ensure_future(worker.run_async(Turn(), lambda: None, on_place=told.append))
        while not told:
            await asyncio.sleep(0.001)
        gate.set()
        await asyncio.gather(*before, last)

    asyncio.run(ask())
    assert told[0] == 3


def test_what_goes_wrong_in_the_thread_is_raised_where_it_was_asked_for(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.run(Turn(), lambda: 1 // 0)
    assert worker.run(Turn(), lambda: 7) == 7
