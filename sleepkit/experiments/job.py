"""One cell in a process of its own: ``python -m sleepkit.experiments.job``, started by ``experiments.local``.

The cell comes as one line of JSON on standard input; progress and the outcome go out as lines of JSON. Whoever started it keeps
the input open: once that ends, the process does too, with a checkpoint.
"""

import json
import sys
from typing import Any

from sleepkit import signals
from sleepkit.experiments.work import Hooks, do_cell

_INPUT = 0


def main() -> int:
    """Do the cell; return 0 if it is finished or has failed with a report, 130 if it was stopped with a checkpoint."""
    try:
        with signals.ending():
            line = _first_line()
            if not line.endswith(b"\n"):  # whoever started us is gone
                return 130
            signals.end_with(_INPUT)
            order = json.loads(line)
            error = do_cell(order["cell"], order["root"], hooks=Hooks(on_row=lambda *row: _say(row=row)))
            _say(error=error)
    except KeyboardInterrupt:
        return 130
    return 0


def _first_line() -> bytes:
    """Read the cell past every buffer: the watch over the input must find all that comes after."""
    with open(_INPUT, "rb", buffering=0, closefd=False) as unbuffered:
        return unbuffered.readline()


def _say(**what: Any) -> None:
    try:
        print(json.dumps(what), flush=True)
    except BrokenPipeError:  # nobody is there any more
        raise KeyboardInterrupt from None


if __name__ == "__main__":
    sys.exit(main())
