"""The gated delta rule in Triton (device/delta.py): one launch forward and one backward, whatever the length.

What is kept for backward are the inputs alone. Where a sequence has more than one chunk, backward reads forward once more and
leaves the state before each chunk in memory that is freed when it returns. Keeping those states from forward on would save that
sweep, but cost K V fp32 a chunk in every layer and pass until the backward pass comes; the inputs of a chunk are smaller.
Axes: B batch, T token, H value head, K key channel, V value channel.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sleepkit.kernels.build import direct
from sleepkit.kernels.triton_support import on_its_device, operation, padded, side_by_side


class Launch(NamedTuple):
    """How a kernel is launched: the longest chunk, warps a program, stages of its loads."""

    chunk: int
    warps: int
    stages: int = 1


class Launches(NamedTuple):
    """Both directions."""

    forward: Launch
    backward: Launch


LARGEST_DIM = 256
BLOCK_V = 32
# By padded key channels and bytes of a value. Chosen by registers and spills as compiled, not yet by the clock: products of fp32
# cost three times the registers of 16-bit ones, and chunks of 32 tokens would spill kilobytes a thread.
LAUNCHES = {
    (16, 2): Launches(Launch(32, 4), Launch(32, 4)),
    (32, 2): Launches(Launch(32, 4), Launch(32, 4)),
    (64, 2): Launches(Launch(32, 4), Launch(32, 4)),
    (128, 2): Launches(Launch(32, 4), Launch(32, 8)),
    (256, 2): Launches(Launch(16, 8), Launch(16, 8)),
    (16, 4): Launches(Launch(16, 4), Launch(16, 4)),
    (32, 4): Launches(Launch(16, 4), Launch(16, 4)),
    (64, 4): Launches(Launch(16, 4), Launch(16, 8)),
    (128, 4): Launches(Launch(16, 8), Launch(16, 8)),
    (256, 4): Launches(Launch(16, 8), Launch(16, 8)),
}
# Programs that fill a large device twice. With fewer, backward gives each block of value channels a program of its own.
MANY_PROGRAMS = 256


def gated_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    *,
    scale: float,
    valid_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Read T tokens; fp32 or 16 bit, each input in its own dtype, the state fp32. Heads of q and k may be fewer."""
    inputs = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV, valid_BT, scale)
    out, after = direct(_forward, _run_forward)(*inputs)
    return out, after


def launches(key_dim: int, dtype: torch.dtype) -> Launches:
    """Return the row of the table for key channels and the dtype of v."""
    return LAUNCHES[padded(key_dim), dtype.itemsize]


