"""Kinds of fast-weight layers: each against its equations token by token, asleep, streaming, compiled, truncated and saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM, fused
from sleepkit.model.passes import FASTEST, PLAIN
from sleepkit.sleep import Session, SleepConfig, rollout
from tests.support.algorithm1 import algorithm_1
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.compare import assert_close, assert_same_bits
from tests.support.compiling import Counting
from tests.support.doors import take_off_type_checks
from tests.support.gradients import loss_and_gradients
from tests.support.mixers import read_token_by_token
from tests.support.models import (
    assert_same_state,
    assert_states_close,
    fresh_model,
    random_state,
    random_tokens,
    small_config,
    small_model,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "mamba2": {"layers": "attn mamba2 attn mamba2", "key_dim": 3, "value_dim": 5},
    "jet": {"layers": "attn jet attn jet", "key_dim": 3, "value_dim": 5},
    "grouped gdn": {"layers": "attn gdn attn gdn", "n_heads": 4, "n_key_heads": 2, "n_kv_heads": 2, "key_dim": 3},
    "grouped jet": {"layers": "jet attn jet", "n_heads": 4, "n_key_heads": 1, "n_kv_heads": 1, "value_dim": 3},
    "grouped mamba2": {"layers": "mamba2 gdn attn", "n_heads": 4, "n_key_heads": 1, "n_kv_heads": 2},
}
SLEEP = SleepConfig(n_passes=3, window_len=5)


def fast_layer(model: HybridLM) -> int:
    return model.config.fast_layers[0]


@pytest.mark.parametrize("seq_len", [1, 3, 9])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_layer_is_its_equations_token_by_token_in_values_and_gradients(name: str, seq_len: int) -> None:
    model = small_model(**VARIANTS[name])
    number = fast_layer(model)
    mixer, kind = model.layers[number].mixer, model.config.layer_kinds[number]
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, seq_len, model.config.width, generator=generator, dtype=torch.float64)
    leaves = [x, random_state(model, 2).fast_weights[number], *mixer.parameters()]
    results = []
    for run in (lambda x, s: mixer(x, s)[:2], lambda x, s: read_token_by_token(mixer, kind, x, s)):
        given = [leaf.detach().requires_grad_() for leaf in leaves[:2]]
        out, state = run(*given)
        pull = (out * out.detach().roll(1)).sum() + state.square().sum()
        results.append((out, state, *torch.autograd.grad(pull, [*given, *leaves[2:]])))
    names = ["out", "state", "d x", "d state", *(f"d {name}" for name, _ in mixer.named_parameters())]
    for what, actual, expected in zip(names, *results, strict=True):
        assert_close(actual, expected, what=what)


@pytest.mark.parametrize("n_passes", [1, 2, 3])
@pytest.mark.parametrize("loop", ["all", (1, 2)])
@pytest.mark.parametrize("name", VARIANTS)
def test_consolidation_leaves_the_state_of_whole_passes(name: str, loop: Any, n_passes: int) -> None:
    model = small_model(loop=loop, **VARIANTS[name])
    state, hidden = random_state(model, 2), model.embed(random_tokens(2, 6))
    whole = model.blocks(hidden, state, n_passes)
    assert_same_state(model.consolidate(hidden, state, n_passes), whole.state)


def algorithm_1_gradients(model: HybridLM, tokens: Tensor, *, n_asked: int, n_passes: int) -> dict[str, Tensor]:
    logits, _ = algorithm_1(model, tokens, window_len=5, n_asked=n_asked, n_passes=n_passes)
    asked = ask_at_the_end(tokens, n_asked).targets[:, -n_asked:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), asked.flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True))


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_rollout_has_the_gradients_of_algorithm_1(name: str, n_passes: int) -> None:
    model, tokens = small_model(**VARIANTS[name]), random_tokens(2, 14)
    expected = algorithm_1_gradients(model, tokens, n_asked=3, n_passes=n_passes)
    _, gradients = loss_and_gradients(model, ask_at_the_end(tokens, 3), SLEEP.replace(n_passes=n_passes))
    for what, gradient in gradients.items():
        assert_close(gradient, expected[what], tolerance=1e-12, what=f"gradient of {what}")
        assert gradient.any(), what


@pytest.mark.parametrize("loop", ["all", (1, 2)])
@pytest.mark.parametrize("name", VARIANTS)
def test_streaming_equals_the_rollout_in_any_pieces(name: str, loop: Any) -> None:
    model, tokens = small_model(loop=loop, **VARIANTS[name]), random_tokens(2, 14)
    expected = rollout(model, ask_at_the_end(tokens, 4), SLEEP)
    session = Session(model, SLEEP, batch_size=2)
    for piece in tokens[:, :10].split([1, 2, 4, 3], dim=1):
        session.read(piece)
    logits = torch.cat([session.read(piece) for piece in tokens[:, 10:].split([1, 3], dim=1)], dim=1)
    assert_close(logits, expected.logits[:, 10:], what="logits")
    assert_states_close(session.state, expected.state)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_session_and_a_saved_model_go_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    model, tokens = small_model(**VARIANTS[name]), random_tokens(1, 15)
    session = Session(model, SLEEP)
    session.read(tokens[:, :8])
    session.save(tmp_path / "session")
    model.save(tmp_path / "model")
    twin = Session.load(tmp_path / "session", HybridLM.load(tmp_path / "model"))
    assert_same_bits(twin.read(tokens[:, 8:]), session.read(tokens[:, 8:]))
    assert_same_state(twin.state, session.state)


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_on_the_left_changes_neither_answers_nor_state(name: str) -> None:
    model, batch = small_model(**VARIANTS[name]), ask_at_the_end(random_tokens(2, 8), 3)
    expected, actual = rollout(model, batch, SLEEP), rollout(model, pad_left(batch, 4), SLEEP.replace(window_len=9))
    with pytest.raises(AssertionError):  # other windows: the comparison sees a difference
        assert_states_close(actual.state, rollout(model, pad_left(batch, 4), SLEEP.replace(window_len=6)).state)
    assert_close(actual.logits[:, -3:], expected.logits[:, -3:], what="logits")
    assert_states_close(actual.state, expected.state)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_truncated_gradient_still_reaches_earlier_windows_and_changes_no_value(name: str) -> None:
    model, batch = small_model(**VARIANTS[name]), ask_at_the_end(random_tokens(2, 14), 3)
    start = random_state(model, 2).map(lambda layer: layer.requires_grad_())
    whole = rollout(model, batch, SLEEP, state=start)
    truncated = rollout(model, batch, SLEEP, state=start, gradient_passes=1)
    assert_same_bits(truncated.loss, whole.loss)
    for number in model.config.fast_layers:
        (gradient,) = torch.autograd.grad(truncated.loss, [start.fast_weights[number]], retain_graph=True)
        assert gradient.any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mamba2", "jet", "grouped gdn"])
def test_compiled_blocks_give_the_gradients_of_eager_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_off_type_checks(monkeypatch)
    batch = stack(pad_left(ask_at_the_end(random_tokens(1, 10), 4), 2), ask_at_the_end(random_tokens(1, 12, seed=1), 4))
    backend, made = Counting(), fresh_model(**VARIANTS[name])
    made.compile_blocks(backend=backend)
    _, expected = loss_and_gradients(small_model(**VARIANTS[name]), batch, SLEEP, gradient_passes=1)
    _, gradients = loss_and_gradients(made, batch, SLEEP, gradient_passes=1)
    for what, gradient in gradients.items():
        assert_close(gradient, expected[what], tolerance=1e-12, what=f"gradient of {what}")
    assert backend.n_graphs > 0


@pytest.mark.parametrize("name", VARIANTS)
def test_the_block_in_c_is_not_taken_and_the_modules_run(name: str) -> None:
    model = fresh_model(**VARIANTS[name])
    hidden, state = model.embed(random_tokens(2, 6)), random_state(model, 2)
    number = fast_layer(model)
    refused = [number, *(model.config.layer_kinds.index(kind) for kind in ["attn"] if model.config.n_kv_heads)]
    for layer in refused:
        why = fused.prepared(model.layers[layer], hidden, state.fast_weights[layer], None, None)
        assert isinstance(why, str)
        assert "the kernel knows" in why or "share keys" in why
    results = []
    for functions in (PLAIN, FASTEST):
        model._functions = functions
        results.append(model.run_layers(hidden, state, (number, number + 1)))
    assert_same_bits(results[1][0], results[0][0])
    assert_same_state(results[1][1], results[0][1])


def test_mamba2_has_the_parameters_of_gdn_and_leaves_another_state() -> None:
    plain, delta = (small_model(layers=f"attn {kind}") for kind in ("mamba2", "gdn"))
    assert {name: p.shape for name, p in plain.named_parameters()} == {name: p.shape for name, p in delta.named_parameters()}
    twin = fresh_model(layers="attn mamba2")
    twin.load_state_dict(delta.state_dict())
    hidden, state = delta.embed(random_tokens(2, 6)), delta.initial_state(2)
    with pytest.raises(AssertionError, match="state of layer 1"):
        assert_states_close(twin.blocks(hidden, state).state, delta.blocks(hidden, state).state, tolerance=1e-3)


def test_a_new_jet_layer_begins_as_a_fixed_convolution() -> None:
    """Whatever the token, the taps are those of the bias, and within the bound of Gated DeltaNet's."""
    taps = HybridLM(small_config(layers="jet")).layers[0].mixer.taps
    made = taps(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)))
    assert_same_bits(made, taps.up.bias.view(8, 4).expand(2, 3, 8, 4))
    assert 0.25 < taps.up.bias.abs().max() <= 4**-0.5


