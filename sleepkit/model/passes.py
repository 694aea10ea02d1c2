"""What a pass over a whole window does with one block: run it, or let it write its fast weights and nothing else.

Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

import types
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from sleepkit import ops
from sleepkit.model.block import Block
from sleepkit.model.config import FAST_KINDS
from sleepkit.model.door import first_change
from sleepkit.model.explain import LayerPath
from sleepkit.model.fused import prepared
from sleepkit.model.mamba2 import Mamba2
from sleepkit.model.state import ConvCache, LayerCache, ModelState

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_MOST_GRAPHS = 64
CARRIED = "a tail of the short convolution is carried"


def run_block(
    block: Block, h_BTE: Tensor, state: Tensor | None, angles: ops.Rotation | None, valid_BT: Tensor | None, tail: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run a block over a whole window, from an empty KV cache that nobody keeps.

    A carried tail of the short convolution comes in and goes out; None starts from zeros and keeps none.
    """
    h_BTE, state, cache = block(h_BTE, state, angles=angles, valid_BT=valid_BT, cache=_cache_of(tail))
    return h_BTE, state, _tail_of(cache, tail)


def write_block(
    block: Block, h_BTE: Tensor, state: Tensor, valid_BT: Tensor | None, tail: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the state and the tail that ``run_block`` returns, and compute nothing else.

    A block that somebody changed or watches is run to its end: what is hooked there is called as often as it acts.
    """
    if not torch.compiler.is_compiling() and first_change(block) is not None:
        written, tail = run_block(block, h_BTE, state, None, valid_BT, tail)[1:]
        assert written is not None
        return written, tail
    state, cache = block.write(h_BTE, state, valid_BT=valid_BT, cache=_cache_of(tail))
    return state, _tail_of(cache, tail)


def run_block_fast(
    block: Block, h_BTE: Tensor, state: Tensor | None, angles: ops.Rotation | None, valid_BT: Tensor | None, tail: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Do what ``run_block`` does, as one operation where there is one for it."""
    call = CARRIED if tail is not None else prepared(block, h_BTE, state, angles, valid_BT)
    if isinstance(call, str):
        return run_block(block, h_BTE, state, angles, valid_BT, tail)
    return *ops.run_block(call), None  # type: ignore[return-value]


def write_block_fast(
    block: Block, h_BTE: Tensor, state: Tensor, valid_BT: Tensor | None, tail: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Do what ``write_block`` does, as one operation where there is one for it."""
    call = CARRIED if tail is not None else prepared(block, h_BTE, state, None, valid_BT, whole=False)
    if isinstance(call, str):
        return write_block(block, h_BTE, state, valid_BT, tail)
    return ops.run_block(call)[1], None  # type: ignore[return-value]


class BlockFunctions(NamedTuple):
    """How blocks are run over whole windows: in which path, where nothing stands in its way, and by what."""

    path: str
    run: Callable[
        [Block, Tensor, Tensor | None, ops.Rotation | None, Tensor | None, Tensor | None],
        tuple[Tensor, Tensor | None, Tensor | None],
    ]
    write: Callable[[Block, Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor | None]]


PLAIN = BlockFunctions("modules", run_block, write_block)
FASTEST = BlockFunctions("one operation", run_block_fast, write_block_fast)


def compiled(backend: str | Callable[..., Any]) -> BlockFunctions:
    """Return block functions that torch.compile turns into one graph for each kind of block and shape of its inputs.

    A block is an argument and its weights are inputs of the graph, so blocks of a kind share it: compile time grows neither
    with depth nor with N. A graph that cannot be made, or one too many, is an error and never a silent step by step run. A block
    that is hooked, or whose forward was replaced, runs as its modules: a graph would not notice hooks that come and go.
    """
    # torch counts graphs by code object: two kinds times a few window lengths, padded or not, are more than its default of 8.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_GRAPHS)
    run, write = (
        torch.compile(_with_own_code(f), fullgraph=True, dynamic=False, backend=backend) for f in (run_block, write_block)
    )
    return BlockFunctions("compiled", _unless_watched(run, run_block), _unless_watched(write, write_block))


def layer_path(
    number: int,
    kind: str,
    block: Block,
    functions: BlockFunctions,
    h_BTE: Tensor,
    state: ModelState,
    angles: ops.Rotation | None,
) -> LayerPath:
    """Say which path a block would take over a whole window, and why."""
    operation = _write_of(block, h_BTE) if kind in FAST_KINDS else None
    if functions.path == "compiled":
        problem = first_change(block, exchanged=False)
        if problem is None:
            return LayerPath(number, kind, "compiled", "compile_blocks was called")
        return LayerPath(number, kind, "modules", problem, operation)
    if functions.path == "modules":
        return LayerPath(number, kind, "modules", "asked for", operation)
    turns = angles if kind == "attn" else None
    call = CARRIED if state.conv_tail(number) is not None else prepared(block, h_BTE, state.fast_weights[number], turns, None)
    if isinstance(call, str):
        return LayerPath(number, kind, "modules", call, operation)
    return LayerPath(number, kind, "one operation", "all modules are as the model defines them")


def _write_of(block: Block, h_BTE: Tensor) -> str:
    mixer: Any = block.mixer
    write: Literal["gated_hebbian", "gated_delta_rule"] = "gated_hebbian" if isinstance(mixer, Mamba2) else "gated_delta_rule"
    keys, values = getattr(mixer, "key_dim", 0), getattr(mixer, "value_dim", 0)
    return ops.explain(operation=write, device=h_BTE.device.type, dtype=h_BTE.dtype, key_dim=keys, value_dim=values)


def _unless_watched(made: Callable[_Arguments, _Result], plain: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    def run(*values: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        return (made if first_change(values[0], exchanged=False) is None else plain)(*values, **named)  # type: ignore[arg-type]

    return run


def recomputed(function: Callable[_Arguments, _Result], *values: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
    """Call a function and keep nothing but its inputs and outputs: backward calls it once more (arXiv 1604.06174)."""
    if not torch.is_grad_enabled():
        return function(*values, **named)
    # Handed over one by one, tensors count as saved, which an outer call of this function then keeps from staying alive.
    leaves, tree = tree_flatten((values, named))

    def call(*leaves: Any) -> _Result:
        values, named = tree_unflatten(leaves, tree)
        return function(*values, **named)

    result: _Result = checkpoint(call, *leaves, use_reentrant=False, preserve_rng_state=False)
    return result


def carried(block: Block, h_BTE: Tensor, before: Tensor, after: Tensor, valid_BT: Tensor | None, tail: Tensor | None) -> Tensor:
    """Return ``after`` with the gradient of the fast weights' own recurrence, and with no other.

    Given what a block reads, what it writes is affine in the state: S_after = A S_before + B, A the product over the tokens of
    e^log_decay (I - beta k k^T) (Lee et al. 2026, Eq. 3 with the delta correction; without it, of e^log_decay alone). A and B
    count as constants, so nothing but
    dS_before = A^T dS_after is handed on; for that the block's input is kept and the write repeated in backward.

    Args:
        block: a block with fast weights.
        h_BTE: its input, without a graph.
        before: S_before [B, H, K, V].
        after: S_after, without a graph.
        valid_BT: False marks padding.
        tail: what the short convolution went on from; a constant like the input.
    """
    result: Tensor = _Carried.apply(before, after, h_BTE, valid_BT, tail, block)  # type: ignore[no-untyped-call]
    return result


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, _before: Tensor, after: Tensor, h_BTE: Tensor, valid_BT: Tensor | None, tail: Tensor | None, block: Block
    ) -> Tensor:
        ctx.save_for_backward(h_BTE, valid_BT, tail)
        ctx.block = block
        return after.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor) -> tuple[Tensor | None, ...]:
        h_BTE, valid_BT, tail = ctx.saved_tensors
        with torch.enable_grad():
            anywhere = torch.zeros_like(d_after).requires_grad_()  # an affine map has the same slope everywhere
            written, _ = write_block(ctx.block, h_BTE, anywhere, valid_BT, tail)
            (d_before,) = torch.autograd.grad(written, anywhere, d_after)
        return d_before, None, None, None, None, None


def _cache_of(tail: Tensor | None) -> ConvCache | None:
    return None if tail is None else ConvCache(tail)


def _tail_of(cache: LayerCache, before: Tensor | None) -> Tensor | None:
    if before is None:
        return None
    assert isinstance(cache, ConvCache)
    return cache.tail.to(before.dtype)


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Copy a function, code object included, so that one model's graphs do not count against another's."""
    copy = types.FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
