"""A block as one operation, where that is the same as running its modules one after the other.

Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

from typing import Any

from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model import gated_delta_net
from sleepkit.model.attention import Attention
from sleepkit.model.block import Block
from sleepkit.model.door import first_change
from sleepkit.model.gated_delta_net import GatedDeltaNet

_LINEAR = ("qkv", "out", "gate", "decay_and_beta")


def prepared(
    block: Block, h_BTE: Tensor, state: Tensor | None, angles: ops.Rotation | None, valid_BT: Tensor | None, *, whole: bool = True
) -> ops.Prepared | str:
    """Return a call of a block over a whole window as one operation, for ``ops.run_block``; or say why its modules must run.

    They must where a module is not as the model defines it (``model.door``), where a tensor does not pass the door in front of
    the kernel, and for what the kernel does not know: other fast weights than Gated DeltaNet, heads that share keys, norms that
    differ in eps.

    Args:
        block: the block.
        h_BTE: residual stream.
        state: its fast weights; None for softmax attention.
        angles: of the tokens' positions, for softmax attention.
        valid_BT: False marks padding.
        whole: False wants the fast weights and nothing else.
    """
    problem = ops.why_no_block(h_BTE) or first_change(block) or _unknown(block)
    if problem is not None:
        return problem
    weights, shape = _of_attention(block) if type(block.mixer) is Attention else _of_fast_weights(block, whole)
    return ops.prepare_block(h_BTE, state, weights, shape, angles=angles, valid_BT=valid_BT, whole=whole)


def _children(module: nn.Module) -> dict[str, Any]:
    return module.__dict__["_modules"]  # type: ignore[no-any-return]


def _weight(module: nn.Module, name: str) -> Any:
    """Return the weight of a child, None if it has none; attribute access goes through several dictionaries of torch."""
    return module.__dict__["_modules"][name].__dict__["_parameters"].get("weight")


def _unknown(block: Block) -> str | None:
    """Say what about a block of the model's own modules the kernel does not know; None if it knows all."""
    parts = _children(block)
    mixer = parts["mixer"]
    if type(mixer) not in (Attention, GatedDeltaNet):
        return f"the kernel knows Attention and GatedDeltaNet, not {type(mixer).__name__}"
    if mixer.group != 1:
        return "its heads share keys"
    inside = _children(mixer)
    norms = ("query_norm", "key_norm") if type(mixer) is Attention else ("norm",)
    eps = [parts["mixer_norm"].eps, parts["mlp_norm"].eps, *(inside[name].eps for name in norms)]
    if any(type(value) is not float or value != eps[0] for value in eps):
        return f"the kernel knows one eps of all norms, not {sorted(set(map(str, eps)))}"
    linear = [inside[name] for name in _LINEAR if name in inside] + list(_children(parts["mlp"]).values())
    if any(module.__dict__["_parameters"].get("bias") is not None for module in linear):
        return "a linear layer has a bias"
    if _weight(parts["mlp"], "down") is None:
        return "a linear layer has no weight"
    return None


def _of_attention(block: Any) -> tuple[ops.BlockWeights, ops.BlockShape]:
    mixer, mlp = block.mixer, block.mlp
    down = _weight(mlp, "down")
    weights = ops.BlockWeights(
        *(_weight(mixer, "qkv"), _weight(mixer, "out"), _weight(mlp, "up"), down, None, None),
        *(_weight(block, "mixer_norm"), _weight(block, "mlp_norm"), _weight(mixer, "query_norm"), _weight(mixer, "key_norm")),
        *(None, None, None, None),
    )
    keys, eps = mixer.head_dim, block.mixer_norm.eps
    shape = ops.BlockShape(True, mixer.n_heads, keys, keys, down.shape[1], mlp.gated, eps, gated_delta_net.UNIT_EPS, 1.0)
    return weights, shape


def _of_fast_weights(block: Any, whole: bool) -> tuple[ops.BlockWeights, ops.BlockShape]:
    mixer, mlp = block.mixer, block.mlp
    own, down = mixer.__dict__["_parameters"], _weight(mlp, "down")
    weights = ops.BlockWeights(
        _weight(mixer, "qkv"),
        _weight(mixer, "out") if whole else None,
        _weight(mlp, "up") if whole else None,
        down if whole else None,
        _weight(mixer, "gate") if whole else None,
        _weight(mixer, "decay_and_beta"),
        _weight(block, "mixer_norm"),
        _weight(block, "mlp_norm") if whole else None,
        None,
        None,
        own["conv"].t(),
        _weight(mixer, "norm") if whole else None,
        own["A_log"],
        own["dt_bias"],
    )
    sizes = (mixer.n_heads, mixer.key_dim, mixer.value_dim, down.shape[1], mlp.gated)
    return weights, ops.BlockShape(False, *sizes, block.mixer_norm.eps, gated_delta_net.UNIT_EPS, mixer.beta_scale)
