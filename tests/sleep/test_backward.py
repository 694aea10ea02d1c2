"""What the backward keeps, makes again and leaves out: checkpointing and truncation, which never change a forward value."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from sleepkit import zoo
from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM, ModelState
from sleepkit.sleep import SleepConfig, rollout
from sleepkit.tasks import Batch
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.compare import assert_close, assert_same_bits
from tests.support.doors import as_users_call_it
from tests.support.gradients import assert_same_gradients, error_and_cosine, loss_and_gradients
from tests.support.memory import LiveBytes
from tests.support.models import assert_same_state, layers_of, random_state, random_tokens, small_model

LOOPED = ("all", (1, 3), (0, 2), (2, 4))


def ragged_batch() -> Batch:
    """Two examples of different lengths: windows that are whole, partly padding, and padding alone for one of them."""
    short, long = ask_at_the_end(random_tokens(1, 7), 3), ask_at_the_end(random_tokens(1, 16, seed=1), 3)
    return stack(pad_left(short, 9), long)


@pytest.mark.parametrize("mode", ["pass", "window"])
@pytest.mark.parametrize("n_passes", [1, 2, 4])
@pytest.mark.parametrize("loop", LOOPED)
def test_checkpointing_changes_no_bit_of_loss_state_or_gradient(loop: Any, n_passes: int, mode: Any) -> None:
    model, batch, sleep = small_model(loop=loop), ragged_batch(), SleepConfig(n_passes=n_passes, window_len=4)
    assert [window.padded for window in rollout(model, batch, sleep).windows] == [True, True, True, False, False]
    expected_loss, expected = loss_and_gradients(model, batch, sleep)
    loss, gradients = loss_and_gradients(model, batch, sleep, checkpointing=mode)
    assert_same_bits(loss, expected_loss, what="loss")
    assert_same_gradients(gradients, expected)
    whole, again = (rollout(model, batch, sleep, checkpointing=each) for each in ("none", mode))
    assert_same_state(again.state, whole.state)
    assert_same_bits(again.logits, whole.logits, what="logits")


@pytest.mark.parametrize("mode", ["pass", "window"])
@pytest.mark.parametrize(
    "truncation", [{"gradient_passes": 2}, {"gradient_windows": 1}, {"gradient_passes": 1, "gradient_windows": 2}]
)
def test_checkpointing_changes_no_bit_of_a_truncated_gradient(truncation: dict[str, int], mode: Any) -> None:
    model, batch, sleep = small_model(loop=(1, 3)), ragged_batch(), SleepConfig(n_passes=4, window_len=4)
    _, expected = loss_and_gradients(model, batch, sleep, **truncation)
    _, gradients = loss_and_gradients(model, batch, sleep, **truncation, checkpointing=mode)
    assert_same_gradients(gradients, expected)


@pytest.mark.parametrize("mode", ["pass", "window"])
def test_checkpointing_hands_the_gradient_on_to_the_state_before(mode: Any) -> None:
    model, tokens = small_model(), random_tokens(2, 8)
    starts = [layer.requires_grad_() for layer in layers_of(random_state(model, 2))]

    def gradients(checkpointing: Any) -> tuple[Tensor, ...]:
        weights = iter(starts)
        state = model.initial_state(2).map(lambda _: next(weights))
        after = rollout(model, tokens, SleepConfig(n_passes=3, window_len=4), state=state, checkpointing=checkpointing).state
        return torch.autograd.grad(sum(layer.square().sum() for layer in layers_of(after)), starts)

    for actual, expected in zip(gradients(mode), gradients("none"), strict=True):
        assert_same_bits(actual, expected)


def kept_and_peak(n_windows: int, mode: Any) -> tuple[int, int]:
    """Bytes alive between forward and backward, and the most during backward."""
    model, batch = small_model(width=32, n_heads=4), ask_at_the_end(random_tokens(2, 16 * n_windows + 3), 3)
    with LiveBytes() as live:
        loss = rollout(model, batch, SleepConfig(n_passes=4, window_len=16), checkpointing=mode).loss
        kept, live.peak = live.now, 0
        torch.autograd.grad(loss, list(model.parameters()))
    return kept, live.peak


def test_live_bytes_are_those_that_operations_made_and_nobody_dropped() -> None:
    given = torch.ones(100, dtype=torch.float64)
    with LiveBytes() as live:
        doubled = 2 * given
        assert live.now == 800
        view = doubled[:3]
        del doubled
        assert live.now == 800
        del view
        assert (live.now, live.peak) == (0, 800)


def test_each_kind_of_checkpointing_keeps_less_than_the_one_before() -> None:
    everything, by_pass, by_window = (kept_and_peak(8, mode) for mode in ("none", "pass", "window"))
    assert by_pass[0] <= everything[0] / 10
    assert by_pass[1] <= everything[1] / 7
    assert by_window[0] <= by_pass[0] / 2
    assert by_window[1] <= by_pass[1]


def test_what_one_more_window_keeps_is_what_the_docstring_says() -> None:
    state = small_model(width=32, n_heads=4).initial_state(2).n_bytes
    residual_stream = 2 * 16 * 32 * 8
    grows = {mode: kept_and_peak(8, mode)[0] - kept_and_peak(7, mode)[0] for mode in ("pass", "window")}
    assert grows["window"] == state
    assert grows["pass"] <= 4 * (state + residual_stream)


@pytest.mark.parametrize("loop", LOOPED)
@pytest.mark.parametrize("n_passes", [1, 3])
def test_a_gradient_of_no_fewer_passes_and_windows_than_there_are_is_the_whole_one(loop: Any, n_passes: int) -> None:
    model, batch, sleep = small_model(loop=loop), ragged_batch(), SleepConfig(n_passes=n_passes, window_len=4)
    expected_loss, expected = loss_and_gradients(model, batch, sleep)
    for passes, windows in itertools.product((None, n_passes, 9), (None, 4, 9)):
        loss, gradients = loss_and_gradients(model, batch, sleep, gradient_passes=passes, gradient_windows=windows)
        assert_same_bits(loss, expected_loss, what="loss")
        assert_same_gradients(gradients, expected)


@pytest.mark.parametrize(
    "truncation", [{"gradient_passes": 1}, {"gradient_windows": 1}, {"gradient_passes": 2, "gradient_windows": 2}]
)
@pytest.mark.parametrize("loop", LOOPED)
def test_truncation_changes_no_value_of_the_forward(loop: Any, truncation: dict[str, int]) -> None:
    model, batch, sleep = small_model(loop=loop), ragged_batch(), SleepConfig(n_passes=3, window_len=4)
    whole, truncated = rollout(model, batch, sleep), rollout(model, batch, sleep, **truncation)
    assert_same_bits(truncated.loss, whole.loss, what="loss")
    assert_same_state(truncated.state, whole.state)


def written_by_constants(model: HybridLM, number: int, hidden: Tensor, before: Tensor) -> Tensor:
    """What a layer writes as a function of the state alone: its parameters and its input are constants."""
    layer = model.layers[number]
    frozen = {name: parameter.detach() for name, parameter in layer.mixer.named_parameters()}
    read = layer.mixer_norm(hidden).detach()
    return functional_call(layer.mixer, frozen, (read, before))[1]


def algorithm_1_with_truncation(model: HybridLM, tokens: Tensor, *, passes: int, windows: int) -> Tensor:
    """Algorithm 1 with 3 passes over windows of 4 tokens, every cut written out; returns the logits of the last 3 tokens."""
    state = model.initial_state(tokens.shape[0])
    slept = tokens[:, :-3].split(4, dim=1)
    for number, window in enumerate(slept):
        if number < len(slept) - windows:
            state = rollout(model, window, SleepConfig(n_passes=3, window_len=4), state=state).state.detach()
            continue
        hidden = model.embed(window)
        for n_pass in (1, 2, 3):
            if n_pass > 3 - passes:
                hidden, state = model.blocks(hidden, state)
                continue
            hidden, fast = hidden.detach(), list(state.fast_weights)
            for layer in range(model.config.n_layers):
                given = ModelState(tuple(None if weights is None else weights.detach() for weights in fast))
                if fast[layer] is not None:
                    fast[layer] = written_by_constants(model, layer, hidden, fast[layer])
                hidden = model.run_layers(hidden, given, (layer, layer + 1))[0].detach()
            state = ModelState(tuple(fast))
    hidden, _ = model.blocks(model.embed(tokens[:, -3:]), state)
    return model.head(hidden)


@pytest.mark.parametrize(("passes", "windows"), [(3, 1), (3, 2), (2, 3), (1, 3), (1, 2), (3, 3)])
@pytest.mark.parametrize("layers", ["attn gdn attn gdn", "gdn attn", "gdn gdn"])
def test_a_truncated_gradient_is_that_of_a_loop_with_every_cut_written_out(layers: str, passes: int, windows: int) -> None:
    model, tokens = small_model(layers=layers), random_tokens(2, 15)
    batch = ask_at_the_end(tokens, 3)
    logits = algorithm_1_with_truncation(model, tokens, passes=passes, windows=windows)
    expected_loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets[:, -3:].flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    expected = torch.autograd.grad(expected_loss, parameters, materialize_grads=True)
    sleep = SleepConfig(n_passes=3, window_len=4)
    _, gradients = loss_and_gradients(model, batch, sleep, gradient_passes=passes, gradient_windows=windows)
    for name, gradient in zip(names, expected, strict=True):
        assert_close(gradients[name], gradient, tolerance=1e-13, what=f"gradient of {name}")


def test_windows_before_the_last_ones_get_no_gradient_and_the_last_ones_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By gradient with respect to the embedded tokens of each of four windows slept on, and of the question."""
    model, batch = small_model(), ask_at_the_end(random_tokens(1, 19), 3)
    embed, sleep = model.embed, SleepConfig(n_passes=3, window_len=4)

    def by_window(**options: int) -> list[Tensor]:
        embedded: list[Tensor] = []

        def keep(tokens: Tensor) -> Tensor:
            embedded.append(embed(tokens).detach().requires_grad_())
            return embedded[-1]

        with monkeypatch.context() as patch:
            patch.setattr(model, "embed", keep)
            loss = rollout(model, batch, sleep, **options).loss
        return list(torch.autograd.grad(loss, embedded, materialize_grads=True))

    whole, truncated = by_window(), by_window(gradient_windows=2)
    assert all(gradient.any() for gradient in whole)
    assert [bool(gradient.any()) for gradient in truncated] == [False, False, True, True, True]
    for actual, expected in zip(truncated[2:], whole[2:], strict=True):
        assert_same_bits(actual, expected)


