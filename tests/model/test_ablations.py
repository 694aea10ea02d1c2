"""Ablations: input injection, norm between passes, carried short convolution; each against Algorithm 1 by hand."""

from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.model import HybridLM, ModelState
from sleepkit.sleep import Session, SleepConfig, rollout
from tests.support.algorithm1 import algorithm_1_by_hand
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.compare import assert_close, assert_same_bits
from tests.support.compiling import Counting
from tests.support.doors import take_off_type_checks
from tests.support.gradients import assert_same_gradients, loss_and_gradients
from tests.support.models import (
    assert_same_state,
    assert_states_close,
    fresh_model,
    random_state,
    random_tokens,
    small_config,
    small_model,
)

ABLATIONS: dict[str, dict[str, Any]] = {
    "injection": {"input_injection": True},
    "norm": {"loop_norm": True},
    "carried": {"carry_conv": True},
    "all": {"input_injection": True, "loop_norm": True, "carry_conv": True, "layers": "attn jet mamba2 gdn"},
}
SLEEP = SleepConfig(n_passes=3, window_len=5)


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize("loop", ["all", (1, 3)])
@pytest.mark.parametrize("name", [*ABLATIONS, "none"])
def test_a_rollout_is_algorithm_1_by_hand_in_answers_state_and_gradients(name: str, loop: Any, n_passes: int) -> None:
    model, tokens = small_model(loop=loop, **ABLATIONS.get(name, {})), random_tokens(2, 15)
    batch, sleep = ask_at_the_end(tokens, 3), SLEEP.replace(n_passes=n_passes)
    logits, state = algorithm_1_by_hand(model, tokens, window_len=5, n_asked=3, n_passes=n_passes)
    result = rollout(model, batch, sleep)
    assert_close(result.logits[:, -3:], logits, what="logits")
    assert_states_close(result.state, state)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets[:, -3:].flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    expected = torch.autograd.grad(loss, parameters, materialize_grads=True)
    _, gradients = loss_and_gradients(model, batch, sleep)
    for what, gradient in zip(names, expected, strict=True):
        assert_close(gradients[what], gradient, tolerance=1e-12, what=f"gradient of {what}")
        between = what == "injection" or what.startswith("loop_norm")
        assert bool(gradient.any()) == (n_passes > 1 or not between), what


@pytest.mark.parametrize("n_passes", [1, 2, 3])
@pytest.mark.parametrize("loop", ["all", (1, 3), (0, 2)])
@pytest.mark.parametrize("name", ABLATIONS)
def test_consolidation_leaves_the_state_of_whole_passes(name: str, loop: Any, n_passes: int) -> None:
    model = small_model(loop=loop, **ABLATIONS[name])
    state, hidden = random_state(model, 2), model.embed(random_tokens(2, 6))
    assert_same_state(model.consolidate(hidden, state, n_passes), model.blocks(hidden, state, n_passes).state)


@hypothesis.given(
    name=st.sampled_from(list(ABLATIONS)),
    context_len=st.integers(1, 14),
    window_len=st.integers(4, 7),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    loop=st.sampled_from(["all", (1, 3), (0, 2), (2, 4)]),
    n_passes=st.integers(1, 3),
)
def test_reading_in_any_pieces_and_sleeping_equals_rollout(
    name: str, context_len: int, window_len: int, sizes: list[int], loop: Any, n_passes: int
) -> None:
    model, tokens = small_model(loop=loop, **ABLATIONS[name]), random_tokens(2, context_len + 3)
    sleep = SleepConfig(n_passes=n_passes, window_len=window_len)
    expected = rollout(model, ask_at_the_end(tokens, 3), sleep)
    session, start = Session(model, sleep, batch_size=2), 0
    while start < context_len:
        stop = min(context_len, start + sizes[start % len(sizes)])
        session.read(tokens[:, start:stop])
        start = stop
    session.sleep()
    assert_close(session.read(tokens[:, context_len:]), expected.logits[:, context_len:], what="logits")
    assert_states_close(session.state, expected.state)


@pytest.mark.parametrize("n_read", [0, 3, 5, 8])
@pytest.mark.parametrize("name", ABLATIONS)
def test_a_saved_session_and_a_saved_model_go_on_bit_for_bit(tmp_path: Path, name: str, n_read: int) -> None:
    model, tokens = small_model(loop=(1, 3), **ABLATIONS[name]), random_tokens(2, 17)
    session = Session(model, SLEEP, batch_size=2)
    session.read(tokens[:, :n_read])
    session.save(tmp_path / "session")
    model.save(tmp_path / "model")
    twin = Session.load(tmp_path / "session", HybridLM.load(tmp_path / "model"))
    assert (twin.n_bytes, twin.cache_len) == (session.n_bytes, session.cache_len)
    assert_same_bits(twin.read(tokens[:, n_read:]), session.read(tokens[:, n_read:]))
    assert_same_state(twin.state, session.state)


