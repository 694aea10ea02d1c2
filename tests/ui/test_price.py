"""What a request costs is told from numbers: it is what the trace takes; what costs too much is refused by the limit's name."""

import dataclasses
from collections.abc import Iterator

import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.ui import compute, engine, limits, price
from sleepkit.ui.compute import TraceSource
from sleepkit.ui.limits import Limits
from sleepkit.ui.state import opening_request
from sleepkit.ui.subject import names, subject

NAME = "rule110-explorer"
OPENING = opening_request(subject(NAME))


@pytest.fixture(autouse=True)
def granted() -> Iterator[None]:
    before = limits.impose(Limits())
    yield
    limits.impose(before)


@pytest.mark.parametrize("changes", [{}, {"n_passes": 2, "window_len": 40, "context": 5}, {"window_len": 500, "n_passes": 1}])
def test_the_bytes_of_a_trace_are_told_before_it_is_made(changes: dict[str, int]) -> None:
    request = dataclasses.replace(OPENING, **changes)  # type: ignore[arg-type]
    tree = TraceSource().trace(request)
    told = price.price_of(request)
    recorded = sum(tree[group].to_dataset().nbytes for group in ("fast_weights", "attention"))
    assert 0.9 * recorded <= told.trace_bytes <= 2.5 * recorded
    assert told.work == tree["tokens"].sizes["token"] * request.n_passes * 2


def test_both_n_are_paid_for() -> None:
    assert price.price_of(OPENING, 3).work == price.price_of(OPENING).work + price.price_of(OPENING.at(3)).work


@pytest.mark.parametrize("name", names())
def test_whatever_the_controls_offer_is_granted(name: str) -> None:
    about = subject(name)
    request = dataclasses.replace(opening_request(about), context=about.dial.most, n_passes=16)
    price.grant(request, 16)
    price.grant_measuring(request.accuracy, compute.N_EXAMPLES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"context": 1024, "window_len": 1024, "n_passes": 16},
            r"must take 100,000 tokens x passes x layers .*--max-work",
        ),
        ({"context": 100, "window_len": 1700, "n_passes": 2}, r"must have traces of 48 MiB or less .*--max-trace-mib"),
        (
            {"context": 30, "window_len": 500, "n_passes": 1},
            r"^window_len: must have figures of 2048 KiB .*--max-figure-kib",
        ),
        ({"n_passes": 17}, r"n_passes: must be 16 or less"),
        ({"context": 4096}, r"n_strings: must be between 1 and 1024"),
        ({"window_len": 0}, r"window_len: must be an integer >= 1"),
        ({"text": "0" * 20_001}, r"text: must have 20000 characters or fewer"),
    ],
)
def test_what_costs_too_much_is_refused_before_anything_is_loaded_or_drawn(
    changes: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("load", "trace_of"):
        monkeypatch.setattr(engine, name, lambda *_: pytest.fail("worked on"))
    request = dataclasses.replace(OPENING, **changes)  # type: ignore[arg-type]
    for refused in (lambda: price.grant(request), lambda: TraceSource().trace(request)):
        with pytest.raises(InvalidInputError, match=words) as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_a_measurement_that_takes_too_long_is_refused() -> None:
    request = dataclasses.replace(OPENING, context=800, n_passes=3).accuracy
    with pytest.raises(InvalidInputError, match=r"accuracy at these settings: must take 10,000,000 .*--max-measured-work"):
        price.grant_measuring(request, 256)


def test_a_higher_limit_grants_more() -> None:
    request = dataclasses.replace(OPENING, context=1024, window_len=1024)
    limits.impose(Limits(max_work=10**7, max_trace_mib=10**4, max_figure_kib=10**5))
    assert price.grant(request).work == (1024 * 17 + 1024) * 4 * 2
