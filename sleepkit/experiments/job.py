"""One cell in a process of its own: ``python -m sleepkit.experiments.job``, started by ``experiments.local``.

The cell comes as one line of JSON on standard input; progress and the outcome go out as lines of JSON.
"""

import json
import signal
import sys
from typing import Any

from sleepkit.experiments.work import Hooks, do_cell


def main() -> int:
    """Do the cell; return 0 if it is finished or has failed with a report, 130 if it was stopped with a checkpoint."""
    signal.signal(signal.SIGTERM, _interrupt)
    order = json.loads(sys.stdin.readline())
    try:
        error = do_cell(order["cell"], order["root"], hooks=Hooks(on_row=lambda *row: _say(row=row)))
        _say(error=error)
    except KeyboardInterrupt:
        return 130
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    """Stop as Ctrl-C does, once: the checkpoint that is then written is left in peace."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(**what: Any) -> None:
    try:
        print(json.dumps(what), flush=True)
    except BrokenPipeError:  # nobody is there any more
        raise KeyboardInterrupt from None


if __name__ == "__main__":
    sys.exit(main())
