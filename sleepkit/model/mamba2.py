"""Fast weights in the form of Mamba-2 (Lee et al. 2026, Eq. 3; arXiv 2405.21060)."""

from collections.abc import Callable
from typing import ClassVar

from sleepkit import ops
from sleepkit.model.door import remember
from sleepkit.model.gated_delta_net import GatedDeltaNet


class Mamba2(GatedDeltaNet):
    """Fast weights S [B, H, K, V] written by gated outer products: S <- alpha S + beta k v^T.

    Everything around the write is Gated DeltaNet's (projections, short convolution, unit keys, gates, gated norm), parameter by
    parameter: two models that differ in the kind of these layers differ in the delta correction and in nothing else. Mamba-2 as
    published has neither unit keys nor a write strength apart from its step.
    """

    kind: ClassVar[str] = "mamba2"
    rule: Callable[..., ops.GatedDeltaOutput] = staticmethod(ops.gated_hebbian_from_projections)


remember(Mamba2, "__call__", "forward", "write", "rule", "_recur", "_convolved")