def test_queries_and_keys_of_a_jet_layer_see_their_own_token_alone_and_its_values_three_more() -> None:
    model = small_model(layers="jet", width=8, n_heads=1)
    mixer = model.layers[0].mixer
    projected = torch.randn(1, 6, mixer.qkv.out_features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, 6, 8, dtype=torch.float64)
    projected.requires_grad_()
    for part, reach in zip(mixer._convolved(x, projected, None)[:2], (1, 4), strict=True):
        (gradient,) = torch.autograd.grad(part[:, 5].sum(), projected)
        assert gradient[0].any(dim=1).tolist() == [token > 5 - reach for token in range(6)]


@pytest.mark.parametrize("kind", ["gdn", "jet", "mamba2"])
def test_grouped_heads_equal_as_many_heads_with_the_same_keys(kind: str) -> None:
    """Heads 0, 1 share the first query and key, heads 2, 3 the second: copying their rows gives an ungrouped model."""
    grouped = small_model(layers=kind, n_heads=4, n_key_heads=2)
    full = fresh_model(layers=kind, n_heads=4)
    weights = dict(grouped.state_dict())
    for name in ("qkv.weight", *(["conv"] if kind != "jet" else [])):
        both, value = weights[f"layers.0.mixer.{name}"].split([8, 8])
        copied = both.unflatten(0, (2, 2, 2)).repeat_interleave(2, dim=1).flatten(0, 2)
        weights[f"layers.0.mixer.{name}"] = torch.cat([copied, value])
    full.load_state_dict(weights)
    hidden, state = grouped.embed(random_tokens(2, 6)), random_state(grouped, 2)
    actual, expected = grouped.blocks(hidden, state, 2), full.blocks(hidden, state, 2)
    assert_close(actual.hidden, expected.hidden, what="hidden")
    assert_states_close(actual.state, expected.state)


