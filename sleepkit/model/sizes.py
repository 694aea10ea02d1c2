"""Parameters, FLOPs and bytes, from the configuration alone. A multiply-add counts as two FLOPs."""

from sleepkit.model.config import ModelConfig


def n_parameters(config: ModelConfig) -> int:
    """Count the trained parameters."""
    width, heads = config.width, config.n_heads
    keys, values = heads * config.key_channels, heads * config.value_channels
    mlp = width * config.mlp_channels * (3 if config.mlp == "swiglu" else 2)
    mixer = {
        "attn": 4 * width * width + 2 * config.head_dim,
        "gdn": (2 * keys + values) * (width + config.conv_len)
        + 2 * heads * width
        + 2 * width * values
        + config.value_channels
        + 2 * heads,
    }
    tables = config.vocab_size * width * (1 if config.tie_embeddings else 2)
    return tables + width + sum(mixer[kind] + mlp + 2 * width for kind in config.layer_kinds)


def state_bytes(config: ModelConfig, *, batch_size: int = 1) -> int:
    """Bytes of the fast weights (fp32): all that survives hard eviction."""
    per_layer = config.n_heads * config.key_channels * config.value_channels * 4
    return batch_size * per_layer * config.layer_kinds.count("gdn")


def kv_cache_bytes(config: ModelConfig, *, window_len: int, batch_size: int = 1, bytes_per_value: int = 4) -> int:
    """Bytes of keys and values of a full window: what an eviction throws away."""
    return 2 * batch_size * window_len * config.width * bytes_per_value * config.layer_kinds.count("attn")


def flops_per_token(config: ModelConfig, *, window_len: int, n_passes: int = 1) -> int:
    """Forward FLOPs of one token in a window of ``window_len``, head left out: the looped span counts ``n_passes`` times.

    Matrix products only. Attention counts the causal half; the fast weights count the recurrent form of Eq. 3 (read of the
    old value, write, read-out: 6 K V a head), which no chunked form can undercut.
    """
    start, stop = config.loop_span
    per_layer = [_layer_flops(config, kind, window_len) for kind in config.layer_kinds]
    once = sum(per_layer[:start]) + sum(per_layer[stop:])
    return once + n_passes * sum(per_layer[start:stop])


def _layer_flops(config: ModelConfig, kind: str, window_len: int) -> int:
    width = config.width
    mlp = 2 * width * config.mlp_channels * (3 if config.mlp == "swiglu" else 2)
    if kind == "attn":
        return mlp + 2 * 4 * width * width + 2 * width * (window_len + 1)
    keys, values = config.n_heads * config.key_channels, config.n_heads * config.value_channels
    projections = 2 * width * (2 * keys + 3 * values + 2 * config.n_heads) + 2 * config.conv_len * (2 * keys + values)
    return mlp + projections + 6 * config.n_heads * config.key_channels * config.value_channels
