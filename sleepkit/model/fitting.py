"""What a call of the model is given, held against the model before anything reads it: residual stream, state, mask.

Axes: B batch, T token, E channel, H head, K key channel, V value channel, S key position, D head channel, W tap.
"""

import torch
from torch import Tensor

from sleepkit.errors import refuse, require
from sleepkit.model.config import ModelConfig
from sleepkit.model.state import AttentionCache, ModelState, Sight

_AXES = 3


def check_hidden(h_BTE: Tensor, config: ModelConfig) -> None:
    """Refuse a residual stream that is not [B, T, E] for this model, with a token at least.

    Raises:
        InvalidInputError: then.
    """
    if h_BTE.ndim != _AXES or h_BTE.shape[2] != config.width or h_BTE.shape[1] == 0:
        refuse("h", f"must be [B, T, {config.width}] with a token at least", tuple(h_BTE.shape))


def fitted_state(state: ModelState, config: ModelConfig, weight: Tensor, batch_size: int) -> ModelState:
    """Return a state for a batch, and refuse one of another model; the state of one sequence is repeated for all B.

    Args:
        state: fast weights [B, H, K, V] or None for each layer, as ``HybridLM.initial_state`` makes them; or of batch 1.
        config: of the model.
        weight: a weight of the model, whose device and dtype count.
        batch_size: B.

    Raises:
        InvalidInputError: if layers, shapes, dtypes, layout or device are not the model's, or the batch is neither B nor 1.
    """
    n_layers, fast = config.n_layers, config.fast_layers
    require(isinstance(state, ModelState), "state", "must be a ModelState", type(state).__name__)
    require(len(state.fast_weights) == n_layers, "state", f"must have {n_layers} layers", len(state.fast_weights))
    given = _batch_of(state)
    require(given in (None, 1, batch_size), "state", f"must be of batch {batch_size}, or of 1 to be repeated", given)
    batch = batch_size if given is None else given
    wide = torch.promote_types(weight.dtype, torch.float32)
    size = (batch, config.n_heads, config.key_channels, config.value_channels)
    for number, layer in enumerate(state.fast_weights):
        _check(f"state of layer {number}", layer, size if number in fast else None, weight.device)
        if layer is not None and layer.dtype != wide:
            refuse(f"state of layer {number}", f"must be {wide}", layer.dtype)
    _check_tails(state, config, batch, weight.device)
    if state.sight is not None:
        _check_sight(state.sight, config, batch, weight)
    return state if batch == batch_size else repeated(state, batch_size)


def repeated(state: ModelState, batch_size: int) -> ModelState:
    """Repeat the state of one sequence: read once, ask many."""
    return state.map(lambda layer: layer.expand(batch_size, *layer.shape[1:]).contiguous())


def _batch_of(state: ModelState) -> int | None:
    layers: list[object] = [*state.fast_weights]
    if isinstance(state.sight, Sight):
        layers += [layer.keys for layer in state.sight.carried if isinstance(layer, AttentionCache)]
    return next((layer.shape[0] for layer in layers if isinstance(layer, Tensor) and layer.ndim), None)


def _check(name: str, tensor: object, size: tuple[int, ...] | None, device: torch.device) -> None:
    """Refuse what is not a dense tensor of real numbers of a size on a device; None where there is to be none."""
    if size is None:
        require(tensor is None, name, "must be None: the layer keeps none", type(tensor).__name__)
        return
    if not isinstance(tensor, Tensor):
        refuse(name, f"must be a tensor of shape {list(size)}", tensor)
    if tensor.layout != torch.strided or not tensor.is_floating_point():
        refuse(name, "must be a dense tensor of real numbers", f"{tensor.layout}, {tensor.dtype}")
    if tensor.shape != size:
        refuse(name, f"must have shape {list(size)}", list(tensor.shape))
    if tensor.device != device:
        refuse(name, f"must be on {device}", str(tensor.device))


def _check_tails(state: ModelState, config: ModelConfig, batch: int, device: torch.device) -> None:
    n_tails = config.n_layers if config.carry_conv else 0
    rule = f"must have {n_tails} tails of convolutions, as carry_conv={config.carry_conv} says"
    require(len(state.conv_tails) == n_tails, "state", rule, len(state.conv_tails))
    for number, tail in enumerate(state.conv_tails):
        kind = config.layer_kinds[number]
        size = (batch, config.conv_len - 1, config.conv_channels(kind)) if number in config.fast_layers else None
        _check(f"tail of layer {number}", tail, size, device)


def _check_sight(sight: Sight, config: ModelConfig, batch: int, weight: Tensor) -> None:
    require(isinstance(sight, Sight), "state", "must have a Sight or None", type(sight).__name__)
    n_layers, n_carried = config.n_layers, sight.n_carried
    require(len(sight.carried) == len(sight.own) == n_layers, "sight", f"must have {n_layers} layers", len(sight.carried))
    rule = f"must carry fewer than sliding_len={sight.sliding_len} tokens"
    require(n_carried < sight.sliding_len, "sight", rule, n_carried)
    for number, layer in enumerate(sight.carried):
        has_keys = config.layer_kinds[number] == "attn"
        require((layer is not None) == has_keys, f"sight of layer {number}", "must be keys and values, of attention alone", layer)
        for tensor in layer or ():
            size = (batch, config.kv_heads, n_carried, config.head_dim)
            _check(f"sight of layer {number}", tensor, size, weight.device)
            narrow = torch.promote_types(tensor.dtype, weight.dtype) == weight.dtype
            kept = narrow or torch.is_autocast_enabled(weight.device.type)
            require(kept, f"sight of layer {number}", f"must be {weight.dtype}", tensor.dtype)
    if sight.valid is not None:
        fits = sight.valid.dtype == torch.bool and sight.valid.shape == (batch, n_carried)
        require(
            fits, "sight", f"must mark padding by booleans {[batch, n_carried]}", (sight.valid.dtype, list(sight.valid.shape))
        )
