"""The cells of a sweep on a ``dask.distributed`` cluster whose workers see the sweep's folder.

Cells travel as JSON text to one function of this package; results stay in the folder. No pickle is ever read from a file; what
dask itself sends over its own connections is pickled in part, so a cluster must be one that its user trusts.
"""

import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from sleepkit.errors import SleepkitError, refuse
from sleepkit.experiments.work import Cell, do_cell, leave_error, to_text

_CONNECT_S = 30


def run_on_cluster(cells: Sequence[Cell], root: Path, *, address: str) -> Generator[tuple[int, str], None, None]:
    """Do cells; give the number of each with "" or its error, in the order in which they end.

    A cell whose worker died goes to another, as often as the scheduler's setting ``allowed-failures`` says.

    Raises:
        InvalidInputError: if there is no scheduler at the address, or it has no worker.
        SleepkitError: if the package distributed is not installed.
        KeyboardInterrupt: after running cells were told to write their checkpoints; they do so on their own.
    """
    if not cells:
        return
    distributed = _distributed()
    note = f".stop-{uuid.uuid4().hex}"
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        refuse("scheduler", f"must be the address of a running scheduler ({type(error).__name__})", address)
    root.mkdir(parents=True, exist_ok=True)
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            refuse("scheduler", f"must have a worker within {_CONNECT_S} s", address)
        futures = {
            client.submit(do_cell, to_text(cell), str(root.resolve()), note, key=f"{cell.place(root).name}-{note}", pure=False): n
            for n, cell in enumerate(cells)
        }
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                number = futures[future]
                yield number, _outcome(future, cells[number].place(root))
        except BaseException:
            (root / note).touch()
            client.cancel(list(futures))
            raise


def _outcome(future: Any, place: Path) -> str:
    error = future.exception()
    if error is None:
        return str(future.result())
    summary = f"{type(error).__name__}: {error}"
    return leave_error(place, summary, summary)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise SleepkitError(f"scheduler: needs the package distributed (pip install 'sleepkit[cluster]'), got {error}") from None
    return distributed
