"""Rollout is Algorithm 1: held against a loop written from the paper, and what follows from hard eviction."""

import pytest
import torch
from torch import Tensor

from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM, PassView
from sleepkit.sleep import SleepConfig, Window, correct_answers, predicted_answers, rollout
from sleepkit.tasks import NOTHING_ASKED, Batch
from tests.support.algorithm1 import algorithm_1
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.compare import assert_close, assert_same_bits
from tests.support.models import assert_same_state, assert_states_close, random_state, random_tokens, small_model

STACKS = ("attn gdn attn gdn", "gdn gdn", "attn attn")


@pytest.mark.parametrize("n_passes", [1, 2, 4])
@pytest.mark.parametrize("layers", STACKS)
def test_rollout_equals_a_loop_written_from_algorithm_1(layers: str, n_passes: int) -> None:
    model, tokens = small_model(layers=layers), random_tokens(3, 14)
    expected, expected_state = algorithm_1(model, tokens, window_len=4, n_asked=3, n_passes=n_passes)
    result = rollout(model, ask_at_the_end(tokens, 3), SleepConfig(n_passes=n_passes, window_len=4))
    assert_close(result.logits[:, 11:], expected, tolerance=1e-14, what="logits")
    assert_states_close(result.state, expected_state, tolerance=1e-14)


def test_plain_tokens_are_slept_on_and_nothing_is_answered() -> None:
    model, tokens = small_model(), random_tokens(2, 10)
    _, expected = algorithm_1(model, tokens, window_len=4, n_asked=0, n_passes=3)
    result = rollout(model, tokens, SleepConfig(n_passes=3, window_len=4))
    assert_states_close(result.state, expected, tolerance=1e-14)
    assert result.loss is None
    with pytest.raises(InvalidInputError, match="batch: asks nothing"):
        _ = result.logits


def test_one_pass_is_the_vanilla_hybrid_that_reads_each_window_once() -> None:
    model, tokens = small_model(), random_tokens(2, 11)
    state = model.initial_state(2)
    for window in tokens.split([4, 4, 3], dim=1):
        hidden, state = model.blocks(model.embed(window), state)
    result = rollout(model, ask_at_the_end(tokens, 3), SleepConfig(n_passes=1, window_len=4))
    assert_same_bits(result.logits[:, 8:], model.head(hidden))
    assert_same_state(result.state, state)


def test_sleeping_longer_changes_the_answers() -> None:
    model, batch = small_model(), ask_at_the_end(random_tokens(2, 11), 3)
    one, four = (rollout(model, batch, SleepConfig(n_passes=n, window_len=4)).logits[:, 8:] for n in (1, 4))
    with pytest.raises(AssertionError):
        assert_close(four, one, tolerance=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_the_mean_cross_entropy_over_what_is_asked(dtype: torch.dtype) -> None:
    batch = ask_at_the_end(random_tokens(3, 11), 4)
    batch.targets[0, 8] = NOTHING_ASKED
    result = rollout(small_model(dtype=dtype), batch, SleepConfig(window_len=4))
    asked = batch.targets != NOTHING_ASKED
    log_p = result.logits[asked].double().log_softmax(dim=-1)
    expected = -log_p.gather(1, batch.targets[asked][:, None]).mean()
    assert_close(result.loss, expected, tolerance=1e-10 if dtype == torch.float64 else 2**-22, what="loss")


def test_logits_are_nan_exactly_where_a_window_was_slept_on() -> None:
    logits = rollout(small_model(), ask_at_the_end(random_tokens(2, 11), 3), SleepConfig(window_len=4)).logits
    assert logits.isnan().all(dim=-1).tolist() == logits.isnan().any(dim=-1).tolist() == [[True] * 8 + [False] * 3] * 2


def test_answers_are_right_only_if_all_of_their_tokens_are() -> None:
    model, sleep = small_model(), SleepConfig(window_len=4)
    batch = ask_at_the_end(random_tokens(4, 12), 4)
    two_tokens_each = torch.tensor([0, 0, 1, 1]).expand(4, 4)
    batch.answer_id[:, 8:] = two_tokens_each
    batch.coords["depth"] = torch.zeros(4, 2, dtype=torch.int64)
    best = rollout(model, batch, sleep).logits[:, 8:].argmax(dim=-1)
    wrong = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]])
    batch.targets[:, 8:] = (best + wrong) % 7
    result = rollout(model, batch, sleep)
    assert correct_answers(batch, result).tolist() == [[True, True], [False, True], [True, False], [False, False]]
    predicted = predicted_answers(batch, result)
    assert_same_bits(predicted[:, 8:], best)
    assert (predicted[:, :8] == NOTHING_ASKED).all()


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize("layers", STACKS)
def test_padding_on_the_left_changes_neither_answers_nor_state(layers: str, n_passes: int) -> None:
    model, sleep = small_model(layers=layers), SleepConfig(n_passes=n_passes, window_len=8)
    batch = ask_at_the_end(random_tokens(2, 8), 3)
    expected, actual = rollout(model, batch, sleep), rollout(model, pad_left(batch, 3 + 8), sleep)
    assert [tuple(window) for window in actual.windows] == [(8, 16, True, True), (16, 19, False, False)]
    assert_close(actual.logits[:, -3:], expected.logits[:, -3:], what="logits")
    assert_close(actual.loss, expected.loss, what="loss")
    assert_states_close(actual.state, expected.state)


