"""FLOPs and bytes, counted from shapes. A multiply-add is two FLOPs; a value has four bytes (fp32).

**Gated delta rule**, B sequences, H heads, T tokens, K and V channels. Needed, that is in the recurrent form, which no other form
undercuts: forward 6 K V a token and head (S^T k, k u^T, S^T q), backward 12 K V (two for each of the three), so

    forward 6 B H T K V,    backward 12 B H T K V.

Made by the chunked form, in chunks of C tokens, squares counted whole:

    forward  6 C K V + C^2 (4 K + 3 V)  a chunk    (K K^T, Q K^T, the solve, P U; K S0, Q S0, K^T U)
    backward 12 C K V + C^2 (6 K + 7 V)            (the sleepkit.kernels.chunked docstring, term by term)

Bytes moved at least: forward reads q, k, v, log_decay, beta and the state and writes the output and the state; backward reads the
inputs and the two gradients coming in and writes the six going out; nothing else is saved between them.

    one set of inputs = 4 (B T H (2 K + V + 2) + B H K V),    one set of outputs = 4 (B T H V + B H K V)

**Short convolution** of W taps over x [B, T, E]: forward 2 W B T E FLOPs, backward twice that (the gradients of inputs and taps);
forward moves x, taps and output, backward x, taps, the gradient coming in and the two going out.

**A step of training**: see ``step_flops``.
"""

from typing import NamedTuple

from sleepkit.errors import require
from sleepkit.model import ModelConfig
from sleepkit.model.sizes import flops_per_token
from sleepkit.sleep import Window

_BYTES = 4
CHUNK_LEN = 64


class Counts(NamedTuple):
    """FLOPs and bytes of one direction, or of both."""

    flops: int
    n_bytes: int

    def with_backward(self, backward: "Counts") -> "Counts":
        """Count both directions together."""
        return Counts(self.flops + backward.flops, self.n_bytes + backward.n_bytes)


class DeltaShape(NamedTuple):
    """Sizes of a gated delta rule: batch, heads, tokens, key and value channels."""

    batch: int
    heads: int
    tokens: int
    keys: int
    values: int

    @property
    def name(self) -> str:
        """The shape as it is printed."""
        return f"B{self.batch} H{self.heads} L{self.tokens} K{self.keys} V{self.values}"


class ConvShape(NamedTuple):
    """Sizes of a short convolution: batch, tokens, channels, taps."""

    batch: int
    tokens: int
    channels: int
    taps: int

    @property
    def name(self) -> str:
        """The shape as it is printed."""
        return f"B{self.batch} L{self.tokens} E{self.channels} W{self.taps}"


def delta_counts(shape: DeltaShape) -> tuple[Counts, Counts]:
    """Count what the gated delta rule needs, forward and backward."""
    b, h, t, k, v = shape
    needed = 6 * b * h * t * k * v
    inputs = _BYTES * (b * t * h * (2 * k + v + 2) + b * h * k * v)
    outputs = _BYTES * (b * t * h * v + b * h * k * v)
    return Counts(needed, inputs + outputs), Counts(2 * needed, inputs + outputs + inputs)


def delta_chunked_flops(shape: DeltaShape, *, chunk_len: int = CHUNK_LEN) -> tuple[int, int]:
    """Count the FLOPs that the chunked form makes, forward and backward."""
    b, h, t, k, v = shape
    chunks = [chunk_len] * (t // chunk_len) + ([t % chunk_len] if t % chunk_len else [])
    forward = sum(6 * c * k * v + c * c * (4 * k + 3 * v) for c in chunks)
    backward = sum(12 * c * k * v + c * c * (6 * k + 7 * v) for c in chunks)
    return b * h * forward, b * h * backward


def conv_counts(shape: ConvShape) -> tuple[Counts, Counts]:
    """Count what the short convolution needs, forward and backward."""
    b, t, e, w = shape
    activations, taps = _BYTES * b * t * e, _BYTES * e * w
    flops = 2 * w * b * t * e
    return Counts(flops, 2 * activations + taps), Counts(2 * flops, 3 * activations + 2 * taps)


def step_flops(config: ModelConfig, windows: list[Window], *, n_passes: int, batch_size: int) -> int:
    """Count the FLOPs of the blocks in one training step, forward once and backward twice.

    A window that is slept on makes N passes over the looped span, the last of which ends where the last layer with fast weights
    has written: without its gate, output projection and MLP, and without any layer behind it; without fast weights it makes
    none. A window that is answered makes one whole pass. Embedding, head and optimiser are left out: they do not depend on N.

    Raises:
        InvalidInputError: if the loop is not "all".
    """
    require(config.loop == "all", "loop", "must be 'all' to be counted here", config.loop)
    total = 0
    for window in windows:
        window_len = window.stop - window.start
        whole = sum(_layer_flops(config, kind, window_len) for kind in config.layer_kinds)
        if not window.asleep:
            total += window_len * whole
        elif config.fast_layers:
            total += window_len * ((n_passes - 1) * whole + _writing_flops(config, window_len))
    return 3 * batch_size * total


def _layer_flops(config: ModelConfig, kind: str, window_len: int) -> int:
    return flops_per_token(config.replace(layers=kind, loop="all"), window_len=window_len)


def _writing_flops(config: ModelConfig, window_len: int) -> int:
    """FLOPs a token of the last pass of a window that is slept on."""
    kinds = config.layer_kinds
    last = config.fast_layers[-1]
    values = config.n_heads * config.value_channels
    unread = 2 * 2 * config.width * values + 2 * config.width * config.mlp_channels * (3 if config.mlp == "swiglu" else 2)
    return sum(_layer_flops(config, kind, window_len) for kind in kinds[: last + 1]) - unread
