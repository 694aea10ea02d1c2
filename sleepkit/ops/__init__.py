"""Operations: the contract, its checks, the choice of implementation. What it computes is mathematics; ``impl`` is only how."""

from sleepkit.ops.attention import Rotation, attention, attention_weights, rotary, rotation
from sleepkit.ops.gated_delta import GatedDeltaOutput, explain, gated_delta_rule
from sleepkit.ops.short_conv import short_conv

__all__ = [
    "GatedDeltaOutput",
    "Rotation",
    "attention",
    "attention_weights",
    "explain",
    "gated_delta_rule",
    "rotary",
    "rotation",
    "short_conv",
]
