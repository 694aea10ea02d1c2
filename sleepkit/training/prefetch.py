"""The next batch is made while the current one is used."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Made = TypeVar("_Made")
THREAD_NAME = "sleepkit-prefetch"


@contextlib.contextmanager
def prefetched(make: Callable[[int], _Made], numbers: Iterable[int]) -> Iterator[Iterator[_Made]]:
    """Give ``make(number)`` for each number in order, always making the next one in a thread of its own.

    An error of ``make`` is raised where its result would have been given. The thread ends with the ``with`` block.

    Args:
        make: a pure function; it runs in another thread, one call at a time.
        numbers: what to call it with.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=THREAD_NAME) as thread:
        try:
            yield _one_ahead(thread, make, iter(numbers))
        finally:
            thread.shutdown(wait=False, cancel_futures=True)  # leaving the executor waits for the call that runs already


def _one_ahead(thread: ThreadPoolExecutor, make: Callable[[int], _Made], numbers: Iterator[int]) -> Iterator[_Made]:
    waiting = [thread.submit(make, number) for number in itertools.islice(numbers, 1)]
    while waiting:
        made = waiting.pop().result()
        waiting += [thread.submit(make, number) for number in itertools.islice(numbers, 1)]
        yield made
