"""The gated delta rule in C (native.c).

One head of one sequence stays in cache from its inputs to its outputs; the torch path (chunked.py) moves every intermediate
through memory. The library knows fp32 and fp64; threads are those of torch. Axes: B batch, T token, H head, K key channel,
V value channel.
"""

import ctypes
import sys
from typing import Any

import torch
from torch import Tensor

from sleepkit.errors import refuse
from sleepkit.kernels.build import REALS, check, direct, library
from sleepkit.kernels.door import addresses

# Longest chunk by key channels. Longer ones cost more inside the chunk than they save on the state (measured flat from 16 to 64
# tokens), and their solves lose digits when keys repeat.
_CHUNK_LENS = ((64, 40), (sys.maxsize, 48))

# Multiplications with the state below which waking a second thread costs more than it saves.
_WORTH_A_THREAD = 200_000


class _Call(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("batch", "tokens", "heads", "keys", "values", "chunk", "threads")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_long * 3) for name in ("q", "k", "v", "log_decay", "beta")),
    )


def gated_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    *,
    scale: float,
    chunk_len: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Read T tokens; all inputs fp32 or all fp64, on the CPU.

    Raises:
        ImplUnavailableError: if the library cannot be built here.
    """
    chunk = balanced_chunk_len(q_BTHK.shape[1], q_BTHK.shape[3], chunk_len)
    inputs = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    out, state, _ = direct(_forward, _run_forward)(*inputs, scale, chunk, keep)
    return out, state


def balanced_chunk_len(seq_len: int, key_dim: int, longest: int | None = None) -> int:
    """Return the chunk length that cuts a sequence into equal chunks, none above the longest for these key channels."""
    if longest is None:
        longest = next(length for keys, length in _CHUNK_LENS if key_dim <= keys)
    n_chunks = -(-seq_len // longest)
    return -(-seq_len // n_chunks)


def _run_forward(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, scale: float, chunk: int, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    _check(q, k, v, log_decay, beta, state, chunk)
    inputs, state = _side_by_side(q, k, v, log_decay, beta), state.contiguous()
    out, after, starts = _empty_outputs(q, v, state, chunk, keep)
    pointers = addresses(*inputs, state, out, after, starts if keep else None, dtype=state.dtype)
    check(library(REALS[state.dtype]).gated_delta_rule_forward(_describe(inputs, scale, chunk), *pointers))
    return out, after, starts


def _run_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    state: Tensor,
    starts: Tensor,
    d_out: Tensor,
    d_after: Tensor,
    scale: float,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check(q, k, v, log_decay, beta, state, chunk)
    kept = (*state.shape[:2], -(-q.shape[1] // chunk) - 1, *state.shape[2:])
    if starts.shape != kept or d_out.shape != v.shape or d_after.shape != state.shape:
        refuse("starts", f"must have shape {list(kept)}, beside gradients of the outputs", tuple(starts.shape))
    inputs, gradients = _side_by_side(q, k, v, log_decay, beta), _empty_gradients(q, k, v, log_decay, beta, state)
    given = (state.contiguous(), starts.contiguous(), d_out.contiguous(), d_after.contiguous())
    pointers = addresses(*inputs, *given, *gradients, dtype=state.dtype)
    check(library(REALS[state.dtype]).gated_delta_rule_backward(_describe(inputs, scale, chunk), *pointers))
    return gradients


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.scale, ctx.chunk, _ = inputs
    ctx.save_for_backward(*tensors, output[2])


def _differentiate(ctx: Any, d_out: Tensor, d_after: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *inputs, starts = ctx.saved_tensors
    if starts.shape[2] < -(-inputs[0].shape[1] // ctx.chunk) - 1:  # from a graph that was traced where nothing wanted a gradient
        starts = _forward(*inputs, ctx.scale, ctx.chunk, True)[2]
    return *_backward(*inputs, starts, d_out, d_after, ctx.scale, ctx.chunk), None, None, None


# Operations of torch, so that torch.compile meets them as such and breaks no graph.
_forward = torch.library.custom_op("sleepkit::gated_delta_rule_native", _run_forward, mutates_args=(), device_types="cpu")
_forward.register_fake(lambda *x: _empty_outputs(x[0], x[2], x[5], x[7], x[8]))
_forward.register_autograd(_differentiate, setup_context=_remember)
_backward = torch.library.custom_op(
    "sleepkit::gated_delta_rule_native_backward", _run_backward, mutates_args=(), device_types="cpu"
)
_backward.register_fake(lambda *x: _empty_gradients(*x[:6]))


def _empty_outputs(q: Tensor, v: Tensor, state: Tensor, chunk: int, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    batch, seq_len, heads, value_dim = v.shape
    n_starts = -(-seq_len // chunk) - 1 if keep else 0
    starts = state.new_empty(batch, heads, n_starts, q.shape[3], value_dim)
    return v.new_empty(v.shape), state.new_empty(state.shape), starts


def _empty_gradients(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tuple(x.new_empty(x.shape) for x in inputs)  # type: ignore[return-value]


def _check(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, chunk: int) -> None:
    if q.ndim != 4 or v.ndim != 4 or q.numel() == 0 or v.numel() == 0 or chunk < 1:
        refuse("q", "must be [B, T, H, K] and v [B, T, H, V], neither empty", (tuple(q.shape), tuple(v.shape)))
    (batch, tokens, heads, keys), gates = q.shape, v.shape[:3]
    fits = k.shape == q.shape and gates == (batch, tokens, heads) and log_decay.shape == gates and beta.shape == gates
    if not fits or state.shape != (batch, heads, keys, v.shape[3]):
        refuse("inputs", "must have shapes that fit together", [tuple(x.shape) for x in (q, k, v, log_decay, beta, state)])


def _side_by_side(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Make the channels of a token neighbours in memory; other strides are free."""
    return tuple(x if x.ndim == 3 or x.stride(-1) == 1 else x.contiguous() for x in inputs)


def _describe(inputs: tuple[Tensor, ...], scale: float, chunk: int) -> object:
    q, _, v, *_ = inputs
    (batch, seq_len, heads, key_dim), value_dim = q.shape, v.shape[3]
    threads = torch.get_num_threads() if v.numel() * key_dim > _WORTH_A_THREAD else 1
    strides = [(ctypes.c_long * 3)(*x.stride()[:3]) for x in inputs]
    return ctypes.byref(_Call(batch, seq_len, heads, key_dim, value_dim, chunk, threads, scale, *strides))
