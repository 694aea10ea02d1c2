"""Requests to end: SIGTERM and SIGHUP end the work as Ctrl-C does, with a checkpoint, and the process with status 128 + number.

A request that comes at a moment from which the work could not go on is kept until that moment is over (``deferring``).
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_OURS = {signal.SIG_DFL, signal.default_int_handler}


class EndRequest(KeyboardInterrupt, SystemExit):
    """Somebody asked this process to end: caught where Ctrl-C is, and otherwise the end, quiet, with the shell's status.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number, self.code = number, 128 + number


class _Requests:
    """What this process was asked, and by whom it may be kept."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.kept_while: Callable[[], bool] = lambda: False

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """End the work now, or later if this is no moment for it; Ctrl-C pressed again waits for nothing."""
        if self.asked is None:
            self.asked = number
            if not self.kept_while():
                end(number)
        elif number == signal.SIGINT:
            end(number)


_requests = _Requests()


def end(number: int) -> NoReturn:
    """Raise what ends the work.

    Raises:
        KeyboardInterrupt: for SIGINT.
        EndRequest: for any other.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise EndRequest(number)


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Have requests to end raise KeyboardInterrupt (``EndRequest``) meanwhile, in the main thread.

    Signals that somebody handles otherwise, or ignores as ``nohup`` does, are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    taken = [number for number, handler in before.items() if handler in _OURS]
    if taken:
        _requests.asked = None
    for number in taken:
        signal.signal(number, _requests.receive)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextlib.contextmanager
def deferring(busy: Callable[[], bool]) -> Iterator[Callable[[], int | None]]:
    """Keep requests to end while ``busy()`` holds; yield the question which signal has asked, None if none has.

    Args:
        busy: asked in the handler of the signal, between two steps of the interpreter.
    """
    before, _requests.kept_while = _requests.kept_while, busy
    try:
        yield lambda: _requests.asked
    finally:
        _requests.kept_while = before


def end_with(handle: int) -> None:
    """End this process, as SIGTERM does, once nobody holds the other end of a pipe any more.

    However whoever held it dies, the system closes its end: so a worker outlives its parent by moments.

    Args:
        handle: the end of the pipe that is read; nothing more may come through it.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(handle, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="sleepkit-parent", daemon=True).start()
