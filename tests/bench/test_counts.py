"""FLOPs and bytes from shapes, against counts by hand and by what is run."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sleepkit import tasks
from sleepkit.bench.contest import Contender, results
from sleepkit.bench.counts import ConvShape, DeltaShape, conv_counts, delta_chunked_flops, delta_counts, step_flops
from sleepkit.bench.operations import OpsSettings, delta_problem
from sleepkit.errors import InvalidInputError
from sleepkit.kernels import chunked
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.passes import PLAIN
from sleepkit.model.sizes import flops_per_token
from sleepkit.sleep import SleepConfig, rollout, schedule


class Products(TorchDispatchMode):
    """Counts the FLOPs of batched products, in place or not (torch's own counter leaves those out), and of triangular solves."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("bmm", "baddbmm", "baddbmm_"):
            left, right = args[-2:]
            self.flops += 2 * left.shape[0] * left.shape[1] * left.shape[2] * right.shape[2]
        elif name == "linalg_solve_triangular":
            _, right = args[:2]
            self.flops += right.shape[0] * right.shape[1] ** 2 * right.shape[2]
        return func(*args, **(kwargs or {}))


class Linears(TorchDispatchMode):
    """Counts the FLOPs of products of two matrices. Torch's own counter hooks every module, and hooked modules are all run."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("mm", "addmm"):
            left, right = args[-2:]
            self.flops += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return func(*args, **(kwargs or {}))


def test_the_gated_delta_rule_needs_three_products_a_token_forward_and_six_backward() -> None:
    shape, flops = DeltaShape(2, 3, 5, 7, 11), 0
    for _ in range(shape.batch * shape.heads * shape.tokens):
        for _ in ("S^T k", "k u^T", "S^T q"):
            flops += 2 * shape.keys * shape.values
    forward, backward = delta_counts(shape)
    assert (forward.flops, backward.flops) == (flops, 2 * flops)


def test_bytes_at_least_are_those_of_inputs_outputs_and_gradients() -> None:
    shape = DeltaShape(2, 3, 5, 7, 11)
    problem = delta_problem(shape, OpsSettings())
    found = results(problem, Contender(problem.exact))
    outputs, gradients = found[:2], found[2:]

    def size(tensors: Any) -> int:
        return sum(tensor.nbytes for tensor in tensors)

    forward, backward = delta_counts(shape)
    assert forward.n_bytes == size(problem.inputs) + size(outputs)
    assert backward.n_bytes == size(problem.inputs) + size(problem.upstream) + size(gradients)
    both = forward.with_backward(backward)
    assert both == (forward.flops + backward.flops, forward.n_bytes + backward.n_bytes)


@pytest.mark.parametrize("tokens", [5, 64, 70, 128])
def test_the_chunked_form_makes_the_products_and_solves_that_are_run(tokens: int) -> None:
    shape = DeltaShape(1, 2, tokens, 6, 4)
    inputs = [tensor.requires_grad_() for tensor in delta_problem(shape, OpsSettings()).inputs]
    with Products() as forward:
        out, state = chunked.gated_delta_rule(*inputs, scale=1.0)
    with Products() as backward:
        torch.autograd.grad([out, state], inputs, [torch.ones_like(out), torch.ones_like(state)])
    assert delta_chunked_flops(shape) == (forward.flops, backward.flops)


def test_the_short_convolution_moves_its_tensors_once() -> None:
    shape = ConvShape(2, 5, 3, 4)
    x, taps = 4 * 2 * 5 * 3, 4 * 3 * 4
    multiply_adds = sum(1 for _ in range(2 * 5 * 3) for _ in range(4))
    forward, backward = conv_counts(shape)
    assert forward == (2 * multiply_adds, x + taps + x)
    assert backward == (4 * multiply_adds, x + taps + x + x + taps)


def step(layers: str, *, n_passes: int, mlp: Any = "relu2", key_dim: int | None = None) -> tuple[int, int, ModelConfig]:
    """Return the FLOPs of one step by shapes and, forward, those of the linear layers as they are run."""
    config = ModelConfig(vocab_size=3, width=8, n_heads=2, layers=layers, mlp=mlp, key_dim=key_dim)
    task = tasks.create("rule110", width=6, n_strings=2, rollout_depth=1)
    batch, sleep = task.batch("train", 0, 3), SleepConfig(n_passes=n_passes, window_len=6)
    windows = schedule(batch, 6)
    model = HybridLM(config)
    model._functions = PLAIN
    with Linears() as counter, torch.no_grad():
        rollout(model, batch, sleep, windows=windows)
    linear = counter.flops
    asked = sum(window.stop - window.start for window in windows if not window.asleep)
    head = 2 * batch.size * asked * config.width * config.vocab_size
    return step_flops(config, windows, n_passes=n_passes, batch_size=batch.size), linear - head, config


@pytest.mark.parametrize("mlp", ["relu2", "swiglu"])
@pytest.mark.parametrize("layers", ["attn gdn", "attn gdn attn gdn", "gdn attn", "attn"])
@pytest.mark.parametrize("n_passes", [1, 3])
def test_a_step_counts_the_layers_that_are_really_run(layers: str, mlp: str, n_passes: int) -> None:
    counted, linear, config = step(layers, n_passes=n_passes, mlp=mlp, key_dim=3)
    keys, values = config.n_heads * config.key_channels, config.n_heads * config.value_channels
    recurrence = 2 * config.conv_len * (2 * keys + values) + 6 * config.n_heads * config.key_channels * config.value_channels
    kinds, rest = config.layer_kinds, 0
    sleeps = "gdn" in kinds  # else a window that is slept on changes nothing, and nothing is run
    for window_len, asleep in ((6, True), (6, True), (2, False)):
        last_writer = max((number for number, kind in enumerate(kinds) if kind == "gdn"), default=-1)
        whole = 1 if not asleep else (n_passes - 1) * sleeps
        for number, kind in enumerate(kinds):
            runs = whole + (1 if asleep and number <= last_writer else 0)
            rest += runs * window_len * (2 * config.width * (window_len + 1) if kind == "attn" else recurrence)
    assert counted == 3 * (linear + 3 * rest)


def test_one_more_pass_costs_one_whole_pass_over_every_window_slept_on() -> None:
    (one, _, config), (two, _, _) = step("attn gdn", n_passes=1), step("attn gdn", n_passes=2)
    assert two - one == 3 * 3 * 2 * 6 * flops_per_token(config, window_len=6)


def test_a_loop_over_some_layers_is_refused() -> None:
    config = ModelConfig(vocab_size=3, width=8, n_heads=2, layers="attn gdn", loop=(0, 1))
    with pytest.raises(InvalidInputError, match="loop: must be 'all'"):
        step_flops(config, [], n_passes=1, batch_size=1)