@pytest.mark.parametrize(("name", "part"), [("injection", "entered"), ("carried", "state.tail.1")])
def test_a_session_saved_without_what_an_ablation_needs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, part: str
) -> None:
    session = Session(small_model(**ABLATIONS[name]), SLEEP)
    session.read(random_tokens(1, 3))
    without = session._tensors()
    del without[part]
    monkeypatch.setattr(session, "_tensors", lambda: without)
    session.save(tmp_path / "session")
    with pytest.raises(CheckpointError, match="path: must be a whole sleepkit session"):
        Session.load(tmp_path / "session", session.model)


@pytest.mark.parametrize("name", ["injection", "norm"])
def test_one_pass_is_the_vanilla_hybrid_to_the_bit_and_more_are_not(name: str) -> None:
    ablated, plain = small_model(**ABLATIONS[name]), fresh_model()
    plain.load_state_dict(ablated.state_dict(), strict=False)
    hidden, state = plain.embed(random_tokens(2, 6)), random_state(plain, 2)
    one, other = ablated.blocks(hidden, state), plain.blocks(hidden, state)
    assert_same_bits(one.hidden, other.hidden)
    assert_same_state(one.state, other.state)
    with pytest.raises(AssertionError, match="state of layer"):
        assert_states_close(ablated.blocks(hidden, state, 2).state, plain.blocks(hidden, state, 2).state, tolerance=1e-3)


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_model_without_the_ablation_has_its_parameters_but_the_new_ones_and_draws_them_alike(name: str) -> None:
    changes = {key: value for key, value in ABLATIONS[name].items() if key == "layers"}
    models = []
    for options in (changes, ABLATIONS[name]):
        torch.manual_seed(3)
        models.append(HybridLM(small_config(**options)).state_dict())
    new = models[1].keys() - models[0].keys()
    assert new == {
        key for key, flag in (("injection", "input_injection"), ("loop_norm.weight", "loop_norm")) if flag in ABLATIONS[name]
    }
    for key, tensor in models[0].items():
        assert_same_bits(models[1][key], tensor, what=key)


@pytest.mark.parametrize("layers", ["gdn", "jet", "mamba2", "gdn jet mamba2"])
def test_fast_weights_with_a_carried_convolution_read_windows_as_if_they_were_one(layers: str) -> None:
    """Nothing is cut between windows then, for N = 1 and a stack without attention; without the tail something is."""
    tokens, cut = random_tokens(2, 11), SleepConfig(n_passes=1, window_len=3)
    carried, plain = small_model(layers=layers, carry_conv=True), small_model(layers=layers)
    one = rollout(carried, tokens, cut.replace(window_len=11)).state
    assert_states_close(rollout(carried, tokens, cut).state, one)
    assert one.conv_tails != ()
    first = [ModelState(rollout(model, tokens, cut).state.fast_weights) for model in (carried, plain)]
    with pytest.raises(AssertionError, match="state of layer 0"):
        assert_states_close(*first, tolerance=1e-3)


@pytest.mark.parametrize("name", ABLATIONS)
def test_padding_on_the_left_changes_neither_answers_nor_state(name: str) -> None:
    model, batch = small_model(**ABLATIONS[name]), ask_at_the_end(random_tokens(2, 8), 3)
    expected, actual = rollout(model, batch, SLEEP), rollout(model, pad_left(batch, 4), SLEEP.replace(window_len=9))
    assert_close(actual.logits[:, -3:], expected.logits[:, -3:], what="logits")
    assert_states_close(actual.state, expected.state)


@pytest.mark.parametrize("n_pad", [1, 2, 5, 6])
def test_padding_that_begins_a_later_window_does_not_come_between_the_carried_tail_and_the_tokens(n_pad: int) -> None:
    """Also a row of padding alone keeps what it carries, bit for bit."""
    model, tokens = small_model(carry_conv=True), random_tokens(2, 6)
    state = random_state(model, 2)
    valid = torch.stack([torch.arange(6) >= n_pad, torch.ones(6, dtype=torch.bool)])
    _, padded = model.blocks(model.embed(tokens), state, 2, valid_BT=valid)
    alone = state.map(lambda layer: layer[:1])
    expected = alone if n_pad == 6 else model.blocks(model.embed(tokens[:1, n_pad:]), alone, 2).state
    actual = padded.map(lambda layer: layer[:1])
    if n_pad == 6:
        assert_same_state(actual, expected)
    assert_states_close(actual, expected)
    other = model.blocks(model.embed(tokens[1:]), state.map(lambda layer: layer[1:]), 2).state
    assert_states_close(padded.map(lambda layer: layer[1:]), other)


