"""The door in front of the fast path, for modules: whether one is still what its class defines.

An operation that stands for a module computes what the class says. Whoever hooks a module, replaces its forward, exchanges or
parametrises it, or patches its class or a function it calls, wants that to happen. So these facts are looked at in each call and
never remembered, and a module about which one of them does not hold is called as the module it is.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sleepkit import ops

_any_global_hook: Callable[[], bool] = nn.modules.module._has_any_global_hook
# Entries of an instance that take the place of what its class, its parameters or its children say.
_IN_PLACE = frozenset(
    {"forward", "_call_impl", "_wrapped_call_impl", "_compiled_call_impl", "weight", "bias", "read", "write", "rule", "_heads"}
    | {"_recur", "_convolved", "A_log", "dt_bias", "conv", "mixer", "mlp", "mixer_norm", "mlp_norm", "query_norm", "key_norm"}
    | {"norm", "qkv", "out", "up", "down", "gate", "decay_and_beta", "taps"}
)
_KNOWN: set[type[nn.Module]] = set()
_ORIGINALS: list[tuple[Any, tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]] = []


def remember(owner: Any, *names: str) -> None:
    """Keep what a class or a module of functions is made of, to notice when somebody exchanges it."""
    get = attrgetter(*names)
    _ORIGINALS.append((owner, names, get, get(owner)))
    if isinstance(owner, type):
        _KNOWN.add(owner)


def patched() -> str | None:
    """Say which class or function that operations stand for was exchanged for everybody; None if none was."""
    for owner, names, get, originals in _ORIGINALS:
        if get(owner) != originals:
            changed = next(name for name, kept in zip(names, originals, strict=True) if getattr(owner, name) is not kept)
            return f"{owner.__name__}.{changed} was exchanged"
    return "a hook of all modules is set" if _any_global_hook() else None


def called_otherwise(module: nn.Module) -> str | None:
    """Say why a call of a module is more, or other, than what its class defines; None if it is just that."""
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return "is hooked"
    if not _IN_PLACE.isdisjoint(module.__dict__):
        return f"has its own {', '.join(sorted(_IN_PLACE.intersection(module.__dict__)))}"
    return None


def first_change(root: nn.Module, *, exchanged: bool = True) -> str | None:
    """Name the first module, from ``root`` down, that is not as the model defines it, and say how; None if all are.

    Args:
        root: a block, or a part of one.
        exchanged: count modules of classes other than the model's own. Their calls are what their class defines.
    """
    if _as_defined(root, exchanged):
        return patched()
    waiting = [("", root)]
    while waiting:
        name, module = waiting.pop()
        if exchanged and type(module) not in _KNOWN:
            return f"{name or 'it'} is a {type(module).__name__}"
        if module is None:
            continue
        how = called_otherwise(module)
        if how is not None:
            return f"{name or 'it'} {how}"
        waiting += [(f"{name}.{child}" if name else child, below) for child, below in module.__dict__["_modules"].items()]
    return patched()


def _as_defined(root: nn.Module, exchanged: bool) -> bool:
    """Say whether all modules from ``root`` down are as the model defines them; ``first_change`` finds the one that is not."""
    waiting = [root]
    for module in waiting:
        if module is None and not exchanged:
            continue
        if exchanged and type(module) not in _KNOWN:
            return False
        held = module.__dict__
        if held["_forward_hooks"] or held["_forward_pre_hooks"] or held["_backward_hooks"] or held["_backward_pre_hooks"]:
            return False
        if not _IN_PLACE.isdisjoint(held):
            return False
        if held["_modules"]:
            waiting += held["_modules"].values()
    return True


def plain_norm(norm: nn.Module, channels: int) -> bool:
    """Say whether an operation may stand for a norm: RMSNorm of these channels, with a weight and an eps, called plainly."""
    if type(norm) is not nn.RMSNorm or type(norm.eps) is not float or norm.normalized_shape != (channels,):
        return False
    if norm.weight is None:
        return False
    if torch.compiler.is_compiling():  # what is exchanged for everybody is traced as it is
        return called_otherwise(norm) is None
    return called_otherwise(norm) is None and patched() is None


remember(nn.Module, "__call__", "_wrapped_call_impl", "_call_impl", "__getattr__")
remember(nn.Linear, "__call__", "forward")
remember(nn.RMSNorm, "__call__", "forward")
remember(F, "linear", "rms_norm", "silu", "softplus", "relu", "scaled_dot_product_attention")
remember(ops, "attention", "rms_norm", "gated_rms_norm", "rotary_rms_norm", "short_conv", "relu_square")