def test_grouped_query_attention_equals_as_many_heads_with_the_same_keys_and_values() -> None:
    grouped = small_model(layers="attn attn", n_heads=4, n_kv_heads=2)
    full = fresh_model(layers="attn attn", n_heads=4)
    weights = dict(grouped.state_dict())
    for layer in (0, 1):
        query, rest = weights[f"layers.{layer}.mixer.qkv.weight"].split([8, 8])
        copied = rest.unflatten(0, (2, 2, 2)).repeat_interleave(2, dim=1).flatten(0, 2)
        weights[f"layers.{layer}.mixer.qkv.weight"] = torch.cat([query, copied])
    full.load_state_dict(weights)
    hidden, views = grouped.embed(random_tokens(2, 6)), ([], [])
    state = grouped.initial_state(2)
    actual, expected = (m.blocks(hidden, state, observe=v.append) for m, v in zip((grouped, full), views, strict=True))
    assert_close(actual.hidden, expected.hidden, what="hidden")
    assert_close(views[0][0].attention[1], views[1][0].attention[1], what="attention weights")
    assert grouped.empty_cache(2).layers[0].keys.shape[1] == 2


def test_negative_eigenvalues_are_refused_where_there_is_no_delta_correction() -> None:
    with pytest.raises(InvalidInputError, match=r"^allow_negative_eigenvalues: must be false where layers name mamba2"):
        small_config(layers="gdn mamba2", allow_negative_eigenvalues=True)
