"""A whole block of the model over whole windows in C (block.c), forward and backward.

One call each way: a few sequences at a time go through the block while they lie in cache. fp32 and fp64 on a CPU; threads are
those of torch. Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sleepkit.errors import refuse
from sleepkit.kernels.build import REALS, check, library, why_unavailable
from sleepkit.kernels.door import TRANSFORMED, addresses, admitted, traced, transformed
from sleepkit.kernels.native import balanced_chunk_len

LONGEST_WINDOW = 256
# Rows of a tile: enough to feed the products, few enough for everything of a tile to stay in a core's own cache.
_TILE_ROWS = 48
# Multiply-adds below which waking a second thread costs more than it saves.
_WORTH_A_THREAD = 2_000_000
_AXES = 3


class BlockWeights(NamedTuple):
    """The weights of a block, in the order of block.c; None where it has none. Taps of the convolution as [taps, channels]."""

    qkv: Tensor
    out: Tensor | None
    up: Tensor | None
    down: Tensor | None
    gate: Tensor | None
    decay_and_beta: Tensor | None
    mixer_norm: Tensor
    mlp_norm: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    conv: Tensor | None
    head_norm: Tensor | None
    A_log: Tensor | None
    dt_bias: Tensor | None


_CONV = BlockWeights._fields.index("conv")
_NAMES = (*BlockWeights._fields, "cosine", "sine", "valid", "state")


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


class Prepared(NamedTuple):
    """A call whose tensors have passed the door: what ``run`` takes.

    Attributes:
        call: what the block is, and what it reads besides.
        hidden: the residual stream.
        state: the fast weights before the window.
        weights: in the order of ``BlockWeights``.
        addresses: of the weights, of cosine and sine, of the marks of padding, of the residual stream and of the state.
    """

    call: _Call
    hidden: Tensor
    state: Tensor | None
    weights: tuple[Tensor | None, ...]
    addresses: list[int | None]


def why_not_here(h_BTE: Tensor) -> str | None:
    """Say why no block may run as one operation here and now, whatever it is made of; None if one may.

    Never while operations are traced, transformed or run under autocast: those are about the operations inside.
    """
    if traced():
        return "the call is traced"
    if transformed():
        return TRANSFORMED
    if not h_BTE.is_cpu:
        return f"the kernel runs on a CPU, not on {h_BTE.device.type}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast chooses the dtype of each operation"
    if h_BTE.dtype not in REALS:
        return f"the kernel knows fp32 and fp64, not {h_BTE.dtype}"
    if h_BTE.ndim != _AXES or not 0 < h_BTE.shape[1] <= LONGEST_WINDOW or h_BTE.shape[0] == 0:
        return f"the kernel reads windows of 1 to {LONGEST_WINDOW} tokens, not {list(h_BTE.shape)}"
    return why_unavailable()


def prepare(
    h_BTE: Tensor,
    state_BHKV: Tensor | None,
    weights: BlockWeights,
    shape: BlockShape,
    *,
    whole: bool = True,
    angles: tuple[Tensor, Tensor] | None = None,
    valid_BT: Tensor | None = None,
) -> Prepared | str:
    """Take the tensors of a call through the door; or say why one of them does not pass.

    Args:
        h_BTE: residual stream; everything has its dtype.
        state_BHKV: fast weights before the window.
        weights: of the block; None where it has none, or where what is not ``whole`` reads none.
        shape: what the block is made of.
        whole: False wants the fast weights and nothing else.
        angles: cosine and sine [T, K / 2] of the positions, for attention.
        valid_BT: False marks padding.
    """
    n_taps = max(1, weights.conv.shape[0]) if weights.conv is not None and weights.conv.ndim else 1
    expected = (*_weight_shapes(h_BTE.shape[2], shape, n_taps, whole), *_other_shapes(h_BTE, shape))
    cosine, sine = angles if angles is not None else (None, None)
    given, packed = (*weights, cosine, sine, valid_BT, state_BHKV), list[Tensor | None]()
    for x, size in zip(given, expected, strict=True):
        if x is None or size is None or x.layout is not torch.strided or x.shape != size:
            name = _NAMES[len(packed)]
            if x is not None or (size is not None and name != "valid"):
                return _misfit(name, x, size)
        packed.append(None if x is None else x.contiguous())
    hidden, taken, turns, valid, state = h_BTE.contiguous(), tuple(packed[:-4]), tuple(packed[-4:-2]), packed[-2], packed[-1]
    found = admitted(*taken, *turns, hidden, state, dtype=hidden.dtype)
    if isinstance(found, str):
        return found
    marks = admitted(valid, dtype=torch.bool)
    if isinstance(marks, str):
        return marks
    call = _Call(shape, whole, None if angles is None else turns, valid)  # type: ignore[arg-type]
    return Prepared(call, hidden, state, taken, [*found[:-2], *marks, *found[-2:]])


def run(prepared: Prepared) -> tuple[Tensor | None, Tensor | None]:
    """Return the residual stream after the block (None unless ``whole``) and its fast weights (None for attention)."""
    if torch.is_grad_enabled():
        return _Run.apply(prepared, prepared.hidden, prepared.state, *prepared.weights)  # type: ignore[no-any-return, no-untyped-call]
    return _forward(prepared, keep=False)[:2]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, prepared: Prepared, h: Tensor, state: Tensor | None, *weights: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        after, state_after, saved = _forward(prepared, keep=any(ctx.needs_input_grad))
        ctx.save_for_backward(h, state, saved, *weights)
        ctx.call = prepared.call
        return after, state_after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor | None, d_state_after: Tensor | None) -> tuple[Tensor | None, ...]:
        h, state, saved, *weights = ctx.saved_tensors
        shape, whole, angles, valid = ctx.call
        prepared = prepare(h, state, BlockWeights(*weights), shape, whole=whole, angles=angles, valid_BT=valid)
        if isinstance(prepared, str):
            refuse("block", "must be given back by backward what forward saved", prepared)
        described, kernels = _describe(prepared), library(REALS[h.dtype])
        if saved.shape != (h.shape[0] * h.shape[1], kernels.block_saved(described)):
            refuse("block", "must be given back by backward what forward saved", tuple(saved.shape))
        pulled = [None if d is None else d.resolve_neg().contiguous() for d in (d_after, d_state_after)]
        gradients = [None if x is None else x.new_empty(x.shape) for x in (h, state, *weights)]
        read, saved = prepared.addresses, saved.contiguous()
        given = addresses(saved, *pulled, *gradients, dtype=h.dtype)
        read_weights, rest, n_others = _table(read[: len(weights)]), read[len(weights) :], len(given) - len(weights)
        check(kernels.block_backward(described, read_weights, *rest, *given[:n_others], _table(given[n_others:])))
        return None, *gradients


def _forward(prepared: Prepared, *, keep: bool) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    h, state, n_weights = prepared.hidden, prepared.state, len(prepared.weights)
    after = h.new_empty(h.shape) if prepared.call.whole else None
    state_after = None if state is None else state.new_empty(state.shape)
    described, kernels = _describe(prepared), library(REALS[h.dtype])
    saved = h.new_empty(h.shape[0] * h.shape[1], kernels.block_saved(described)) if keep else None
    read, written = prepared.addresses, addresses(after, state_after, saved, dtype=h.dtype)
    check(kernels.block_forward(described, _table(read[:n_weights]), *read[n_weights:], *written))
    return after, state_after, saved


def _misfit(name: str, x: Tensor | None, size: tuple[int, ...] | None) -> str:
    """Say what is wrong with a tensor that was given or not for one that must have a shape, or must not be there."""
    if x is None or size is None:
        return f"{name} is {'missing' if x is None else 'read by nobody'}"
    return f"{name} has shape {list(x.shape)}, not {list(size)}" if x.layout is torch.strided else f"{name} is {x.layout}"


def _describe(prepared: Prepared) -> object:
    """Describe a call in C's terms."""
    batch, tokens, width = prepared.hidden.shape
    conv = prepared.weights[_CONV]
    n_taps = 0 if conv is None else conv.shape[0]
    return _described(prepared.call.shape, prepared.call.whole, batch, tokens, width, n_taps, torch.get_num_threads())


