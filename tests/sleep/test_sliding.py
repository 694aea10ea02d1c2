"""Sliding eviction: held against masks over the whole sequence, and what follows from a sight of L - 1 tokens."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM, ModelState, PassView
from sleepkit.sleep import SleepConfig, Window, rollout
from sleepkit.tasks import PAD, Batch
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.compare import assert_close, assert_same_bits
from tests.support.gradients import assert_same_gradients, error_and_cosine, loss_and_gradients
from tests.support.models import LOOPS, assert_states_close, fresh_model, random_tokens, seen_in, small_model
from tests.support.sliding import MaskedModel, sliding_algorithm_1

STACKS = ("attn gdn attn gdn", "gdn attn gdn attn", "attn attn", "gdn gdn")


def sliding(n_passes: int, window_len: int) -> SleepConfig:
    return SleepConfig(n_passes=n_passes, window_len=window_len, eviction="sliding")


def ragged_batch() -> Batch:
    """Two examples of different lengths: windows that are whole, partly padding, and padding alone for one of them."""
    short, long = ask_at_the_end(random_tokens(1, 7), 3), ask_at_the_end(random_tokens(1, 16, seed=1), 3)
    return stack(pad_left(short, 9), long)


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    context_len=st.integers(0, 13),
    n_asked=st.integers(1, 3),
    window_len=st.integers(3, 6),
    loop=st.sampled_from(LOOPS),
    layers=st.sampled_from(["attn gdn attn gdn", "gdn attn gdn attn", "attn attn attn attn", "gdn gdn gdn gdn"]),
    n_passes=st.integers(1, 4),
)
def test_rollout_equals_masks_over_the_whole_sequence(
    context_len: int, n_asked: int, window_len: int, loop: str | tuple[int, int], layers: str, n_passes: int
) -> None:
    model, tokens = small_model(loop=loop, layers=layers), random_tokens(2, context_len + n_asked)
    shape = {"window_len": window_len, "n_asked": n_asked, "n_passes": n_passes}
    logits, fast_weights = sliding_algorithm_1(model, tokens, **shape)
    result = rollout(model, ask_at_the_end(tokens, n_asked), sliding(n_passes, window_len))
    assert_close(result.logits[:, context_len:], logits, tolerance=1e-12, what="logits")
    assert_states_close(result.state, ModelState(tuple(fast_weights)), tolerance=1e-12)


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize("layers", STACKS)
def test_windows_of_one_token_see_nothing_but_themselves(layers: str, n_passes: int) -> None:
    model, batch = small_model(layers=layers), ask_at_the_end(random_tokens(2, 6), 1)
    hard = rollout(model, batch, SleepConfig(n_passes=n_passes, window_len=1))
    assert_close(rollout(model, batch, sliding(n_passes, 1)).loss, hard.loss, tolerance=1e-13, what="loss")


def test_one_pass_of_attention_alone_is_one_forward_over_the_sequence_with_a_banded_mask() -> None:
    model, tokens = small_model(layers="attn attn attn"), random_tokens(2, 23)
    reader = MaskedModel(model, torch.ones_like(tokens, dtype=torch.bool), 5)
    dense = model.head(reader.window(tokens, 1))
    assert_close(rollout(model, ask_at_the_end(tokens, 3), sliding(1, 5)).logits[:, 20:], dense[:, 20:], tolerance=1e-13)


def test_the_two_evictions_differ_and_a_single_window_makes_them_equal() -> None:
    model = small_model()
    for n_tokens, same in ((3, True), (9, False)):
        batch = ask_at_the_end(random_tokens(2, n_tokens), 3)
        hard = rollout(model, batch, SleepConfig(n_passes=3, window_len=4)).logits[:, -3:]
        seen = rollout(model, batch, sliding(3, 4)).logits[:, -3:]
        assert ((hard - seen).abs().max() < 1e-12) == same


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_one_pass_of_attention_alone_sees_back_l_minus_1_tokens_in_every_layer_and_no_further(n_layers: int) -> None:
    model = small_model(layers=" ".join(["attn"] * n_layers))
    assert reaching_back(model, random_tokens(1, 40), sliding(1, 4)) == set(range(3 * n_layers + 1))


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_keys_of_the_last_of_several_passes_carry_on_what_no_number_of_layers_bounds(n_layers: int) -> None:
    model = small_model(layers=" ".join(["attn"] * n_layers))
    assert max(reaching_back(model, random_tokens(1, 40), sliding(2, 4))) > 2 * 3 * n_layers


def reaching_back(model: HybridLM, tokens: Tensor, sleep: SleepConfig) -> set[int]:
    """Return the distances at which a changed token moves the logits of the last position."""
    seq_len = tokens.shape[1]
    changed = tokens.repeat(seq_len, 1)
    changed[torch.arange(seq_len), torch.arange(seq_len)] = (tokens[0] + 1) % 7
    batch = ask_at_the_end(torch.cat([tokens, changed]), 1)
    last = rollout(model, batch, sleep).logits[:, -1]
    return {seq_len - 1 - int(n) for n in ((last[1:] - last[0]).abs().amax(dim=1) > 1e-13).nonzero()[:, 0]}


@pytest.mark.parametrize("layers", ["attn gdn attn gdn", "attn attn"])
def test_answers_depend_on_no_later_token(layers: str) -> None:
    model, tokens = small_model(layers=layers), random_tokens(1, 12)
    other = tokens.clone()
    other[0, 10] = (other[0, 10] + 1) % 7
    one, two = (rollout(model, ask_at_the_end(each, 4), sliding(3, 4)).logits[0, 8:] for each in (tokens, other))
    assert_same_bits(two[:2], one[:2])
    assert (two[2:] != one[2:]).any(dim=-1).all()


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize("layers", STACKS)
def test_an_example_in_a_batch_of_mixed_lengths_is_answered_as_if_alone(layers: str, n_passes: int) -> None:
    model, sleep = small_model(layers=layers), sliding(n_passes, 4)
    batch = ragged_batch()
    both = rollout(model, batch, sleep)
    expected, fast_weights = sliding_algorithm_1(
        model, batch.tokens, window_len=4, n_asked=3, n_passes=n_passes, valid_BT=batch.segment != PAD
    )
    assert_close(both.logits[:, -3:], expected, tolerance=1e-12, what="logits")
    assert_states_close(both.state, ModelState(tuple(fast_weights)), tolerance=1e-12)
    long = rollout(model, batch.rows(1, 2), sleep)
    assert_close(both.logits[1:, -3:], long.logits[:, -3:], what="logits")


@pytest.mark.parametrize("layers", STACKS)
def test_padding_on_the_left_changes_no_answer(layers: str) -> None:
    model, sleep = small_model(layers=layers), sliding(3, 4)
    batch = ask_at_the_end(random_tokens(2, 11), 3)
    expected, actual = rollout(model, batch, sleep), rollout(model, pad_left(batch, 8), sleep)
    assert_close(actual.logits[:, -3:], expected.logits[:, -3:], what="logits")
    assert_states_close(actual.state, expected.state)


@pytest.mark.parametrize("loop", ["all", (1, 3)])
def test_a_rollout_goes_on_from_the_state_that_another_left(loop: str | tuple[int, int]) -> None:
    model, sleep, tokens = small_model(loop=loop), sliding(3, 4), random_tokens(2, 15)
    whole = rollout(model, ask_at_the_end(tokens, 3), sleep)
    memory = rollout(model, tokens[:, :8], sleep).state
    resumed = rollout(model, ask_at_the_end(tokens[:, 8:], 3), sleep, state=memory)
    assert_same_bits(resumed.logits[:, -3:], whole.logits[:, -3:])
    assert memory.sight.n_carried == 3


def test_the_state_of_the_other_eviction_is_refused() -> None:
    model, tokens = small_model(), random_tokens(2, 8)
    hard, seen = SleepConfig(window_len=4), sliding(1, 4)
    with pytest.raises(InvalidInputError, match="state: must be of sliding_len 4, got None"):
        rollout(model, tokens, seen, state=rollout(model, tokens, hard).state)
    with pytest.raises(InvalidInputError, match="state: must be of sliding_len None, got 4"):
        rollout(model, tokens, hard, state=rollout(model, tokens, seen).state)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("layers", ["attn gdn attn gdn", "gdn attn gdn attn"])
def test_every_gradient_equals_that_of_masks_over_the_whole_sequence(loop: str | tuple[int, int], layers: str) -> None:
    model, tokens = small_model(loop=loop, layers=layers), random_tokens(2, 13)
    names, parameters = zip(*model.named_parameters(), strict=True)
    batch = ask_at_the_end(tokens, 3)
    logits, _ = sliding_algorithm_1(model, tokens, window_len=4, n_asked=3, n_passes=3)
    expected = torch.autograd.grad(logits.square().sum(), parameters, materialize_grads=True)
    actual = torch.autograd.grad(
        rollout(model, batch, sliding(3, 4)).logits[:, 10:].square().sum(), parameters, materialize_grads=True
    )
    for name, one, other in zip(names, actual, expected, strict=True):
        assert_close(one, other, tolerance=1e-11, what=f"gradient of {name}")


def test_the_gradient_crosses_windows_through_keys_alone_where_there_are_no_fast_weights() -> None:
    model, batch = small_model(layers="attn attn"), ask_at_the_end(random_tokens(2, 11), 3)
    _, whole = loss_and_gradients(model, batch, sliding(2, 4))
    _, cut = loss_and_gradients(model, batch, sliding(2, 4), gradient_windows=1)
    assert error_and_cosine(cut, whole)[0] > 1e-3


@pytest.mark.parametrize("mode", ["pass", "window"])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("truncation", [{}, {"gradient_passes": 1}, {"gradient_passes": 2, "gradient_windows": 2}])
def test_checkpointing_changes_no_bit_of_a_gradient(loop: str | tuple[int, int], mode: str, truncation: dict[str, int]) -> None:
    model, batch, sleep = small_model(loop=loop), ragged_batch(), sliding(3, 4)
    loss, expected = loss_and_gradients(model, batch, sleep, **truncation)
    again, actual = loss_and_gradients(model, batch, sleep, checkpointing=mode, **truncation)
    assert_same_bits(again, loss, what="loss")
    assert_same_gradients(actual, expected)


@pytest.mark.parametrize("truncation", [{"gradient_passes": 1}, {"gradient_windows": 1}])
@pytest.mark.parametrize("loop", LOOPS)
def test_truncation_changes_no_forward_value(loop: str | tuple[int, int], truncation: dict[str, int]) -> None:
    model, batch, sleep = small_model(loop=loop), ragged_batch(), sliding(3, 4)
    whole, cut = rollout(model, batch, sleep), rollout(model, batch, sleep, **truncation)
    assert_close(cut.loss, whole.loss, tolerance=1e-14, what="loss")
    assert_states_close(cut.state, whole.state, tolerance=1e-14)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("layers", ["attn gdn attn gdn", "gdn attn gdn attn"])
def test_consolidate_leaves_what_blocks_leave(loop: str | tuple[int, int], layers: str) -> None:
    model, tokens = small_model(loop=loop, layers=layers), random_tokens(2, 5)
    before = rollout(model, random_tokens(2, 5, seed=1), sliding(3, 5)).state
    hidden = model.embed(tokens)
    expected, actual = model.blocks(hidden, before, 3).state, model.consolidate(hidden, before, 3)
    assert seen_in(expected)
    assert_states_close(actual, expected, tolerance=1e-14)


@pytest.mark.parametrize("layers", STACKS[:3])
def test_a_trace_shows_what_is_seen_of_earlier_windows_and_changes_nothing(layers: str) -> None:
    model, batch, sleep = small_model(layers=layers), ask_at_the_end(random_tokens(2, 11), 3), sliding(2, 4)
    shapes: dict[tuple[int, int], tuple[int, ...]] = {}

    def watch(number: int, _window: Window, view: PassView) -> None:
        for weights in view.attention.values():
            shapes[number, view.n_pass] = tuple(weights.shape[-2:])
            assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]), what="sum of weights")
            assert ((weights > 0).sum(dim=-1) <= 4).all()

    result = rollout(model, batch, sleep, trace=watch)
    assert_close(result.loss, rollout(model, batch, sleep).loss, tolerance=1e-14, what="loss")
    assert shapes == {(0, 1): (4, 4), (0, 2): (4, 4), (1, 1): (4, 7), (1, 2): (4, 7), (2, 1): (3, 6)}


@pytest.mark.parametrize("window_len", [0, -1, True])
def test_an_impossible_sight_is_refused(window_len: int) -> None:
    with pytest.raises(InvalidInputError, match=f"sliding_len: must be an integer >= 1, got {window_len}"):
        small_model().initial_state(2, sliding_len=window_len)


@pytest.mark.parametrize("checkpointing", ["none", "window"])
def test_autocast_rounds_products_and_nothing_worse(checkpointing: str) -> None:
    model, batch = small_model(dtype=torch.float32), ragged_batch()
    exact = rollout(model, batch, sliding(3, 4)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = rollout(model, batch, sliding(3, 4), checkpointing=checkpointing).loss
    rounded.backward(inputs=list(model.parameters())[:1])
    assert 0 < (rounded - exact).abs() < 0.1


def test_blocks_with_fast_weights_run_as_one_operation_and_give_what_modules_give() -> None:
    fused, modules, batch = fresh_model(dtype=torch.float32), fresh_model(dtype=torch.float32), ragged_batch()
    modules.layers[1].register_forward_hook(lambda *_: None)
    modules.layers[3].register_forward_hook(lambda *_: None)
    one, other = (rollout(model, batch, sliding(3, 4)) for model in (fused, modules))
    assert_close(one.loss, other.loss, tolerance=1e-5, what="loss")
    assert_states_close(one.state, other.state, tolerance=1e-4)
