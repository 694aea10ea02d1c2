"""A whole block of the model over whole windows in C (block.c), forward and backward.

One call each way: a few sequences at a time go through the block while they lie in cache. fp32 and fp64 on a CPU; threads are
those of torch. Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sleepkit.kernels.build import REALS, check, library, why_unavailable
from sleepkit.kernels.native import balanced_chunk_len

LONGEST_WINDOW = 256
# Rows of a tile: enough to feed the products, few enough for everything of a tile to stay in a core's own cache.
_TILE_ROWS = 48
# Multiply-adds below which waking a second thread costs more than it saves.
_WORTH_A_THREAD = 2_000_000

# The order of block.c.
WEIGHTS = (
    *("qkv", "out", "up", "down", "gate", "decay_and_beta"),
    *("mixer_norm", "mlp_norm", "query_norm", "key_norm", "conv", "head_norm", "A_log", "dt_bias"),
)


class BlockShape(NamedTuple):
    """What a block is made of; see ModelConfig. ``attention``: softmax attention, or else fast weights."""

    attention: bool
    heads: int
    keys: int
    values: int
    hidden: int
    gated: bool
    norm_eps: float
    unit_eps: float
    beta_scale: float


class _Block(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("batch", "tokens", "sequences", "chunk", "threads", "attention", "whole", "width")),
        *((name, ctypes.c_long) for name in ("heads", "keys", "values", "taps", "hidden", "gated")),
        *((name, ctypes.c_double) for name in ("norm_eps", "unit_eps", "beta_scale", "scale")),
    )


class _Call(NamedTuple):
    """What does not change between forward and backward."""

    shape: BlockShape
    whole: bool
    angles: tuple[Tensor, Tensor] | None
    valid: Tensor | None


def serves(h_BTE: Tensor) -> bool:
    """Say whether these kernels are there for a residual stream."""
    return (
        h_BTE.device.type == "cpu" and h_BTE.dtype in REALS and 0 < h_BTE.shape[1] <= LONGEST_WINDOW and why_unavailable() is None
    )


def run(
    h_BTE: Tensor,
    state_BHKV: Tensor | None,
    weights: Sequence[Tensor | None],
    shape: BlockShape,
    *,
    whole: bool = True,
    angles: tuple[Tensor, Tensor] | None = None,
    valid_BT: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the residual stream after the block (None unless ``whole``) and its fast weights (None for attention).

    Args:
        h_BTE: residual stream; everything has its dtype.
        state_BHKV: fast weights before the window.
        weights: in the order of ``WEIGHTS``; None where the block has none, or where what is not ``whole`` reads none.
            Taps of the convolution as [taps, channels].
        shape: what the block is made of.
        whole: False wants the fast weights and nothing else.
        angles: cosine and sine [T, K / 2] of the positions, for attention.
        valid_BT: False marks padding.
    """
    call = _Call(shape, whole, angles, valid_BT)
    if torch.is_grad_enabled():
        return _Run.apply(call, h_BTE, state_BHKV, *weights)  # type: ignore[no-any-return, no-untyped-call]
    return _forward(call, h_BTE, state_BHKV, weights, keep=False)[:2]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: _Call, h: Tensor, state: Tensor | None, *weights: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        after, state_after, saved = _forward(call, h, state, weights, keep=any(ctx.needs_input_grad))
        ctx.save_for_backward(h, state, saved, *weights)
        ctx.call = call
        return after, state_after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor | None, d_state_after: Tensor | None) -> tuple[Tensor | None, ...]:
        h, state, saved, *weights = ctx.saved_tensors
        call = ctx.call
        h, state = h.contiguous(), None if state is None else state.contiguous()
        d_after, d_state_after = (None if d is None else d.contiguous() for d in (d_after, d_state_after))
        d_h, d_state = torch.empty_like(h), None if state is None else torch.empty_like(state)
        d_weights = [None if weight is None else torch.empty(weight.shape, dtype=weight.dtype) for weight in weights]
        failed = library(REALS[h.dtype]).block_backward(
            *_common(call, h, weights), *_pointers(h, state, saved, d_after, d_state_after, d_h, d_state), _table(d_weights)
        )
        check(failed)
        return None, d_h, d_state, *d_weights


def _forward(
    call: _Call, h: Tensor, state: Tensor | None, weights: Sequence[Tensor | None], *, keep: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    h, state = h.contiguous(), None if state is None else state.contiguous()
    after = torch.empty_like(h) if call.whole else None
    state_after = None if state is None else torch.empty_like(state)
    described, *rest = _common(call, h, weights)
    kernels = library(REALS[h.dtype])
    saved = h.new_empty(h.shape[0] * h.shape[1], kernels.block_saved(described)) if keep else None
    check(kernels.block_forward(described, *rest, *_pointers(h, state, after, state_after, saved)))
    return after, state_after, saved


def _common(call: _Call, h: Tensor, weights: Sequence[Tensor | None]) -> tuple[object, ...]:
    """Describe the call in C's terms: sizes, weights, angles, padding."""
    (batch, tokens, width), shape = h.shape, call.shape
    conv = weights[WEIGHTS.index("conv")]
    n_weights = sum(weight.numel() for weight in weights if weight is not None)
    sizes = _Block(
        batch=batch,
        tokens=tokens,
        sequences=max(1, round(_TILE_ROWS / tokens)),
        chunk=balanced_chunk_len(tokens, shape.keys),
        threads=torch.get_num_threads() if batch * tokens * n_weights > _WORTH_A_THREAD else 1,
        attention=shape.attention,
        whole=call.whole,
        width=width,
        taps=0 if conv is None else conv.shape[0],
        scale=shape.keys**-0.5,
        **{name: getattr(shape, name) for name in ("heads", "keys", "values", "hidden", "gated")},
        **{name: getattr(shape, name) for name in ("norm_eps", "unit_eps", "beta_scale")},
    )
    cosine, sine = call.angles if call.angles is not None else (None, None)
    return ctypes.byref(sizes), _table(weights), *_pointers(cosine, sine, call.valid)


def _pointers(*tensors: Tensor | None) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _table(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*_pointers(*tensors))