@functools.lru_cache(maxsize=256)  # C reads it and keeps nothing
def _described(shape: BlockShape, whole: bool, batch: int, tokens: int, width: int, n_taps: int, n_threads: int) -> object:
    n_weights = sum(math.prod(size) for size in _weight_shapes(width, shape, n_taps, whole) if size is not None)
    sizes = _Block(
        batch=batch,
        tokens=tokens,
        sequences=max(1, round(_TILE_ROWS / tokens)),
        chunk=balanced_chunk_len(tokens, shape.keys),
        threads=n_threads if batch * tokens * n_weights > _WORTH_A_THREAD else 1,
        attention=shape.attention,
        whole=whole,
        width=width,
        taps=n_taps,
        scale=shape.keys**-0.5,
        **{name: getattr(shape, name) for name in ("heads", "keys", "values", "hidden", "gated")},
        **{name: getattr(shape, name) for name in ("norm_eps", "unit_eps", "beta_scale")},
    )
    return ctypes.byref(sizes)


@functools.lru_cache(maxsize=256)
def _weight_shapes(width: int, shape: BlockShape, n_taps: int, whole: bool) -> tuple[tuple[int, ...] | None, ...]:
    """Return the shapes that a block's weights must have; None for those it has not."""
    heads, keys, values, hidden = shape.heads, shape.keys, shape.values, shape.hidden
    channels, outs, fast = heads * (2 * keys + values), heads * values, not shape.attention
    return (
        (channels, width),
        (width, outs) if whole else None,
        (hidden * (1 + shape.gated), width) if whole else None,
        (width, hidden) if whole else None,
        (outs, width) if fast and whole else None,
        (2 * heads, width) if fast else None,
        (width,),
        (width,) if whole else None,
        None if fast else (keys,),
        None if fast else (keys,),
        (n_taps, channels) if fast else None,
        (values,) if fast and whole else None,
        (heads,) if fast else None,
        (heads,) if fast else None,
    )


def _other_shapes(h: Tensor, shape: BlockShape) -> tuple[tuple[int, ...] | None, ...]:
    """Return the shapes of cosine, sine, marks of padding and state."""
    batch, tokens, _ = h.shape
    turns = (tokens, shape.keys // 2) if shape.attention else None
    return turns, turns, (batch, tokens), None if shape.attention else (batch, shape.heads, shape.keys, shape.values)


def _table(pointers: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(pointers))(*pointers)