def test_fewer_passes_leave_the_path_of_the_fast_weights_through_earlier_windows_open() -> None:
    """The last pass over the first of three windows still gets a gradient: through a chain of writes, and only there."""
    model, tokens = small_model(layers="gdn"), random_tokens(1, 15)
    starts = [layer.requires_grad_() for layer in layers_of(random_state(model, 1))]
    state = ModelState((starts[0],))
    sleep = SleepConfig(n_passes=3, window_len=4)
    loss = rollout(model, ask_at_the_end(tokens, 3), sleep, state=state, gradient_passes=1).loss
    (through,) = torch.autograd.grad(loss, starts)
    assert through.any()


def mid_sized_gradients(model: HybridLM, batch: Batch, sleep: SleepConfig) -> tuple[list[tuple[float, float]], ...]:
    """Error and cosine of truncated gradients: by k = 1..N of passes, by j = 1..4 of windows."""
    _, whole = loss_and_gradients(model, batch, sleep)
    by_passes = [
        error_and_cosine(loss_and_gradients(model, batch, sleep, gradient_passes=k)[1], whole)
        for k in range(1, sleep.n_passes + 1)
    ]
    by_windows = [error_and_cosine(loss_and_gradients(model, batch, sleep, gradient_windows=j)[1], whole) for j in range(1, 5)]
    return by_passes, by_windows


