"""Operations: the contract, its checks, the choice of implementation. What it computes is mathematics; ``impl`` is only how."""

from sleepkit.ops.attention import Rotation, attention, attention_weights, rotary, rotation
from sleepkit.ops.block import BlockShape, BlockWeights, Prepared, prepare_block, run_block, why_no_block
from sleepkit.ops.gated_delta import explain, gated_delta_rule
from sleepkit.ops.hebbian import gated_hebbian
from sleepkit.ops.masks import as_mask, blanked
from sleepkit.ops.projections import activate, gated_delta_from_projections, gated_hebbian_from_projections
from sleepkit.ops.recurrence import GatedDeltaOutput
from sleepkit.ops.rows import gated_rms_norm, relu_square, rms_norm, rotary_rms_norm, unit_length
from sleepkit.ops.short_conv import dynamic_conv, short_conv

__all__ = [
    "BlockShape",
    "BlockWeights",
    "GatedDeltaOutput",
    "Prepared",
    "Rotation",
    "activate",
    "as_mask",
    "attention",
    "attention_weights",
    "blanked",
    "dynamic_conv",
    "explain",
    "gated_delta_from_projections",
    "gated_delta_rule",
    "gated_hebbian",
    "gated_hebbian_from_projections",
    "gated_rms_norm",
    "prepare_block",
    "relu_square",
    "rms_norm",
    "rotary",
    "rotary_rms_norm",
    "rotation",
    "run_block",
    "short_conv",
    "unit_length",
    "why_no_block",
]
