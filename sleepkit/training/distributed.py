"""Several processes train one model: each has a part of every batch, and all make the same step.

Started by torchrun, which tells each process its rank and how many there are. Every process keeps the whole model and optimiser,
makes the gradient of its part's share of the loss, and the sum over all processes is the gradient of the whole batch:

    loss = sum_r (n_r / n) loss_r,   n_r asked targets in the part of rank r, n in the whole batch

torch's DistributedDataParallel is not used: its hooks hang on one call of ``forward`` for each backward, and a rollout calls the
model's parts many times over its windows and passes, each time with the same weights. Gradients are summed once instead, after
the backward, in buckets: exact for any rollout, in the same order every time.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, distributed, nn

from sleepkit.errors import SleepkitError, one_line, require
from sleepkit.tasks import NOTHING_ASKED, Batch
from sleepkit.training.settings import TrainSettings

_BUCKET_LEN = 1 << 22  # numbers summed at a time
_TIMEOUT = datetime.timedelta(minutes=30)  # the others wait while process 0 validates


class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        device: where this one computes.
    """

    def __init__(self, rank: int, size: int, device: str) -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """Return this process's rows of a whole batch: a run of equal length for each rank, in order."""
        n_rows = batch.size // self.size
        return batch.rows(self.rank * n_rows, (self.rank + 1) * n_rows)

    def weighted(self, loss: Tensor, part: Batch) -> Tensor:
        """Return the loss of this process's part times the part's share of all asked targets."""
        if self.size == 1:
            return loss
        n_asked = (part.targets != NOTHING_ASKED).sum().to(loss.dtype)
        return loss * (n_asked / self.sum(n_asked))

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes; the value itself where there is but one."""
        if self.size == 1:
            return value
        total = value.clone()
        self._all_reduce(total)
        return total

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.size == 1:
            return
        waiting: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is not None:
                waiting.append(parameter.grad)
            if sum(gradient.numel() for gradient in waiting) >= _BUCKET_LEN:
                self._sum_in_place(waiting)
                waiting = []
        if waiting:
            self._sum_in_place(waiting)

    def any(self, here: bool) -> bool:
        """Return whether it is so in any process."""
        if self.size == 1:
            return here
        flag = torch.tensor(float(here), device=self.device)
        self._all_reduce(flag)
        return bool(flag.item() > 0)

    def first(self, work: Callable[[], None]) -> None:
        """Let process 0 work while the others wait; if it fails, all of them do.

        Raises:
            SleepkitError: in the others.
        """
        error = None
        if self.is_first:
            try:
                work()
            except Exception as raised:  # noqa: BLE001 - told to the others, then raised here
                error = raised
        if self.any(error is not None):
            raise error or SleepkitError(f"process {self.rank}: stops, because process 0 failed; see there")

    def _sum_in_place(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _all_reduce(self, tensor: Tensor) -> None:
        try:
            distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise SleepkitError(
                f"processes: must all stay, process {self.rank} has lost another, got {one_line(error)}"
            ) from None


@contextlib.contextmanager
def processes(settings: TrainSettings) -> Iterator[Processes]:
    """Join the processes that torchrun started; where it started none, this one is alone.

    On the way out the connections are closed, so that no other process waits for one that failed.

    Raises:
        InvalidInputError: if the batch cannot be parted equally, or there is no card for each process of this machine, or steps
            are to be CUDA graphs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes(0, 1, settings.device)
        return
    rank, local_rank, device = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), settings.device
    require(settings.batch_size % size == 0, "batch_size", f"must divide by the {size} processes", settings.batch_size)
    require(not settings.cuda_graphs, "cuda_graphs", "must be false with several processes", True)
    require(device in ("cpu", "cuda"), "device", "must be 'cpu' or 'cuda' with several processes", device)
    if device == "cuda":
        n_cards = torch.cuda.device_count()
        require(local_rank < n_cards, "device", f"must have a card for each process, and there are {n_cards}", local_rank + 1)
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if settings.device == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(rank, size, device)
    finally:
        distributed.destroy_process_group()
