"""The gated delta rule in Triton (device/delta.py): one launch forward, one or two backward, whatever the length.

The second launch of backward adds what the programs of the first wrote in parts: where several value heads share a key, where
programs are so few that each block of value channels gets its own, and, over sequences, the gradients of A_log and dt_bias.

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
# Sums that a program of the launch that adds parts makes.
ADDED = 512
ADDING_WARPS = 4


class Activations(NamedTuple):
    """What turns a layer's projections into q, k, log_decay and beta, inside the kernel.

    Attributes:
        A_log: [H], fp32.
        dt_bias: [H], fp32.
        beta_scale: of the sigmoid.
        unit_eps: under the root of the lengths of queries and keys.
    """

    A_log: Tensor
    dt_bias: Tensor
    beta_scale: float
    unit_eps: float


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
    activations: Activations | None = None,
    corrected: bool = True,
) -> tuple[Tensor, Tensor]:
    """Read T tokens; fp32 or 16 bit, each input in its own dtype, the state fp32. Heads of q and k may be fewer.

    With activations q, k, log_decay and beta are given as the projections have them, before those. Not ``corrected``, the write
    is a gated outer product, without what the delta rule subtracts.
    """
    A_log, dt_bias, beta_scale, unit_eps = activations or (None, None, 1.0, 0.0)
    inputs = (q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, state_BHKV, A_log, dt_bias)
    out, after = direct(_forward, _run_forward)(*inputs, valid_BT, scale, beta_scale, unit_eps, corrected)
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
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    valid: Tensor | None,
    scale: float,
    beta_scale: float,
    unit_eps: float,
    corrected: bool,
) -> tuple[Tensor, Tensor]:
    from sleepkit.kernels.device import delta

    q, k, v, state = side_by_side(q), side_by_side(k), side_by_side(v), state.contiguous()
    (batch, seq_len, heads, value_dim), key_dim = v.shape, q.shape[3]
    out, after = _empty_outputs(q, k, v, log_decay, beta, state)
    launch = launches(key_dim, v.dtype).forward
    given = (q, k, v, log_decay, beta, state, _mask(valid, v), *_rates(A_log, dt_bias, state), out, after)
    factors, strides = (float(scale), float(beta_scale), float(unit_eps)), _strides(q, k, v, log_decay, beta, valid)
    sizes = _sizes(key_dim, value_dim)
    grid = (batch * heads * _n_blocks(value_dim),)
    options: dict[str, Any] = {"MASKED": valid is not None, "RAW": A_log is not None, "DELTA": corrected}
    options["num_warps"] = launch.warps
    if seq_len == 1:
        ends = [stride for index, stride in enumerate(strides) if index % 3 != 1 or index == len(strides)]
        delta.step[grid](*given, *factors, heads, heads // q.shape[2], *ends, **sizes, **options)
        return out, after
    options |= {"C": _chunk_len(launch, seq_len), "PRECISION": "tf32x3", "num_stages": launch.stages}
    delta.forward[grid](*given, *factors, seq_len, heads, heads // q.shape[2], *strides, **sizes, **options)
    return out, after


@on_its_device
def _run_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    state: Tensor,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    valid: Tensor | None,
    d_out: Tensor,
    d_after: Tensor,
    scale: float,
    beta_scale: float,
    unit_eps: float,
    corrected: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    from sleepkit.kernels.device import delta

    gradients = _empty_gradients(q, k, v, log_decay, beta, state, A_log, dt_bias)
    q, k, v, state = side_by_side(q), side_by_side(k), side_by_side(v), state.contiguous()
    (batch, seq_len, heads, value_dim), (key_heads, key_dim) = v.shape, q.shape[2:]
    launch, n_blocks = launches(key_dim, v.dtype).backward, _n_blocks(value_dim)
    chunk = _chunk_len(launch, seq_len)
    parts = _Parts(gradients, batch=batch, heads=heads, n_parts=1 if batch * heads >= MANY_PROGRAMS else n_blocks)
    starts = state.new_empty(batch, heads, -(-seq_len // chunk) - 1, key_dim, value_dim)
    delta.backward[(batch * heads * parts.n_parts,)](
        *(q, k, v, log_decay, beta, state, _mask(valid, v), *_rates(A_log, dt_bias, state)),
        *(d_out.contiguous(), d_after.contiguous(), starts),
        *(parts.q, parts.k, gradients[2], parts.log_decay, parts.beta, gradients[5], parts.rates),
        *(float(scale), float(beta_scale), float(unit_eps)),
        seq_len,
        heads,
        heads // key_heads,
        batch * seq_len * heads,
        *_strides(q, k, v, log_decay, beta, valid),
        **_sizes(key_dim, value_dim),
        C=chunk,
        BLOCKS=n_blocks // parts.n_parts,
        MASKED=valid is not None,
        RAW=A_log is not None,
        DELTA=corrected,
        PRECISION="tf32x3",
        SWEEP=seq_len > chunk,
        num_warps=launch.warps,
        num_stages=launch.stages,
    )
    parts.add()
    return gradients


class _Parts:
    """Where the programs of backward write the gradients of q, k, log_decay, beta, A_log and dt_bias: in place, or in parts.

    Parts are fp32: of the keys' gradients one for each program of a head and each value head that shares a key, of the gates' one
    for each program of a head, of the rates' one for each program. One launch adds all of them, in a fixed order.
    """

    def __init__(self, gradients: tuple[Tensor, ...], *, batch: int, heads: int, n_parts: int) -> None:
        self.gradients, self.batch, self.heads, self.n_parts = gradients, batch, heads, n_parts
        d_q, d_k, _, d_log_decay, d_beta, _, d_A_log, _ = gradients
        seq_len, key_heads, self.key_dim = d_q.shape[1:]
        self.group, self.raw = heads // key_heads, d_A_log.numel() > 0
        self.in_keys, self.in_gates = n_parts * self.group > 1, n_parts > 1
        key_shape = (n_parts, batch, seq_len, heads, self.key_dim)
        self.q, self.k = (d_x.new_empty(key_shape, dtype=torch.float32) if self.in_keys else d_x for d_x in (d_q, d_k))
        self.log_decay, self.beta = (
            d_x.new_empty(key_shape[:-1], dtype=torch.float32) if self.in_gates else d_x for d_x in (d_log_decay, d_beta)
        )
        self.rates = d_A_log.new_empty(2 * batch * heads * n_parts if self.raw else 0, dtype=torch.float32)

    def add(self) -> None:
        """Add the parts, where there are any."""
        from sleepkit.kernels.device import delta

        d_q, d_k, _, d_log_decay, d_beta, _, d_A_log, d_dt_bias = self.gradients
        key_blocks = -(-d_q.numel() // ADDED) if self.in_keys else 0
        gate_blocks = -(-d_beta.numel() // ADDED) if self.in_gates else 0
        programs = 2 * key_blocks + 2 * gate_blocks + (self.heads if self.raw else 0)
        if programs == 0:
            return
        delta.add_parts[(programs,)](
            *(self.q, self.k, self.log_decay, self.beta, self.rates, d_q, d_k, d_log_decay, d_beta, d_A_log, d_dt_bias),
            d_q.numel(),
            d_beta.numel(),
            self.batch,
            self.heads,
            self.n_parts,
            self.group,
            key_blocks,
            gate_blocks,
            K=self.key_dim,
            BLOCK=ADDED,
            num_warps=ADDING_WARPS,
        )


def _chunk_len(launch: Launch, seq_len: int) -> int:
    return 16 if seq_len <= 16 else launch.chunk


def _n_blocks(value_dim: int) -> int:
    return -(-value_dim // min(BLOCK_V, padded(value_dim)))


def _sizes(key_dim: int, value_dim: int) -> dict[str, int]:
    return {"K": key_dim, "V": value_dim, "BK": padded(key_dim), "BV": min(BLOCK_V, padded(value_dim))}


def _mask(valid: Tensor | None, v: Tensor) -> Tensor:
    """Return what a kernel gets for a mask: bytes, or any pointer if there is none."""
    return v if valid is None else valid.view(torch.uint8)


def _rates(A_log: Tensor | None, dt_bias: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a kernel gets for the rates: any pointer if there are none."""
    return state if A_log is None else A_log.contiguous(), state if dt_bias is None else dt_bias.contiguous()


