"""A block as one operation, where that is the same as running its modules one after the other.

Axes: B batch, T token, E channel, H head, K key channel, V value channel.
"""

from collections.abc import Callable

from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.attention import Attention
from sleepkit.model.block import Block
from sleepkit.model.gated_delta_net import UNIT_EPS, GatedDeltaNet
from sleepkit.model.mlp import MLP

_any_global_hook: Callable[[], bool] = nn.modules.module._has_any_global_hook
_OWN_MODULES = (Block, Attention, GatedDeltaNet, MLP, nn.Linear, nn.RMSNorm)


def fuses(block: Block, h_BTE: Tensor, state: Tensor | None) -> bool:
    """Say whether a block may run as one operation here.

    Not where a module was exchanged, parametrised or hooked: whoever did that wants it to be called. Nor for another kind of
    fast weights than Gated DeltaNet, nor where heads share keys: the kernel knows neither.
    """
    dtypes = {h_BTE.dtype, block.mixer_norm.weight.dtype} | (set() if state is None else {state.dtype})
    if len(dtypes) != 1 or not ops.fused_block_serves(h_BTE) or any(_is_changed(module) for module in block.modules()):
        return False
    return block.mixer.group == 1


def run_fused(
    block: Block, h_BTE: Tensor, state: Tensor | None, angles: ops.Rotation | None, valid_BT: Tensor | None, *, whole: bool = True
) -> tuple[Tensor | None, Tensor | None]:
    """Run a block over a whole window as one operation; unless ``whole``, only the fast weights come back."""
    mixer, mlp = block.mixer, block.mlp
    weights = {"mixer_norm": block.mixer_norm.weight, "qkv": mixer.qkv.weight}
    if whole:
        weights |= {"out": mixer.out.weight, "mlp_norm": block.mlp_norm.weight, "up": mlp.up.weight, "down": mlp.down.weight}
    if isinstance(mixer, Attention):
        weights |= {"query_norm": mixer.query_norm.weight, "key_norm": mixer.key_norm.weight}
        keys, values, beta_scale = mixer.head_dim, mixer.head_dim, 1.0
    else:
        assert isinstance(mixer, GatedDeltaNet)
        weights |= {"conv": mixer.conv.t(), "decay_and_beta": mixer.decay_and_beta.weight}
        weights |= {"A_log": mixer.A_log, "dt_bias": mixer.dt_bias}
        if whole:
            weights |= {"gate": mixer.gate.weight, "head_norm": mixer.norm.weight}
        keys, values, beta_scale = mixer.key_dim, mixer.value_dim, mixer.beta_scale
    shape = ops.BlockShape(
        attention=isinstance(mixer, Attention),
        heads=mixer.n_heads,
        keys=keys,
        values=values,
        hidden=mlp.down.in_features,
        gated=mlp.gated,
        norm_eps=mixer.norm_eps,
        unit_eps=UNIT_EPS,
        beta_scale=beta_scale,
    )
    return ops.fused_block(h_BTE, state, weights, shape, angles=angles, valid_BT=valid_BT, whole=whole)


def _is_changed(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module) not in _OWN_MODULES or any(map(len, hooks)) or bool(_any_global_hook())
