"""What fp32 costs: never much more than token by token, gradients included, where keys repeat, decays are strong and beta near 2.

The budget of a tensor is the error of the token-by-token form in fp32, or a rounding of its own size, whichever is more.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.kernels import build
from tests.support.budget import ROUNDING
from tests.support.compare import rms_error
from tests.support.gated_delta import NAMES, Inputs

Operation = Callable[..., ops.GatedDeltaOutput]
needs_compiler = pytest.mark.skipif(build.why_unavailable() is not None, reason=str(build.why_unavailable()))
FAST: list[Any] = [
    pytest.param(ops.gated_delta_rule, "chunked", id="delta-chunked"),
    pytest.param(ops.gated_delta_rule, "native", id="delta-native", marks=needs_compiler),
    pytest.param(ops.gated_hebbian, "chunked", id="hebbian-chunked"),
]
KEYS, DECAYS, BETAS = ("apart", "near", "equal"), ("none", "strong", "mixed", "few"), (1.0, 2.0, "near 2")
# Each is a sum over all later tokens and all earlier ones; token by token it is one over the channels of a state.
WIDER = {"log_decay": 6.0, "beta": 6.0}


def drawn(seq_len: int, keys: str, decay: str, beta: float | str) -> Inputs:
    """Draw fp32 inputs: equal or nearly equal keys, decays of every strength, write strengths up to 2."""
    generator = torch.Generator().manual_seed(seq_len)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    batch, heads, channels = 3, 2, 32
    spread = {"apart": 1.0, "near": 1e-3, "equal": 0.0}[keys]
    k = spread * normal(batch, seq_len, heads, channels) + (keys != "apart") * normal(batch, 1, heads, channels)
    by_decay = {
        "none": torch.zeros(batch, seq_len, heads),
        "strong": -30 * (0.5 + uniform(batch, seq_len, heads)),
        "mixed": -(4 * normal(batch, seq_len, heads) - 2).exp(),
        "few": torch.where(uniform(batch, seq_len, heads) < 0.1, -30.0, -0.01 * uniform(batch, seq_len, heads)),
    }
    strength = uniform(batch, seq_len, heads)
    inputs = Inputs(
        q=torch.nn.functional.normalize(normal(batch, seq_len, heads, channels), dim=-1),
        k=torch.nn.functional.normalize(k, dim=-1),
        v=normal(batch, seq_len, heads, channels),
        log_decay=by_decay[decay],
        beta=beta * strength if isinstance(beta, float) else 2 - 0.01 * strength,
        state=normal(batch, heads, channels, channels),
    )
    return inputs.to(torch.float32)


def results(operation: Operation, inputs: Inputs, impl: str) -> dict[str, Tensor]:
    """Return out, state and all gradients of a fixed projection of both."""
    leaves, generator = inputs.requiring_grad(), torch.Generator().manual_seed(1)
    made = operation(*leaves, impl=impl)
    pulls = [torch.randn(part.shape, generator=generator).to(part.dtype) for part in made]
    return dict(zip(("out", "state", *NAMES), (*made, *torch.autograd.grad(list(made), leaves, pulls)), strict=True))


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("seq_len", [24, 90])
@pytest.mark.parametrize(("operation", "impl"), FAST)
def test_fp32_costs_at_most_twice_what_it_costs_token_by_token(operation: Operation, impl: str, seq_len: int, keys: str) -> None:
    for decay, beta in itertools.product(DECAYS, BETAS):
        inputs = drawn(seq_len, keys, decay, beta)
        exact = results(operation, inputs.to(torch.float64), "reference")
        plain, fast = (results(operation, inputs, how) for how in ("reference", impl))
        for name, truth in exact.items():
            budget = max(rms_error(plain[name], truth), ROUNDING * truth.square().mean().sqrt().item())
            error = rms_error(fast[name], truth) / budget
            assert error <= WIDER.get(name, 2.0), f"{name}, {keys} keys, {decay} decay, beta {beta}: {error:.2f} times the budget"
