"""Backends of torch.compile for tests."""

from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd


class Counting:
    """A backend that runs forward and backward graphs as they are, and counts the graphs it is given."""

    def __init__(self) -> None:
        self.n_graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Any:
        self.n_graphs += 1
        return aot_autograd(fw_compiler=lambda inner, _: inner.forward)(graph, example_inputs)
