"""Backends of torch.compile for tests, and what a compiled operation must be."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

from tests.support.compare import assert_same_bits


class Counting:
    """A backend that runs forward and backward graphs as they are, and counts the graphs it is given."""

    def __init__(self) -> None:
        self.n_graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Any:
        self.n_graphs += 1
        return aot_autograd(fw_compiler=lambda inner, _: inner.forward)(graph, example_inputs)


def assert_compiles_whole(call: Callable[..., tuple[Tensor, Tensor]], leaves: Sequence[Tensor]) -> None:
    """Refuse a call (output and state of some leaves) that breaks the graph, or gives other bits than uncompiled."""
    results: list[Any] = []
    for function in (torch.compile(call, fullgraph=True, backend="aot_eager"), call):
        out, state = function(*leaves)
        results.append((out, state, *torch.autograd.grad(out.sum() + state.square().sum(), list(leaves))))
    for one, other in zip(*results, strict=True):
        assert_same_bits(one, other)
