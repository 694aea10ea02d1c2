"""The door in front of C and Triton: whose memory may be handed to a kernel. No other module takes an address.

A kernel reads the memory that a tensor says it has. So the facts are looked at in each call and never remembered: the type
(``torch.Tensor`` and ``nn.Parameter`` themselves; a subclass may mean something else by its memory), the dispatch keys, which
tell a dense tensor on its device from all that is sparse, nested, fake, on meta, wrapped by a transform, or a view still to be
negated, and an address that is there and aligned. What the door does not let through is computed by torch itself.
"""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

from sleepkit.errors import refuse

# Names of torch that are looked up in every call.
_keys, _raw = torch._C._dispatch_keys, torch._C.DispatchKeySet.raw_repr
_modes, _tracing, _transforms = (
    torch._C._len_torch_dispatch_stack,
    torch._C._get_tracing_state,
    torch._C._functorch.peek_interpreter_stack,
)
_OWN_TYPES = (Tensor, nn.Parameter)
TRANSFORMED = "torch transforms the call (vmap, grad, jvp or forward-mode), and knows the rules of its own operations alone"


def traced() -> bool:
    """Say whether somebody records operations besides their numbers: torch.compile, a dispatch mode, torch.jit.trace.

    A kernel must then be met as an operation of torch, by its name.
    """
    return torch.compiler.is_compiling() or _modes() > 0 or _tracing() is not None


def transformed() -> bool:
    """Say whether torch transforms operations: torch.func (vmap, grad, jvp), forward-mode differentiation.

    That takes operations whose rules torch knows, and no kernel.
    """
    if torch.compiler.is_compiling():
        return False
    return _transforms() is not None or forward_ad._current_level >= 0


def why_not(x: Tensor, *, device: str = "cpu") -> str | None:
    """Say why the memory of a tensor may not be handed to a kernel on a kind of device; None if it may."""
    if type(x) not in _OWN_TYPES:
        return f"a {type(x).__name__} is not torch.Tensor itself"
    if _raw(_keys(x)) not in _PLAIN_KEYS[device]:
        return f"a tensor is not plain and dense on {device}: {_keys(x)}"
    address = x.data_ptr()
    if address == 0:
        return "a tensor has no memory"
    return "the memory of a tensor is not aligned" if address % x.itemsize else None


def why_closed(*tensors: Tensor | None, device: str = "cpu") -> str | None:
    """Say why no kernel may serve a call on these tensors, all on a kind of device; None if one may.

    While a graph is traced they only stand for others: then the entry of the kernel looks at what it is run with.
    """
    if torch.compiler.is_compiling():  # before all that cannot be traced itself
        return None
    if _transforms() is not None or forward_ad._current_level >= 0:
        return TRANSFORMED
    if _modes() > 0 or _tracing() is not None:
        return None
    for x in tensors:
        reason = None if x is None else why_not(x, device=device)
        if reason is not None:
            return reason
    return None


def lets_through(*tensors: Tensor | None, dtypes: tuple[torch.dtype, ...], device: str = "cpu") -> bool:
    """Say whether a kernel may serve a call on these tensors, each on a kind of device and of one of some dtypes."""
    for x in tensors:
        if x is not None and x.dtype not in dtypes:
            return False
    if torch.compiler.is_compiling() or _modes() > 0 or _tracing() is not None:
        return not transformed() and all(x.device.type == device for x in tensors if x is not None)
    return why_closed(*tensors, device=device) is None


def admitted(*tensors: Tensor | None, dtype: torch.dtype) -> list[int | None] | str:
    """Return where tensors begin, None for None; or, if one may not be handed to C or is of another dtype, why not.

    A tensor that holds no entry needs no memory.
    """
    found: list[int | None] = []
    plain, size = _PLAIN_KEYS["cpu"], dtype.itemsize
    for x in tensors:
        if x is None:
            found.append(None)
            continue
        if x.dtype is not dtype:
            return f"a tensor is {x.dtype} beside {dtype}"
        if type(x) in _OWN_TYPES and _raw(_keys(x)) in plain:  # what why_not asks, without a call for each tensor
            address = x.data_ptr()
            if address and not address % size:
                found.append(address)
                continue
        reason = why_not(x)
        if reason is not None and (x.is_meta or x.numel()):
            return reason
        found.append(x.data_ptr())
    return found


def addresses(*tensors: Tensor | None, dtype: torch.dtype) -> list[int | None]:
    """Return what ``admitted`` returns.

    Raises:
        InvalidInputError: if one may not be handed to C.
    """
    found = admitted(*tensors, dtype=dtype)
    if isinstance(found, str):
        refuse("kernel", "must be given plain tensors on the CPU, of one dtype and with aligned memory of their own", found)
    return found


class _PlainKeys(dict[str, frozenset[int]]):
    """The dispatch keys of plain dense tensors on a kind of device, made in inference mode or not."""

    def __missing__(self, device: str) -> frozenset[int]:
        with _disable_current_modes():
            made = torch.empty(1, device=device)
            with torch.inference_mode():
                inferred = torch.empty(1, device=device)
        self[device] = frozenset(_raw(_keys(x)) for x in (made, inferred))
        return self[device]


_PLAIN_KEYS = _PlainKeys()
assert _PLAIN_KEYS["cpu"]  # made before anything is traced
