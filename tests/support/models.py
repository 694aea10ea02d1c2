"""Small models in fp64 whose every parameter is random, so that no norm weight of 1 hides a mistake."""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sleepkit.model import HybridLM, ModelConfig, ModelState
from tests.support.compare import assert_close, assert_same_bits

LOOPS = ("all", (1, 3), (0, 2), (2, 4), (1, 2))


def small_config(**changes: Any) -> ModelConfig:
    """Return the configuration of a model that runs in milliseconds."""
    return ModelConfig(**{"vocab_size": 7, "width": 8, "n_heads": 2, "layers": "attn gdn attn gdn", "mlp_ratio": 2.0, **changes})


@functools.cache
def _made(config: ModelConfig, seed: int, dtype: torch.dtype) -> HybridLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HybridLM(config).to(dtype)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name or "taps.up.weight" in name or name == "injection":
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def small_model(*, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> HybridLM:
    """Return a shared small model; nobody may change it."""
    return _made(small_config(**changes), seed, dtype)


def fresh_model(*, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> HybridLM:
    """Return a small model of one's own."""
    return _made.__wrapped__(small_config(**changes), seed, dtype)


def random_tokens(batch: int, seq_len: int, *, vocab_size: int = 7, seed: int = 0) -> Tensor:
    """Draw token ids [B, T]."""
    return torch.randint(0, vocab_size, (batch, seq_len), generator=torch.Generator().manual_seed(seed))


def random_state(model: HybridLM, batch: int, *, seed: int = 0) -> ModelState:
    """Draw fast weights of a model in the middle of its life."""
    generator = torch.Generator().manual_seed(seed)
    empty = model.initial_state(batch)
    return empty.map(lambda layer: torch.randn(layer.shape, generator=generator, dtype=layer.dtype))


def layers_of(state: ModelState) -> list[Tensor]:
    """List the fast weights of the layers that have some."""
    return [layer for layer in state.fast_weights if layer is not None]


def seen_in(state: ModelState) -> list[Tensor]:
    """List the keys and values that the layers with attention carry over from earlier windows."""
    return [] if state.sight is None else [tensor for layer in state.sight.carried if layer is not None for tensor in layer]


def assert_states_close(actual: ModelState, expected: ModelState, *, tolerance: float = 1e-10) -> None:
    """Refuse a state that differs from the expected one in any layer, or in what is seen where the expected one says so."""
    for what, one, other in _pairs(actual, expected):
        assert_close(one, other, tolerance=tolerance, what=what)
    if expected.sight is not None:
        for one, other in zip(seen_in(actual), seen_in(expected), strict=True):
            assert_close(one, other, tolerance=tolerance, what="keys or values")


def assert_same_state(actual: ModelState, expected: ModelState) -> None:
    """Refuse a state that differs from the expected one in any bit."""
    for what, one, other in _pairs(actual, expected):
        assert_same_bits(one, other, what=what)
    assert (actual.sight is None) == (expected.sight is None)
    for one, other in zip(seen_in(actual), seen_in(expected), strict=True):
        assert_same_bits(one, other, what="keys or values")


def _pairs(actual: ModelState, expected: ModelState) -> Iterator[tuple[str, Tensor, Tensor]]:
    fast_weights = ("state", actual.fast_weights, expected.fast_weights)
    for part, mine, theirs in (fast_weights, ("tail", actual.conv_tails, expected.conv_tails)):
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert (one is None) == (other is None), f"{part} of layer {number}"
            if one is not None and other is not None:
                yield f"{part} of layer {number}", one, other