@on_its_device
def _run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    state: Tensor,
    valid: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    from sleepkit.kernels.device import delta

    q, k, v, state = side_by_side(q), side_by_side(k), side_by_side(v), state.contiguous()
    (batch, seq_len, heads, value_dim), key_dim = v.shape, q.shape[3]
    out, after = _empty_outputs(q, k, v, log_decay, beta, state)
    launch = launches(key_dim, v.dtype).forward
    inputs, strides = (q, k, v, log_decay, beta, state, _mask(valid, v)), _strides(q, k, v, log_decay, beta, valid)
    sizes = _sizes(key_dim, value_dim)
    grid = (batch * heads * _n_blocks(value_dim),)
    options: dict[str, Any] = {"MASKED": valid is not None, "num_warps": launch.warps}
    given = (*inputs, out, after, float(scale))
    if seq_len == 1:
        ends = [stride for index, stride in enumerate(strides) if index % 3 != 1 or index == len(strides)]
        delta.step[grid](*given, heads, heads // q.shape[2], *ends, **sizes, **options)
        return out, after
    options |= {"C": _chunk_len(launch, seq_len), "PRECISION": "tf32x3", "num_stages": launch.stages}
    delta.forward[grid](*given, seq_len, heads, heads // q.shape[2], *strides, **sizes, **options)
    return out, after


@on_its_device
def _run_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    state: Tensor,
    valid: Tensor | None,
    d_out: Tensor,
    d_after: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    from sleepkit.kernels.device import delta

    q, k, v, state = side_by_side(q), side_by_side(k), side_by_side(v), state.contiguous()
    (batch, seq_len, heads, value_dim), (key_heads, key_dim) = v.shape, q.shape[2:]
    launch, group = launches(key_dim, v.dtype).backward, heads // key_heads
    chunk = _chunk_len(launch, seq_len)
    n_blocks = _n_blocks(value_dim)
    n_parts = 1 if batch * heads >= MANY_PROGRAMS else n_blocks
    d_v, d_state = v.new_empty(v.shape), state.new_empty(state.shape)
    shared = [(q, (key_dim,)), (k, (key_dim,)), (log_decay, ()), (beta, ())]
    parts = [
        x.new_empty(
            (n_parts, batch, seq_len, heads, *tail), dtype=x.dtype if n_parts * (group if tail else 1) == 1 else torch.float32
        )
        for x, tail in shared
    ]
    starts = state.new_empty(batch, heads, -(-seq_len // chunk) - 1, key_dim, value_dim)
    inputs = (q, k, v, log_decay, beta, state, _mask(valid, v), d_out.contiguous(), d_after.contiguous(), starts)
    delta.backward[(batch * heads * n_parts,)](
        *inputs,
        parts[0],
        parts[1],
        d_v,
        *parts[2:],
        d_state,
        float(scale),
        seq_len,
        heads,
        group,
        batch * seq_len * heads,
        *_strides(q, k, v, log_decay, beta, valid),
        **_sizes(key_dim, value_dim),
        C=chunk,
        BLOCKS=n_blocks // n_parts,
        MASKED=valid is not None,
        PRECISION="tf32x3",
        SWEEP=seq_len > chunk,
        num_warps=launch.warps,
        num_stages=launch.stages,
    )
    d_q, d_k, d_log_decay, d_beta = (_sum_parts(part, x) for part, (x, _) in zip(parts, shared, strict=True))
    return d_q, d_k, d_v, d_log_decay, d_beta, d_state


def _sum_parts(parts: Tensor, x: Tensor) -> Tensor:
    """Add what the programs of a head, and the value heads of one key head, say about an input."""
    if parts.shape[0] == 1 and parts.shape[3] == x.shape[2]:
        return parts[0]
    n_parts, batch, seq_len, heads, *tail = parts.shape
    return parts.view(n_parts, batch, seq_len, x.shape[2], heads // x.shape[2], *tail).sum(dim=(0, 4)).to(x.dtype)


def _chunk_len(launch: Launch, seq_len: int) -> int:
    return 16 if seq_len <= 16 else launch.chunk


def _n_blocks(value_dim: int) -> int:
    return -(-value_dim // min(BLOCK_V, padded(value_dim)))


def _sizes(key_dim: int, value_dim: int) -> dict[str, int]:
    return {"K": key_dim, "V": value_dim, "BK": padded(key_dim), "BV": min(BLOCK_V, padded(value_dim))}


def _mask(valid: Tensor | None, v: Tensor) -> Tensor:
    """Return what a kernel gets for a mask: bytes, or any pointer if there is none."""
    return v if valid is None else valid.view(torch.uint8)


def _strides(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, valid: Tensor | None) -> tuple[int, ...]:
    per_head = (stride for x in (q, k, v, log_decay, beta) for stride in x.stride()[:3])
    return *per_head, *((0, 0) if valid is None else valid.stride())


def _empty_outputs(*inputs: Any) -> tuple[Tensor, Tensor]:
    v, state = inputs[2], inputs[5]
    return v.new_empty(v.shape), state.new_empty(state.shape)


def _empty_gradients(*inputs: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in inputs[:6])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(*ctx.saved_tensors, d_out, d_after, ctx.scale), None, None


_forward = operation("gated_delta_rule_triton", _run_forward, _empty_outputs)
_backward = operation("gated_delta_rule_triton_backward", _run_backward, _empty_gradients)
_forward.register_autograd(_differentiate, setup_context=_remember)