def test_an_example_in_a_batch_of_mixed_lengths_is_answered_as_if_alone() -> None:
    model, sleep = small_model(), SleepConfig(n_passes=3, window_len=4)
    short, long = ask_at_the_end(random_tokens(1, 7), 3), ask_at_the_end(random_tokens(1, 15, seed=1), 3)
    both = rollout(model, stack(pad_left(short, 8), long), sleep)
    for row, alone in enumerate((short, long)):
        expected = rollout(model, alone, sleep)
        assert_close(both.logits[row : row + 1, -3:], expected.logits[:, -3:], what="logits")
        assert_states_close(both.state.map(lambda layer, row=row: layer[row : row + 1]), expected.state)


def test_the_state_is_all_that_survives_a_window() -> None:
    model, sleep = small_model(), SleepConfig(n_passes=2, window_len=4)
    tokens = random_tokens(2, 11)
    whole = rollout(model, ask_at_the_end(tokens, 3), sleep)
    memory = rollout(model, tokens[:, :8], sleep).state
    resumed = rollout(model, ask_at_the_end(tokens[:, 8:], 3), sleep, state=memory)
    assert_same_bits(resumed.logits, whole.logits[:, 8:])
    assert_same_state(resumed.state, whole.state)


def gradient_of_answers(model: HybridLM, batch: Batch, monkeypatch: pytest.MonkeyPatch, *, cut_memory: bool) -> list[Tensor]:
    """Return d answers / d embeddings per window; with ``cut_memory`` every window starts from an empty, detached state."""
    embedded: list[Tensor] = []
    embed, blocks = model.embed, model.blocks

    def keep(tokens: Tensor) -> Tensor:
        embedded.append(embed(tokens).detach().requires_grad_())
        return embedded[-1]

    def forget(hidden: Tensor, state: object, *rest: object, **named: object) -> object:
        return blocks(hidden, model.initial_state(batch.size), *rest, **named)

    monkeypatch.setattr(model, "embed", keep)
    monkeypatch.setattr(model, "blocks", forget if cut_memory else blocks)
    result = rollout(model, batch, SleepConfig(n_passes=2, window_len=4))
    return list(torch.autograd.grad(result.logits[:, 8:].square().sum(), embedded, materialize_grads=True))


def test_answers_depend_on_evicted_tokens_only_through_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = small_model(), ask_at_the_end(random_tokens(1, 11), 3)
    with monkeypatch.context() as patch:
        first, second, question = gradient_of_answers(model, batch, patch, cut_memory=False)
    assert first.any(dim=2).all()
    assert second.any(dim=2).all()
    assert question.any()
    with monkeypatch.context() as patch:
        first, second, question = gradient_of_answers(model, batch, patch, cut_memory=True)
    assert not first.any()
    assert not second.any()
    assert question.any()


def test_a_stack_of_attention_forgets_every_evicted_token(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = small_model(layers="attn attn"), ask_at_the_end(random_tokens(1, 11), 3)
    first, second, question = gradient_of_answers(model, batch, monkeypatch, cut_memory=False)
    assert not first.any()
    assert not second.any()
    assert question.any()


@pytest.mark.parametrize("loop", ["all", (1, 3)])
def test_gradients_through_windows_and_passes_equal_finite_differences(loop: str | tuple[int, int]) -> None:
    model, batch = small_model(loop=loop), ask_at_the_end(random_tokens(1, 8), 2)

    def loss(*starts: Tensor) -> Tensor:
        weights = iter(starts)
        state = model.initial_state(1).map(lambda _: next(weights))
        return rollout(model, batch, SleepConfig(n_passes=2, window_len=3), state=state).loss

    starts = tuple(layer.requires_grad_() for layer in random_state(model, 1).fast_weights if layer is not None)
    assert torch.autograd.gradcheck(loss, starts, fast_mode=True)


def test_a_trace_shows_every_pass_of_every_window_and_changes_nothing() -> None:
    model, batch, sleep = small_model(), ask_at_the_end(random_tokens(2, 11), 3), SleepConfig(n_passes=3, window_len=4)
    seen: list[tuple[int, int, PassView]] = []

    def watch(number: int, window: Window, view: PassView) -> None:
        seen.append((number, window.start, view))

    result = rollout(model, batch, sleep, trace=watch)
    steps = [(number, start, view.n_pass) for number, start, view in seen]
    assert steps == [(0, 0, 1), (0, 0, 2), (0, 0, 3), (1, 4, 1), (1, 4, 2), (1, 4, 3), (2, 8, 1)]
    assert_same_state(seen[-1][2].state, result.state)
    assert_same_bits(result.logits, rollout(model, batch, sleep).logits)


@pytest.mark.parametrize("token", [-1, 7])
def test_tokens_outside_the_vocabulary_are_refused(token: int) -> None:
    tokens = random_tokens(1, 6)
    tokens[0, 3] = token
    with pytest.raises(InvalidInputError, match=rf"tokens: must lie in the model's vocabulary \[0, 7\), got {token}"):
        rollout(small_model(), tokens, SleepConfig(window_len=4))


def test_a_label_block_longer_than_the_window_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="window_len: must hold the label block of 4 tokens, got 3"):
        rollout(small_model(), ask_at_the_end(random_tokens(1, 9), 4), SleepConfig(window_len=3))
