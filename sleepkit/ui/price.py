"""What a request costs, from numbers alone: no example is drawn and no weight loaded to tell it.

Import it in a thread: it imports torch.
Axes in the comments: T token, L window, H head, K key channel, V value channel.
"""

import functools
from typing import NamedTuple

from sleepkit import zoo
from sleepkit.errors import require_count
from sleepkit.model import ModelConfig
from sleepkit.ui import limits
from sleepkit.ui.engine import task_of
from sleepkit.ui.state import AccuracyRequest, TraceRequest

_BYTES = 4  # of a number in a trace
# Work that takes a fraction of a second: it is done in a thread of its own, so that it never waits for longer work.
_QUICK = 15_000


class Price(NamedTuple):
    """What a picture costs.

    Attributes:
        work: tokens x passes x layers, at N and at the compared N.
        trace_bytes: of both traces.
        figure_bytes: numbers of the largest figure.
    """

    work: int
    trace_bytes: int
    figure_bytes: int

    @property
    def quick(self) -> bool:
        """Whether it is done in a moment."""
        return self.work <= _QUICK


def price_of(request: TraceRequest, compare: int = 0) -> Price:
    """Return what a picture costs.

    Args:
        request: the example and the settings of sleep.
        compare: the N it is compared with; 0: with none.

    Raises:
        InvalidInputError: for a window of no token, or a context that the task cannot have.
    """
    require_count("window_len", request.window_len)
    config, seq_len = _model(request.model), _seq_len(request.accuracy.at(1))
    n_windows, longest = -(-seq_len // request.window_len) + 1, min(request.window_len, seq_len)
    n_fast, n_looking = len(config.fast_layers), config.layer_kinds.count("attn")
    state = n_fast * config.n_heads * config.key_channels * config.value_channels  # H K V of each layer
    look = n_looking * config.n_heads * longest * (longest + 1)  # H L L, and what a query gives to earlier windows
    both = [n_passes for n_passes in (request.n_passes, compare) if n_passes]
    n_numbers = n_windows * sum((n_passes + 1) * state + n_passes * look for n_passes in both)
    figure = config.n_heads * max(longest**2 if n_looking else 0, config.key_channels * config.value_channels)
    return Price(seq_len * sum(both) * len(config.layer_kinds), n_numbers * _BYTES, figure * _BYTES)


def grant(request: TraceRequest, compare: int = 0) -> Price:
    """Return what a picture costs, if this process grants it.

    Raises:
        InvalidInputError: for what is beyond its limits, or impossible.
    """
    for n_passes in (request.n_passes, compare):
        limits.require_passes(n_passes)
    limits.require_input_len(request.text)
    price = price_of(request, compare)
    limits.require_work(price.work)
    limits.require_memory(price.trace_bytes, price.figure_bytes)
    return price


def grant_measuring(request: AccuracyRequest, n_examples: int) -> None:
    """Refuse to measure an accuracy that costs more than this process grants.

    Raises:
        InvalidInputError: if it does.
    """
    limits.require_passes(request.n_passes)
    n_layers = len(_model(request.model).layer_kinds)
    limits.require_measured_work(n_examples * _seq_len(request.at(1)) * request.n_passes * n_layers)


@functools.lru_cache(maxsize=256)
def _model(name: str) -> ModelConfig:
    return zoo.load_card(name).settings.model


@functools.lru_cache(maxsize=256)
def _seq_len(request: AccuracyRequest) -> int:
    return task_of(zoo.load_card(request.model), request, None).seq_len