@pytest.mark.parametrize("options", [{"gradient_passes": 1}, {"gradient_windows": 1}, {"gradient_passes": 2}])
@pytest.mark.parametrize("name", ABLATIONS)
def test_a_truncated_gradient_changes_no_value_and_goes_through_the_kept_passes(name: str, options: Any) -> None:
    model, batch = small_model(**ABLATIONS[name]), ask_at_the_end(random_tokens(2, 14), 3)
    loss, gradients = loss_and_gradients(model, batch, SLEEP, **options)
    assert_same_bits(loss, loss_and_gradients(model, batch, SLEEP)[0])
    assert all(gradient.any() for what, gradient in gradients.items() if what != "embedding.weight")
    _, whole = loss_and_gradients(model, batch, SLEEP, gradient_passes=3, gradient_windows=3)
    assert_same_gradients(whole, loss_and_gradients(model, batch, SLEEP)[1])


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_last_pass_alone_has_a_gradient_as_a_pass_written_out_from_constants(name: str) -> None:
    """One window, N = 3, k = 1: two passes without a graph, then the step between passes and one pass with it."""
    model, tokens = small_model(**ABLATIONS[name]), random_tokens(2, 8)
    batch, embedded = ask_at_the_end(tokens, 3), model.embed(tokens[:, :5]).detach()
    with torch.no_grad():
        hidden, state = model.blocks(embedded, model.initial_state(2), 2)
    if model.config.loop_norm:
        hidden = torch.nn.functional.rms_norm(hidden, (8,), model.loop_norm.weight, model.config.norm_eps)
    if model.config.input_injection:
        hidden = hidden + model.injection * embedded
    _, state = model.blocks(hidden, state)
    logits = model.head(model.blocks(model.embed(tokens[:, 5:]), state).hidden)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets[:, 5:].flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    expected = torch.autograd.grad(loss, parameters, materialize_grads=True)
    _, gradients = loss_and_gradients(model, batch, SLEEP, gradient_passes=1)
    for what, gradient in zip(names, expected, strict=True):
        assert_close(gradients[what], gradient, tolerance=1e-12, what=f"gradient of {what}")


@pytest.mark.parametrize("mode", ["pass", "window"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_checkpointing_changes_no_bit(name: str, mode: Any) -> None:
    model, batch = small_model(**ABLATIONS[name]), ask_at_the_end(random_tokens(2, 14), 3)
    _, expected = loss_and_gradients(model, batch, SLEEP)
    assert_same_gradients(loss_and_gradients(model, batch, SLEEP, checkpointing=mode)[1], expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["injection", "all"])
def test_compiled_blocks_give_the_gradients_of_eager_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_off_type_checks(monkeypatch)
    batch = stack(pad_left(ask_at_the_end(random_tokens(1, 10), 4), 2), ask_at_the_end(random_tokens(1, 12, seed=1), 4))
    options = {**ABLATIONS[name], "layers": "attn jet"}
    backend, made = Counting(), fresh_model(**options)
    made.compile_blocks(backend=backend)
    _, expected = loss_and_gradients(small_model(**options), batch, SLEEP)
    _, gradients = loss_and_gradients(made, batch, SLEEP)
    for what, gradient in gradients.items():
        assert_close(gradient, expected[what], tolerance=1e-12, what=f"gradient of {what}")
    assert backend.n_graphs > 0


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_under_autocast_what_is_carried_keeps_its_dtype() -> None:
    model, tokens = small_model(dtype=torch.float32, **ABLATIONS["all"]), random_tokens(2, 13)
    with torch.autocast("cpu", torch.bfloat16):
        result = rollout(model, ask_at_the_end(tokens, 3), SLEEP)
    kept = [layer for layer in (*result.state.fast_weights, *result.state.conv_tails) if layer is not None]
    assert {layer.dtype for layer in kept} == {torch.float32}
    exact = rollout(small_model(**ABLATIONS["all"]), ask_at_the_end(tokens, 3), SLEEP)
    assert_close(result.loss, exact.loss, tolerance=2**-4, what="loss")


def test_going_on_after_pass_1_needs_what_entered_the_span() -> None:
    model = small_model(input_injection=True)
    hidden, state = model.embed(random_tokens(1, 4)), model.initial_state(1)
    read, after = model.blocks(hidden, state)
    expected = model.blocks(hidden, state, 3).state
    assert_same_state(model.consolidate(read, after, 3, first_pass=2, entered_BTE=hidden), expected)
    with pytest.raises(InvalidInputError, match=r"^entered: must be given to inject it after pass 1, got None"):
        model.consolidate(read, after, 3, first_pass=2)


@pytest.mark.parametrize("change", [{"n_key_heads": 1}, {"n_kv_heads": 1}, *list(ABLATIONS.values())[:3]])
def test_settings_that_came_later_count_in_the_digest_where_they_are_used(change: dict[str, Any]) -> None:
    default = small_config()
    assert small_config(n_key_heads=None, loop_norm=False).digest() == default.digest()
    assert small_config(**change).digest() != default.digest()