def _strides(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, valid: Tensor | None) -> tuple[int, ...]:
    per_head = (stride for x in (q, k, v, log_decay, beta) for stride in x.stride()[:3])
    return *per_head, *((0, 0) if valid is None else valid.stride())


def _empty_outputs(*inputs: Any) -> tuple[Tensor, Tensor]:
    v, state = inputs[2], inputs[5]
    return v.new_empty(v.shape), state.new_empty(state.shape)


def _empty_gradients(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    q, k, v, log_decay, beta, state, A_log, dt_bias = (
        inputs[5].new_empty(0) if x is None else x.new_empty(x.shape) for x in inputs[:8]
    )
    return q, k, v, log_decay, beta, state, A_log, dt_bias


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001
    *tensors, scale, beta_scale, unit_eps, corrected = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = scale, beta_scale, unit_eps, corrected


def _differentiate(ctx: Any, d_out: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
    *gradients, d_A_log, d_dt_bias = _backward(*ctx.saved_tensors, d_out, d_after, *ctx.options)
    raw = ctx.saved_tensors[6] is not None
    return *gradients, d_A_log if raw else None, d_dt_bias if raw else None, None, None, None, None, None


_forward = operation("gated_delta_rule_triton", _run_forward, _empty_outputs)
_backward = operation("gated_delta_rule_triton_backward", _run_backward, _empty_gradients)
_forward.register_autograd(_differentiate, setup_context=_remember)
