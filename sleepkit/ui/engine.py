"""Traces and accuracies from the real model. Importing this module imports torch, which takes seconds: import it in a thread."""

from collections.abc import Callable

import torch
import xarray as xr

from sleepkit import zoo
from sleepkit.analysis import trace_batch
from sleepkit.model import HybridLM
from sleepkit.sleep import SleepConfig
from sleepkit.tasks import Batch, Task, explore
from sleepkit.training import evaluate
from sleepkit.ui.state import AccuracyRequest, TraceRequest
from sleepkit.ui.subject import subject
from sleepkit.zoo import Card

# Small batches: a newer request waits for one of them at most.
BATCH_SIZE = 32

Progress = Callable[[int, int], None]


def trace_of(model: HybridLM, card: Card, request: TraceRequest, on_pass: Progress | None = None) -> xr.DataTree:
    """Trace one held-out example or the user's own.

    Args:
        model: the model.
        card: its card.
        request: the example and the settings of sleep.
        on_pass: called with passes done and passes in all; may raise to cancel.

    Raises:
        InvalidInputError: if the settings or the text are impossible, naming the first that is.
    """
    if request.text:
        task, batch = read(card, request)
        label = "own input"
    else:
        task = task_of(card, request, request.depth)
        batch, label = task.batch("test", request.example, 1), f"test[{request.example}]"
    torch.set_num_threads(1)  # a model this small is fastest on one core, and the others stay free for other sessions
    return trace_batch(model, task, batch, _sleep(request), label=label, on_pass=on_pass)


def accuracy_of(
    model: HybridLM, card: Card, request: AccuracyRequest, *, n_examples: int, on_batch: Progress | None = None
) -> xr.Dataset:
    """Return the accuracy at one N, all depths, on held-out examples.

    Args:
        model: the model.
        card: its card.
        request: N, context length, window length, eviction.
        n_examples: examples to count.
        on_batch: called with batches done and batches in all; may raise to cancel.

    Raises:
        InvalidInputError: if the settings are impossible.
    """
    sleep = _sleep(request)
    torch.set_num_threads(1)
    return evaluate(
        model,
        task_of(card, request, None),
        n_passes=sleep.n_passes,
        n_examples=n_examples,
        window_len=sleep.window_len,
        eviction=sleep.eviction,
        batch_size=BATCH_SIZE,
        on_batch=on_batch,
    )


def read(card: Card, request: TraceRequest) -> tuple[Task, Batch]:
    """Return the user's own example, and the task it is one of.

    Raises:
        InvalidInputError: naming what is wrong with the text.
    """
    own = explore.depth_in_text(card.task)
    task = task_of(card, request, None if own else request.depth)
    return task, explore.read(task, request.text, depth=None if own else request.depth)


def text_of(card: Card, request: TraceRequest) -> tuple[str, str]:
    """Return a held-out example as text that can be edited and read again, and the rule of such texts."""
    task = task_of(card, request, request.depth)
    return explore.write(task, task.batch("test", request.example, 1)), explore.input_help(task)


def load(name: str) -> tuple[HybridLM, Card]:
    """Load a model and its card."""
    return zoo.load(name)


def task_of(card: Card, request: TraceRequest | AccuracyRequest, depth: int | None) -> Task:
    """Return a card's task at the context length asked for, every question at one depth (the card's mixture if None).

    Raises:
        InvalidInputError: if the model does not know the depth or the context length is impossible.
    """
    about, context = subject(request.model), request.context
    options = {} if context == about.context else about.dial.options(context, card.task.config.to_dict())
    return explore.at_depth(card.task, depth, **options)


def _sleep(request: TraceRequest | AccuracyRequest) -> SleepConfig:
    return SleepConfig(n_passes=request.n_passes, window_len=request.window_len, eviction=request.eviction)
