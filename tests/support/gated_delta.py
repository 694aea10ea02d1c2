"""Inputs and wrong variants for the writes of fast weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sleepkit import ops

NAMES = ("q", "k", "v", "log_decay", "beta", "state")


class Inputs(NamedTuple):
    """The six inputs, in the order of the operation."""

    q: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor
    beta: Tensor
    state: Tensor

    def to(self, dtype: torch.dtype) -> "Inputs":
        return Inputs(*(tensor.to(dtype) for tensor in self))

    def tokens(self, start: int, stop: int) -> "Inputs":
        return Inputs(*(tensor[:, start:stop] for tensor in self[:5]), self.state)

    def requiring_grad(self) -> "Inputs":
        return Inputs(*(tensor.detach().clone().requires_grad_() for tensor in self))


def make_inputs(
    seq_len: int,
    *,
    batch: int = 2,
    key_heads: int = 2,
    heads: int = 2,
    key_dim: int = 5,
    value_dim: int = 7,
    largest_beta: float = 1.0,
    repeated_keys: bool = False,
    decay: float = 1.0,
    seed: int = 0,
) -> Inputs:
    """Draw fp64 inputs with unit keys; repeated keys come from three directions, as repeated tokens would."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    keys = normal(batch, seq_len, key_heads, key_dim)
    if repeated_keys:
        which = torch.randint(0, 3, (seq_len,), generator=generator)
        keys = normal(batch, 3, key_heads, key_dim)[:, which] + 1e-3 * keys
    return Inputs(
        q=torch.nn.functional.normalize(normal(batch, seq_len, key_heads, key_dim), dim=-1),
        k=torch.nn.functional.normalize(keys, dim=-1),
        v=normal(batch, seq_len, heads, value_dim),
        log_decay=-decay * uniform(batch, seq_len, heads) ** 2,
        beta=largest_beta * uniform(batch, seq_len, heads),
        state=normal(batch, heads, key_dim, value_dim),
    )


def run_with_gradients(
    inputs: Inputs, *, operation: Callable[..., ops.GatedDeltaOutput] = ops.gated_delta_rule, **options: Any
) -> tuple[ops.GatedDeltaOutput, dict[str, Tensor]]:
    """Run the operation and return its output and d(random projection of out and state) / d(each input)."""
    leaves = inputs.requiring_grad()
    result = operation(*leaves, **options)
    generator = torch.Generator().manual_seed(1)
    pull = sum((part * torch.randn(part.shape, generator=generator, dtype=torch.float64)).sum() for part in result)
    gradients = torch.autograd.grad(pull, leaves)
    return result, dict(zip(NAMES, gradients, strict=True))


def chunk_with_wrong_sign(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """One chunk as (I - A)^-1 where the rule has (I + A)^-1: what a careless derivation gives."""
    q, k, v, log_decay, beta = (tensor.transpose(1, 2) for tensor in (q, k, v, log_decay, beta))
    total = log_decay.cumsum(-1)
    seq_len = total.shape[-1]
    causal = torch.ones(seq_len, seq_len, dtype=torch.bool).tril()
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~causal, float("-inf")).exp()
    gamma, beta = total.exp()[..., None], beta[..., None]
    overlap = (beta * (k @ k.mT) * decay).tril(-1)
    update = torch.linalg.solve_triangular(-overlap, beta * (v - gamma * (k @ state)), upper=False, unitriangular=True)
    out = k.shape[-1] ** -0.5 * (gamma * (q @ state) + (q @ k.mT * decay) @ update)
    state = gamma[:, :, -1:] * state + ((total[..., -1:] - total).exp()[..., None] * k).mT @ update
    return out.transpose(1, 2), state
