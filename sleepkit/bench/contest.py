"""Implementations of one operation against each other: first they must agree with fp64, then they are timed in turns."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sleepkit.bench import measure
from sleepkit.bench.ceilings import Ceilings
from sleepkit.bench.counts import Counts
from sleepkit.bench.measure import Figures
from sleepkit.errors import refuse

Operation = Callable[..., Sequence[Tensor]]
FORWARD, BOTH = "forward", "forward_backward"


def as_given(x: Tensor) -> Tensor:
    """Leave a tensor as it lies."""
    return x


@dataclasses.dataclass(frozen=True)
class Contender:
    """One implementation.

    Attributes:
        run: inputs -> outputs, differentiable.
        ours: False for a peer; ratios are peer : ours.
        layout: how it wants tensors to lie; applied twice, it gives them back.
    """

    run: Operation
    ours: bool = True
    layout: Callable[[Tensor], Tensor] = as_given


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is computed, and how exactly.

    Attributes:
        inputs: fp32; gradients are taken with respect to all of them.
        upstream: the gradients coming in, one for each output.
        exact: an implementation that is trusted; it is run in fp64.
        tolerance: largest relative difference from it (of maxima, tensor by tensor) that rounding in fp32 explains.
        forward: what forward needs.
        backward: what backward needs.
    """

    inputs: tuple[Tensor, ...]
    upstream: tuple[Tensor, ...]
    exact: Operation
    tolerance: float
    forward: Counts
    backward: Counts


class Turns(NamedTuple):
    """How contenders take turns; see ``measure.interleave``."""

    rounds: int
    slot_s: float = 0.1
    device: str = "cpu"
    progress: bool = False


def contest(
    problem: Problem,
    contenders: dict[str, Contender | str],
    ceilings: Ceilings,
    turns: Turns,
) -> Figures:
    """Check every contender against fp64, then time forward alone and forward with backward, in turns.

    Args:
        problem: what is computed.
        contenders: implementations by name, or the reason why one is not there. One that fails or computes something else is
            reported with the reason and never timed.
        ceilings: of this machine.
        turns: how they take turns.

    Returns:
        ``ratios`` (peer : ours by direction, above 1 means ours is faster), ``agreement`` (largest relative difference by
        contender, or why it was not timed), and by direction the counts and, by contender, times and rates.
    """
    expected = results(problem, Contender(problem.exact), dtype=torch.float64)
    agreement: Figures = {}
    admitted: dict[str, Contender] = {}
    for name, contender in contenders.items():
        if isinstance(contender, str):
            agreement[name] = measure.unavailable(contender)
            continue
        agreement[name] = measure.attempt(lambda one=contender: _admit(problem, one, expected))  # type: ignore[misc]
        if "unavailable" not in agreement[name]:
            admitted[name] = contender
    report: Figures = {"ratios": {}, "agreement": agreement}
    if not admitted:
        return report
    for direction, counts in ((BOTH, problem.forward.with_backward(problem.backward)), (FORWARD, problem.forward)):
        calls = {name: _call(problem, contender, direction) for name, contender in admitted.items()}
        seconds = measure.interleave(calls, **turns._asdict())
        report["ratios"][direction] = _ratios(admitted, seconds)
        report[direction] = {"flops_needed": counts.flops, "bytes_at_least": counts.n_bytes} | {
            name: {"ms": measure.spread(took, factor=1e3), **_rates(ceilings, took, counts)} for name, took in seconds.items()
        }
    return report


def results(problem: Problem, contender: Contender, *, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Run a contender forward and backward and return its outputs and gradients, in the common layout."""
    inputs = [contender.layout(tensor.to(dtype)).detach().requires_grad_() for tensor in problem.inputs]
    upstream = [contender.layout(tensor.to(dtype)) for tensor in problem.upstream]
    outputs = list(contender.run(*inputs))
    gradients = torch.autograd.grad(outputs, inputs, upstream)
    return [contender.layout(tensor.detach()) for tensor in (*outputs, *gradients)]


def largest_difference(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest relative difference of maxima by tensor; infinite where shapes differ or values are not finite."""
    if [tensor.shape for tensor in got] != [tensor.shape for tensor in expected]:
        return float("inf")
    differences = [
        float((a.double() - b.double()).abs().max() / b.double().abs().max()) for a, b in zip(got, expected, strict=True)
    ]
    return max(difference if difference == difference else float("inf") for difference in differences)


def _admit(problem: Problem, contender: Contender, expected: Sequence[Tensor]) -> Figures:
    difference = largest_difference(results(problem, contender), expected)
    if difference > problem.tolerance:
        refuse("implementation", f"must agree with fp64 within {problem.tolerance:.1e}", difference)
    return {"largest_relative_difference": measure.digits(difference), "allowed": measure.digits(problem.tolerance)}


def _call(problem: Problem, contender: Contender, direction: str) -> Callable[[], object]:
    inputs = [contender.layout(tensor).detach().requires_grad_() for tensor in problem.inputs]
    upstream = [contender.layout(tensor) for tensor in problem.upstream]

    def both() -> object:
        return torch.autograd.grad(list(contender.run(*inputs)), inputs, upstream)

    def forward() -> object:
        with torch.no_grad():
            return contender.run(*inputs)

    return both if direction == BOTH else forward


def _ratios(contenders: dict[str, Contender], seconds: dict[str, list[float]]) -> Figures:
    peers = [name for name, contender in contenders.items() if not contender.ours]
    return {
        f"{peer} : {name}": measure.spread(measure.ratios(seconds[peer], seconds[name]))
        for peer in peers
        for name, contender in contenders.items()
        if contender.ours
    }


def _rates(ceilings: Ceilings, seconds: Sequence[float], counts: Counts) -> Figures:
    return ceilings.rates(sorted(seconds)[len(seconds) // 2], flops=counts.flops, n_bytes=counts.n_bytes)
