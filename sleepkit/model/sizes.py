"""Parameters, FLOPs and bytes, from the configuration alone. A multiply-add counts as two FLOPs."""

from sleepkit.model.config import FAST_KINDS, ModelConfig
from sleepkit.model.jet import tap_channels


def n_parameters(config: ModelConfig) -> int:
    """Count the trained parameters."""
    width, heads = config.width, config.n_heads
    mlp = width * config.mlp_channels * (3 if config.mlp == "swiglu" else 2)
    mixer = {"attn": 2 * width * (width + _kv_channels(config)) + 2 * config.head_dim}
    for kind in FAST_KINDS:
        keys, values = _fast_channels(config)
        projections = width * (2 * keys + 3 * values + 2 * heads)
        mixer[kind] = projections + _tap_parameters(config, kind) + config.value_channels + 2 * heads
    tables = config.vocab_size * width * (1 if config.tie_embeddings else 2)
    between = width * (config.input_injection + config.loop_norm)
    return tables + width + between + sum(mixer[kind] + mlp + 2 * width for kind in config.layer_kinds)


def state_bytes(config: ModelConfig, *, batch_size: int = 1) -> int:
    """Bytes of the fast weights (fp32) and of carried tails (of an fp32 model): all that survives hard eviction."""
    cells = config.n_heads * config.key_channels * config.value_channels * len(config.fast_layers)
    if config.carry_conv:
        cells += (config.conv_len - 1) * sum(config.conv_channels(config.layer_kinds[number]) for number in config.fast_layers)
    return 4 * batch_size * cells


def kv_cache_bytes(config: ModelConfig, *, window_len: int, batch_size: int = 1, bytes_per_value: int = 4) -> int:
    """Bytes of keys and values of a full window: what an eviction throws away."""
    return 2 * batch_size * window_len * _kv_channels(config) * bytes_per_value * config.layer_kinds.count("attn")


def flops_per_token(config: ModelConfig, *, window_len: int, n_passes: int = 1) -> int:
    """Forward FLOPs of one token in a window of ``window_len``, head left out: the looped span counts ``n_passes`` times.

    Matrix products only. Attention counts the causal half; the fast weights count the recurrent form of Eq. 3 (read of the
    old value, write, read-out: 6 K V a head; 4 K V without the delta correction, which alone reads the old value), which no
    chunked form can undercut.
    """
    start, stop = config.loop_span
    per_layer = [_layer_flops(config, kind, window_len) for kind in config.layer_kinds]
    once = sum(per_layer[:start]) + sum(per_layer[stop:])
    return once + n_passes * sum(per_layer[start:stop])


def _layer_flops(config: ModelConfig, kind: str, window_len: int) -> int:
    width = config.width
    mlp = 2 * width * config.mlp_channels * (3 if config.mlp == "swiglu" else 2)
    if kind == "attn":
        return mlp + 2 * 2 * width * (width + _kv_channels(config)) + 2 * width * (window_len + 1)
    keys, values = _fast_channels(config)
    projections = 2 * width * (2 * keys + 3 * values + 2 * config.n_heads)
    convolution = 2 * config.conv_len * config.conv_channels(kind)
    if kind == "jet":
        convolution += 2 * tap_channels(values) * (width + values * config.conv_len)
    steps = 4 if kind == "mamba2" else 6
    return mlp + projections + convolution + steps * config.n_heads * config.key_channels * config.value_channels


def _fast_channels(config: ModelConfig) -> tuple[int, int]:
    """Channels of the keys and of the values of fast weights, all heads together."""
    return config.key_heads * config.key_channels, config.n_heads * config.value_channels


def _kv_channels(config: ModelConfig) -> int:
    """Channels of the keys of attention, and as many of the values, all heads together."""
    return config.kv_heads * config.head_dim


def _tap_parameters(config: ModelConfig, kind: str) -> int:
    taps = config.conv_channels(kind) * config.conv_len
    if kind != "jet":
        return taps
    hidden = tap_channels(config.conv_channels(kind))
    return hidden * (config.width + taps) + taps
