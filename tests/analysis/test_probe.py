"""The linear probe finds what is linear, and nothing else; the anatomy agrees with the rollout it looks at."""

import numpy as np
import pytest
import torch

from sleepkit import zoo
from sleepkit.analysis.anatomy import anatomy, effective_rank
from sleepkit.analysis.probe import probe_accuracy
from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.sleep import SleepConfig, rollout
from sleepkit.tasks import Rule110, Rule110Config


def halves(features: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(features) // 2
    return features[:n], bits[:n], features[n:], bits[n:]


def test_a_bit_that_is_linear_in_the_features_is_found_and_their_parity_is_not() -> None:
    source = np.random.default_rng(0)
    bits = source.integers(0, 2, (2000, 6))
    features = bits @ source.normal(size=(6, 40)) + 0.01 * source.normal(size=(2000, 40))
    wanted = np.stack([bits[:, 0], bits[:, 1] ^ bits[:, 2] ^ bits[:, 3]], axis=1)
    linear, parity = probe_accuracy(*halves(features, wanted))
    assert linear == 1.0
    assert 0.4 < parity < 0.6


def test_noise_that_outnumbers_the_examples_is_not_fitted() -> None:
    source = np.random.default_rng(1)
    features, bits = source.normal(size=(600, 500)), source.integers(0, 2, (600, 3))
    features[:, 0] = 3.0 * (2.0 * bits[:, 0] - 1)
    found = probe_accuracy(*halves(features, bits))
    assert found[0] > 0.8
    assert (np.abs(found[1:] - 0.5) < 0.12).all()


def test_a_feature_that_never_changes_does_no_harm() -> None:
    bits = np.arange(40)[:, None] % 2
    assert probe_accuracy(*halves(np.concatenate([bits, np.ones_like(bits)], axis=1).astype(float), bits)) == [1.0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="features, bits: must be"):
        probe_accuracy(np.zeros((20, 3)), np.zeros((19, 1)), np.zeros((5, 3)), np.zeros((5, 1)))


def test_the_effective_rank_counts_equal_directions() -> None:
    matrices = np.stack([np.zeros((4, 4)), np.ones((4, 4)), np.eye(4), np.diag([2.0, 2.0, 0.0, 0.0])])
    np.testing.assert_allclose(effective_rank(matrices), [0, 1, 4, 2])


def test_norms_are_those_of_the_state_that_a_rollout_leaves() -> None:
    torch.manual_seed(0)
    task = Rule110(Rule110Config(width=6, n_strings=1, rollout_depth=(1, 2)))
    model = HybridLM(ModelConfig(vocab_size=5, width=16, n_heads=2, layers="gdn attn gdn"))
    seen = anatomy(model, task, n_passes=3, depth=2, n_examples=40)
    asked = Rule110(task.config.replace(depth_weights=(0.0, 1.0)))
    batch = asked.batch("test", 0, 20)
    context = batch.tokens[:, : task.context_len]
    with torch.no_grad():
        state = rollout(model, context, SleepConfig(n_passes=3, window_len=task.window_len)).state
    for place, layer in enumerate((0, 2)):
        weights = state.fast_weights[layer]
        assert weights is not None
        norm = weights.double().flatten(2).norm(dim=-1).mean(dim=0).numpy()
        np.testing.assert_allclose(seen.norm.sel(sleep_pass=3).isel(layer=place), norm, rtol=1e-5)
    assert seen.layer.values.tolist() == [0, 2]
    assert seen.found.shape == (3, 3, 6)


def test_the_bundled_model_computes_its_answer_asleep() -> None:
    model, card = zoo.load("rule110-explorer")
    assert isinstance(card.task, Rule110)
    seen = anatomy(model, card.task, n_passes=3, depth=5, n_examples=600)
    answer = seen.found.isel(automaton_step=-1, cell=0)
    assert float(answer.sel(sleep_pass=3)) > 0.9
    assert float(answer.sel(sleep_pass=3)) > float(answer.sel(sleep_pass=1)) + 0.05
    assert float(seen.found_in_input.isel(automaton_step=-1, cell=0)) < 0.7
    assert float(seen.found_in_input.isel(automaton_step=0).min()) == 1.0


def test_a_depth_the_task_never_asks_is_refused() -> None:
    model, card = zoo.load("rule110-explorer")
    assert isinstance(card.task, Rule110)
    with pytest.raises(InvalidInputError, match="depth: must be one of"):
        anatomy(model, card.task, n_passes=2, depth=11)
