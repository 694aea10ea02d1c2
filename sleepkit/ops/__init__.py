"""Operations: the contract, its checks, the choice of implementation. What it computes is mathematics; ``impl`` is only how."""

from sleepkit.ops.attention import attention, attention_weights, rotary
from sleepkit.ops.gated_delta import GatedDeltaOutput, explain, gated_delta_rule
from sleepkit.ops.short_conv import short_conv

__all__ = [
    "GatedDeltaOutput",
    "attention",
    "attention_weights",
    "explain",
    "gated_delta_rule",
    "rotary",
    "short_conv",
]
