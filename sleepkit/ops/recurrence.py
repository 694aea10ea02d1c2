"""What the writes of fast weights have in common: their contract, its checks, and the dtypes they run in.

Axes: B batch, T token, H value head, K key channel, V value channel. Order everywhere: q, k, v, log_decay, beta, state.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sleepkit.errors import ImplUnavailableError, refuse
from sleepkit.kernels import triton_delta, triton_support
from sleepkit.kernels.door import why_closed
from sleepkit.ops.masks import blanked

Impl = Literal["auto", "reference", "chunked", "native", "triton"]
# From ``impl`` and the fields of a KernelRequest, one by one: constants of a graph that is traced.
Choose = Callable[[str, str, torch.dtype, bool, str | None], str]
_AXES = 4
_KERNEL_DEVICES = ("cpu", "cuda")


class GatedDeltaOutput(NamedTuple):
    """What the operation returns.

    Attributes:
        out: [B, T, H, V], in the dtype of v.
        state: [B, H, K, V], fp32 (fp64 if any input is fp64): the fast weights after the last token.
    """

    out: Tensor
    state: Tensor


class KernelRequest(NamedTuple):
    """What the choice of a kernel depends on.

    Attributes:
        device: the kind of device.
        dtype: that of v, or fp64 where any input is in a dtype that the Triton kernels do not know.
        fits: whether the heads are small enough for the Triton kernels.
        closed: why no kernel may have the memory of the inputs (``kernels.door``); None if one may.
    """

    device: str
    dtype: torch.dtype
    fits: bool
    closed: str | None = None


def check_shapes(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor) -> None:
    """Refuse inputs that do not fit together.

    Raises:
        InvalidInputError: naming the first that does not.
    """
    inputs = {"q": q, "k": k, "v": v, "log_decay": log_decay, "beta": beta, "state": state}
    for name, tensor in inputs.items():
        if not tensor.is_floating_point():
            refuse(name, "must be floating point", tensor.dtype)
    if q.ndim != _AXES:
        refuse("q", "must have shape [B, T, H, K]", tuple(q.shape))
    if v.ndim != _AXES:
        refuse("v", "must have shape [B, T, H, V]", tuple(v.shape))
    batch, seq_len, n_key_heads, key_dim = q.shape
    n_heads, value_dim = v.shape[2:]
    if seq_len == 0:
        refuse("q", "must hold at least one token", tuple(q.shape))
    gates = (batch, seq_len, n_heads)
    expected = (q.shape, (*gates, value_dim), gates, gates, (batch, n_heads, key_dim, value_dim))
    for (name, tensor), shape in zip(list(inputs.items())[1:], expected, strict=True):
        if tensor.shape != shape:
            refuse(name, f"must have shape {list(shape)} to fit q and v", tuple(tensor.shape))
    if n_heads % n_key_heads:
        refuse("q", f"heads must divide the {n_heads} heads of v", n_key_heads)


def plain_inputs(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the inputs as a plain recurrence takes them: one wide dtype, nothing from padding, as many heads everywhere."""
    wide = torch.float64 if any(x.dtype == torch.float64 for x in (q, k, v, log_decay, beta, state)) else torch.float32
    q, k, v, log_decay, beta, state = (x if x.dtype is wide else x.to(wide) for x in (q, k, v, log_decay, beta, state))
    if valid is not None:
        q, k, v, log_decay, beta = (blanked(tensor, valid) for tensor in (q, k, v, log_decay, beta))
    group = v.shape[2] // q.shape[2]
    if group > 1:
        q, k = q.repeat_interleave(group, dim=2), k.repeat_interleave(group, dim=2)
    return q, k, v, log_decay, beta, state


def kernel_request(*inputs: Tensor, valid: Tensor | None = None) -> KernelRequest:
    """Return what the choice of a kernel depends on, of inputs that begin with q, k, v."""
    q, _, v = inputs[:3]
    dtype = v.dtype if all(x.dtype in triton_support.DTYPES for x in inputs) else torch.float64
    fits, device = max(q.shape[3], v.shape[3]) <= triton_delta.LARGEST_DIM, q.device.type
    closed = why_closed(*inputs, valid, device=device) if device in _KERNEL_DEVICES else None
    return KernelRequest(device, dtype, fits, closed)


def pick_on_gpu(impl: str, request: KernelRequest) -> tuple[str, str]:
    """Return the implementation, and the reason, of a call on a GPU, or of one that asks for "triton" by name.

    Args:
        impl: "auto" or "triton".
        request: what the choice depends on.

    Raises:
        ImplUnavailableError: if the Triton kernels were asked for and cannot serve the call.
    """
    asked = impl == "triton"
    problem: str | None
    if request.closed is not None:
        problem = request.closed
    elif request.dtype not in triton_support.DTYPES:
        problem = "its inputs are fp32, bf16 or fp16, none of them fp64"
    elif not request.fits:
        problem = f"its heads have at most {triton_delta.LARGEST_DIM} key and value channels"
    else:  # asked for by name they need not have been checked on this device
        problem = triton_support.why_unavailable(request.device) if asked else triton_support.why_not_chosen(request.device)
    if asked and problem:
        raise ImplUnavailableError(f"impl: 'triton' cannot serve this call: {problem}; use 'auto', 'chunked' or 'reference'")
    if asked:
        return "triton", "asked for by name"
    if problem:
        return "chunked", f"the torch path runs everywhere; impl: 'triton' cannot serve this call: {problem}"
    return "triton", "the Triton kernels are made for a CUDA device: one launch forward and one or two backward"
