"""Parameters, bytes and FLOPs counted from the configuration equal those of the model itself."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sleepkit import ops
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.sizes import flops_per_token, kv_cache_bytes, n_parameters, state_bytes
from tests.support.models import random_tokens, small_config, small_model

# Drawn as plain options and built inside the tests: the type checks of the suite draw from ``random``, which a strategy may not.
configs = st.builds(
    dict,
    vocab_size=st.integers(1, 9),
    width=st.sampled_from([4, 8, 12]),
    layers=st.lists(st.sampled_from(["attn", "gdn", "jet", "mamba2"]), min_size=1, max_size=4).map(" ".join),
    n_heads=st.just(2),
    n_key_heads=st.sampled_from([None, 1, 2]),
    n_kv_heads=st.sampled_from([None, 1, 2]),
    key_dim=st.none() | st.integers(1, 5),
    value_dim=st.none() | st.integers(1, 5),
    conv_len=st.integers(1, 5),
    mlp=st.sampled_from(["relu2", "swiglu"]),
    mlp_ratio=st.sampled_from([0.5, 1.3, 4.0]),
    tie_embeddings=st.booleans(),
    input_injection=st.booleans(),
    loop_norm=st.booleans(),
    carry_conv=st.booleans(),
)


@hypothesis.given(options=configs)
def test_the_parameter_count_equals_the_model_s(options: dict[str, Any]) -> None:
    config = ModelConfig(**options)
    assert n_parameters(config) == sum(parameter.numel() for parameter in HybridLM(config).parameters())


@hypothesis.given(options=configs, batch_size=st.integers(1, 3))
def test_the_state_bytes_equal_the_state_s(options: dict[str, Any], batch_size: int) -> None:
    config = ModelConfig(**options)
    assert state_bytes(config, batch_size=batch_size) == HybridLM(config).initial_state(batch_size).n_bytes


@pytest.mark.parametrize("n_kv_heads", [None, 1])
def test_the_kv_cache_bytes_equal_those_of_a_full_window(n_kv_heads: int | None) -> None:
    model = small_model(dtype=torch.float32, n_kv_heads=n_kv_heads)
    state, cache = model.initial_state(2), model.empty_cache(2)
    _, _, cache = model.run_layers(model.embed(random_tokens(2, 6)), state, (0, 4), cache=cache)
    held = sum(
        t.nbytes for layer, kind in zip(cache.layers, model.config.layer_kinds, strict=True) if kind == "attn" for t in layer
    )
    assert kv_cache_bytes(model.config, window_len=6, batch_size=2) == held


@pytest.mark.parametrize("mlp", ["relu2", "swiglu"])
@pytest.mark.parametrize("layers", ["attn", "gdn", "attn gdn gdn", "jet", "mamba2 jet"])
def test_flops_of_projections_and_mlps_equal_torch_s_count(layers: str, mlp: str) -> None:
    """torch counts the products of every nn.Linear; ours leaves the rest over, and the rest is known in closed form."""
    config = small_config(layers=layers, mlp=mlp, key_dim=3, value_dim=5, n_heads=4, n_key_heads=2, n_kv_heads=1)
    model, window_len = HybridLM(config), 6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for module in model.layers.modules():
            if isinstance(module, nn.Linear):
                module(torch.zeros(window_len, module.in_features))
    linear = counter.get_total_flops() // window_len
    keys, values, cells = 2 * 3, 4 * 5, 4 * 3 * 5
    fixed = 2 * config.conv_len * (2 * keys + values)
    rest = {
        "attn": 2 * config.width * (window_len + 1),  # the causal half
        "gdn": fixed + 6 * cells,
        "mamba2": fixed + 4 * cells,
        "jet": 2 * config.conv_len * values + 6 * cells,  # the generator of its taps is made of nn.Linear
    }
    expected = linear + sum(rest[kind] for kind in config.layer_kinds)
    assert flops_per_token(config, window_len=window_len) == expected


def test_flops_of_causal_attention_are_half_of_torch_s_full_square() -> None:
    config, window_len = small_config(layers="attn"), 64
    heads = torch.zeros(1, config.n_heads, window_len, config.head_dim)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _ = ops.attention_weights(heads, heads) @ heads
    square = counter.get_total_flops()
    mlp = 2 * 2 * config.width * config.mlp_channels
    ours = flops_per_token(config, window_len=window_len) - 2 * 4 * config.width**2 - mlp
    assert square == 4 * config.width * window_len**2
    assert ours * window_len * 2 == square + 4 * config.width * window_len  # the half and the diagonal


@pytest.mark.parametrize(("loop", "looped"), [("all", 4), ((1, 3), 2), ((0, 1), 1)])
def test_only_the_looped_span_costs_n_times(loop: str | tuple[int, int], looped: int) -> None:
    config = small_config(layers="gdn gdn gdn gdn", loop=loop)
    one_layer = flops_per_token(small_config(layers="gdn"), window_len=6)
    for n_passes in (1, 2, 5):
        assert flops_per_token(config, window_len=6, n_passes=n_passes) == one_layer * (4 - looped + looped * n_passes)
