"""``python -m sleepkit`` and the command ``sleepkit``: the command line, as a program of its own."""

import io
import os
import sys


def run() -> int:
    """Run the command line on the arguments of this process; an interrupt is quiet from the first moment on."""
    try:
        _open_standard_streams()
        from sleepkit.cli import main

        return main()
    except KeyboardInterrupt as interrupt:
        return int(getattr(interrupt, "code", 130))


def _open_standard_streams() -> None:
    """Give closed streams (``>&-``) the null device: else the first file opened would be taken for one of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of few characters shows the others as escapes


if __name__ == "__main__":
    sys.exit(run())