def assert_closer_and_closer(measured: list[tuple[float, float]], *, worst: float) -> None:
    errors, cosines = ([pair[i] for pair in measured] for i in (0, 1))
    assert errors == sorted(errors, reverse=True)
    assert cosines == sorted(cosines)
    assert errors[0] <= worst
    assert cosines[0] > 0
    assert len(set(errors)) == len(errors)
    assert errors[-1] == 0
    assert cosines[-1] == pytest.approx(1)


def test_the_truncated_gradient_of_an_untrained_model_nears_the_whole_one() -> None:
    card = zoo.load_card("rule110-explorer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HybridLM(card.settings.model.replace(layers="attn gdn attn gdn")).double()
    by_passes, by_windows = mid_sized_gradients(model, card.task.batch("train", 0, 16), card.sleep)
    assert_closer_and_closer(by_passes, worst=0.4)
    assert_closer_and_closer(by_windows, worst=0.15)


def test_the_truncated_gradient_of_the_bundled_model_points_the_same_way() -> None:
    """A model that thinks in its first passes: leaving those out leaves little, but never the opposite."""
    model, card = zoo.load("rule110-explorer")
    by_passes, by_windows = mid_sized_gradients(model.double(), card.task.batch("train", 0, 32), card.sleep)
    assert all(error < 1 and cosine > 0 for error, cosine in by_passes + by_windows)
    assert by_passes[-1][0] == by_windows[-1][0] == 0


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("name", ["gradient_passes", "gradient_windows"])
def test_a_gradient_of_no_passes_or_windows_is_refused(name: str, value: object) -> None:
    options: Any = {name: value}
    with pytest.raises(InvalidInputError, match=rf"^{name}: must be None or an integer >= 1, got {value!r}$"):
        as_users_call_it(rollout)(small_model(), random_tokens(1, 8), SleepConfig(window_len=4), **options)


@pytest.mark.parametrize("value", [0, -2, 2.0, True])
def test_a_model_refuses_to_consolidate_with_a_gradient_of_no_passes(value: object) -> None:
    model = small_model()
    hidden, state, options = model.embed(random_tokens(1, 4)), model.initial_state(1), {"gradient_passes": value}
    with pytest.raises(InvalidInputError, match=rf"^gradient_passes: must be an integer >= 1, got {value!r}$"):
        as_users_call_it(HybridLM.consolidate)(model, hidden, state, 2, **options)


def test_a_model_refuses_to_observe_passes_that_it_makes_again() -> None:
    model = small_model()
    with pytest.raises(InvalidInputError, match=r"^observe: must be None where passes are recomputed, got "):
        model.blocks(model.embed(random_tokens(1, 4)), model.initial_state(1), observe=print, recompute=True)


def test_an_unknown_kind_of_checkpointing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^checkpointing: must be one of 'none', 'pass', 'window', got 'layer'$"):
        as_users_call_it(rollout)(small_model(), random_tokens(1, 8), SleepConfig(window_len=4), checkpointing="layer")


@pytest.mark.parametrize("option", [{"checkpointing": "pass"}, {"gradient_passes": 1}, {"gradient_windows": 3}])
def test_a_trace_of_passes_that_are_cut_or_made_again_is_refused(option: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{next(iter(option))}: must be .* where a trace is asked for, got "):
        rollout(small_model(), random_tokens(1, 8), SleepConfig(window_len=4), trace=lambda *_: None, **option)


def test_without_a_gradient_the_settings_of_the_backward_change_nothing() -> None:
    model, batch, sleep = small_model(), ragged_batch(), SleepConfig(n_passes=3, window_len=4)
    with torch.no_grad():
        plain = rollout(model, batch, sleep)
        other = rollout(model, batch, sleep, checkpointing="window", gradient_passes=1, gradient_windows=1)
    assert_same_state(other.state, plain.state)
    assert not any(layer.requires_grad for layer in layers_of(other.state))
