"""Gradients of the loss of a rollout, and how far one is from another."""

from typing import Any

import torch
from torch import Tensor

from sleepkit.model import HybridLM
from sleepkit.sleep import SleepConfig, rollout
from sleepkit.tasks import Batch
from tests.support.compare import assert_same_bits


def loss_and_gradients(model: HybridLM, batch: Batch, sleep: SleepConfig, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a rollout and d loss / d each parameter (zeros where there is none)."""
    loss = rollout(model, batch, sleep, **options).loss
    names, parameters = zip(*model.named_parameters(), strict=True)
    return loss.detach(), dict(zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True))


def assert_same_gradients(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse gradients that differ in any bit."""
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert_same_bits(gradient, expected[name], what=f"gradient of {name}")


def error_and_cosine(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[float, float]:
    """Return |actual - expected| / |expected| and the cosine between them, over all parameters at once."""
    one, other = (torch.cat([g.flatten() for g in gradients.values()]).double() for gradients in (actual, expected))
    return ((one - other).norm() / other.norm()).item(), (one @ other / (one.norm() * other.norm())).item()
