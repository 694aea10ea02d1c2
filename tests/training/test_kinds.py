"""Baselines, other kinds of layers and ablations as they are trained and used; and the model of Figure 3."""

from typing import Any

import pytest
import torch

from sleepkit.experiments import presets
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.model.sizes import flops_per_token, n_parameters, state_bytes
from sleepkit.sleep import Session, SleepConfig, rollout
from sleepkit.training import build_model, train
from sleepkit.training.optimiser import split_parameters
from tests.support.batches import ask_at_the_end
from tests.support.compare import assert_close, assert_same_bits
from tests.support.models import assert_states_close, random_tokens, small_config, small_model
from tests.support.runs import tiny_settings

BASELINES = ("attn attn", "gdn gdn", "mamba2 mamba2")
MODELS: dict[str, dict[str, Any]] = {
    **{layers: {"layers": layers} for layers in (*BASELINES, "attn jet")},
    "grouped heads": {"layers": "attn gdn", "n_heads": 4, "n_key_heads": 2, "n_kv_heads": 1},
    "ablations": {"layers": "attn jet mamba2", "input_injection": True, "loop_norm": True, "carry_conv": True},
}


@pytest.mark.parametrize("name", MODELS)
def test_three_steps_of_training_move_every_parameter(name: str, tmp_path: Any) -> None:
    model = ModelConfig(**{"vocab_size": 5, "width": 16, "n_heads": 2, "mlp_ratio": 2.0, **MODELS[name]})
    sleep = SleepConfig(n_passes=2, window_len=7)
    settings = tiny_settings(model=model, sleep=sleep, steps=3, n_passes_weights=None)
    before, run = build_model(settings).state_dict(), train(settings, folder=tmp_path / "run", progress=False)
    for what, tensor in run.model.state_dict().items():
        assert bool(tensor.isfinite().all()), what
        assert not torch.equal(tensor, before[what]), what
    assert bool((run.history.gradient_norm > 0).all())


def test_matrices_of_the_tap_generator_go_to_muon_and_what_is_between_passes_to_adamw_without_decay() -> None:
    groups = split_parameters(HybridLM(small_config(**MODELS["ablations"])))
    assert {"layers.1.mixer.taps.down.weight", "layers.1.mixer.taps.up.weight"} <= groups["muon"].keys()
    assert {"layers.1.mixer.taps.up.bias", "loop_norm.weight", "injection"} <= groups["adamw_undecayed"].keys()


@pytest.mark.parametrize("layers", BASELINES)
def test_a_baseline_streams_as_it_is_rolled_out(layers: str) -> None:
    model, tokens, sleep = small_model(layers=layers), random_tokens(2, 14), SleepConfig(n_passes=3, window_len=5)
    expected, session = rollout(model, ask_at_the_end(tokens, 4), sleep), Session(model, sleep, batch_size=2)
    for piece in tokens[:, :10].split([1, 5, 4], dim=1):
        session.read(piece)
    assert_close(session.read(tokens[:, 10:]), expected.logits[:, 10:], what="logits")
    assert_states_close(session.state, expected.state)


def test_a_pure_transformer_carries_nothing_out_of_a_window() -> None:
    """Hard eviction leaves it no memory: its answers are the same to the bit whatever was read before and whatever N.

    A question of which nothing can be known from the question alone is then answered no better than by the best constant.
    """
    model, question = small_model(layers="attn attn"), random_tokens(2, 4, seed=1)
    answers = []
    for seed, n_passes in ((2, 1), (3, 1), (2, 4)):
        tokens = torch.cat([random_tokens(2, 10, seed=seed), question], dim=1)
        result = rollout(model, ask_at_the_end(tokens, 4), SleepConfig(n_passes=n_passes, window_len=5))
        assert (result.state.fast_weights, result.state.n_bytes) == ((None, None), 0)
        answers.append(result.logits[:, -4:])
    assert_same_bits(answers[1], answers[0])
    assert_same_bits(answers[2], answers[0])
    session = Session(model, SleepConfig(n_passes=4, window_len=5), batch_size=2)
    session.read(random_tokens(2, 10))
    assert session.n_bytes == 0
    fast = small_model(layers="attn gdn")
    contexts = (torch.cat([random_tokens(2, 10, seed=seed), question], dim=1) for seed in (2, 3))
    one, other = (rollout(fast, ask_at_the_end(t, 4), SleepConfig(n_passes=1, window_len=5)).logits[:, -4:] for t in contexts)
    assert not torch.equal(one, other)


def test_the_model_of_figure_3_has_ten_layers_of_width_512_and_sleeps_on_a_window() -> None:
    settings = presets.get("fig3", size="paper", n_passes=2)
    config = settings.model
    assert (config.width, config.layer_kinds) == (512, ("attn", "jet") * 5)
    model = HybridLM(config)
    assert n_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    looped = [flops_per_token(config, window_len=75, n_passes=n) for n in (1, 2, 4)]
    assert looped == [looped[0], 2 * looped[0], 4 * looped[0]]
    with torch.no_grad():
        state = model.consolidate(model.embed(random_tokens(1, 6)), model.initial_state(1), settings.sleep.n_passes)
        hidden, after = model.blocks(model.embed(random_tokens(1, 3)), state)
    assert state.n_bytes == state_bytes(config) == 5 * 8 * 64 * 64 * 4
    assert all(bool(layer.any()) for layer in state.fast_weights if layer is not None)
    assert bool(model.head(hidden).isfinite().all())
    assert after.n_bytes == state.n_bytes
