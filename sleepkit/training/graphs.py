"""Training steps as CUDA graphs: the host launches one graph instead of thousands of kernels.

A graph holds the kernels of one whole step (rollout, backward, clipping, update) with the addresses of all that they read, so
there is one for each N and schedule of windows. The first step of a kind runs as it is, and is a step like any other; the second
is captured and launched, later ones are launched.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sleepkit.sleep import RolloutResult, Window
from sleepkit.tasks import Batch


class Outcome(NamedTuple):
    """What a step leaves for looking at, until the next one."""

    result: RolloutResult
    loss: Tensor
    norm: Tensor


Step = Callable[[Batch, list[Window], int], Outcome]


class Recorder(Protocol):
    """What captures work on a device and launches it again."""

    def plainly(self, work: Callable[[], Outcome]) -> Outcome:
        """Do the work where it can be captured later."""
        ...

    def capture(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Return what does the captured work, and what it leaves; nothing is done yet."""
        ...


class CudaRecorder:
    """CUDA graphs on a stream of their own, in one pool of memory: what a graph leaves lasts until another is launched."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def plainly(self, work: Callable[[], Outcome]) -> Outcome:
        """Do the work on the stream that captures: libraries then hold what they need for it."""
        outside = torch.cuda.current_stream()
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            outcome = work()
        outside.wait_stream(self._stream)
        return outcome

    def capture(self, work: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        """Capture the work as a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            outcome = work()
        return graph.replay, outcome


class _Captured(NamedTuple):
    """A captured step, the batch whose memory it reads, and what it leaves."""

    batch: Batch
    launch: Callable[[], None]
    outcome: Outcome


class GraphedSteps:
    """Steps of every kind, each captured when it comes for the second time."""

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step, self._recorder = step, recorder
        self._captured: dict[object, _Captured | None] = {}

    @property
    def n_graphs(self) -> int:
        """Number of kinds captured so far."""
        return sum(captured is not None for captured in self._captured.values())

    def __call__(self, batch: Batch, windows: list[Window], n_passes: int) -> Outcome:
        """Make a step over a batch."""
        kind = (n_passes, tuple(windows), batch.tokens.shape)
        if kind not in self._captured:
            self._captured[kind] = None
            return self._recorder.plainly(lambda: self._step(batch, windows, n_passes))
        captured = self._captured[kind]
        if captured is None:
            own = batch.map(torch.clone)
            captured = _Captured(own, *self._recorder.capture(lambda: self._step(own, windows, n_passes)))
            self._captured[kind] = captured
        captured.batch.copy(batch)
        captured.launch()
        return captured.outcome
