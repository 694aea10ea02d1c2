"""Compiled blocks: the numbers of eager ones, one graph for each kind and shape, and a model that stays what it was."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.utils import counters

from sleepkit.model import HybridLM
from sleepkit.sleep import Session, SleepConfig, rollout
from sleepkit.tasks import Batch
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.compare import assert_close, assert_same_bits, largest_error
from tests.support.compiling import Counting
from tests.support.doors import take_off_type_checks
from tests.support.gradients import assert_same_gradients, loss_and_gradients
from tests.support.models import assert_states_close, fresh_model, random_tokens, small_model

# What torch warns of while it traces is between torch and itself, and as an error it would break the tracing.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def no_graph_breaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    take_off_type_checks(monkeypatch)
    counters.clear()
    yield
    assert not counters["graph_break"]


def compiled_model(backend: Any = "aot_eager", **changes: Any) -> HybridLM:
    model = fresh_model(**changes)
    model.compile_blocks(backend=backend)
    return model


def train_step(model: HybridLM, batch: Batch, *, n_passes: int, **options: Any) -> dict[str, torch.Tensor]:
    """Gradients as the training loop takes them: from fast weights that want one."""
    state = model.initial_state(batch.size).map(lambda layer: layer.requires_grad_())
    return loss_and_gradients(model, batch, SleepConfig(n_passes=n_passes, window_len=4), state=state, **options)[1]


@pytest.mark.parametrize(
    ("changes", "n_passes"),
    [
        ({}, 1),
        ({"loop": (1, 3)}, 3),
        ({"layers": "gdn attn"}, 2),
        ({"layers": "gdn", "mlp": "swiglu", "tie_embeddings": True}, 2),
    ],
)
def test_compiled_blocks_give_the_loss_state_and_gradients_of_eager_ones(changes: dict[str, Any], n_passes: int) -> None:
    short, long = ask_at_the_end(random_tokens(1, 10), 4), ask_at_the_end(random_tokens(1, 12, seed=1), 4)
    batch, sleep = stack(pad_left(short, 2), long), SleepConfig(n_passes=n_passes, window_len=4)
    assert [window.padded for window in rollout(small_model(**changes), batch, sleep).windows] == [True, False, False]
    eager, made = small_model(**changes), compiled_model(**changes)
    expected_loss, expected = loss_and_gradients(eager, batch, sleep)
    loss, gradients = loss_and_gradients(made, batch, sleep)
    assert_close(loss, expected_loss, tolerance=1e-13, what="loss")
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], tolerance=1e-12, what=f"gradient of {name}")
    assert_states_close(rollout(made, batch, sleep).state, rollout(eager, batch, sleep).state, tolerance=1e-13)


@pytest.mark.parametrize("layers", ["attn gdn", "attn gdn attn gdn attn gdn"])
def test_neither_depth_nor_passes_nor_windows_add_a_graph(layers: str) -> None:
    """Both kinds of block over a window and over the question, and the write that ends the last pass: five graphs."""
    backend = Counting()
    model = compiled_model(backend, layers=layers)
    train_step(model, ask_at_the_end(random_tokens(2, 11), 3), n_passes=2)
    assert backend.n_graphs == 5
    for n_passes in (1, 2, 4):
        train_step(model, ask_at_the_end(random_tokens(2, 19), 3), n_passes=n_passes)
    assert backend.n_graphs == 5


def test_a_truncated_gradient_adds_the_graphs_of_passes_without_one_and_no_more() -> None:
    backend, batch = Counting(), ask_at_the_end(random_tokens(2, 19), 3)
    model, eager = compiled_model(backend), small_model()
    train_step(model, batch, n_passes=2)
    for n_passes, options in ((3, {"gradient_passes": 1}), (3, {"gradient_windows": 2}), (4, {"gradient_passes": 2})):
        gradients, expected = (train_step(each, batch, n_passes=n_passes, **options) for each in (model, eager))
        for name, gradient in gradients.items():
            assert_close(gradient, expected[name], tolerance=1e-12, what=f"gradient of {name}")
    assert backend.n_graphs == 5 + 3


def test_evaluation_adds_one_graph_for_each_that_training_has() -> None:
    backend, batch = Counting(), ask_at_the_end(random_tokens(2, 11), 3)
    model = compiled_model(backend)
    train_step(model, batch, n_passes=2)
    with torch.no_grad():
        for n_passes in (1, 2, 4):
            rollout(model, batch, SleepConfig(n_passes=n_passes, window_len=4))
    assert backend.n_graphs == 2 * 5


@pytest.mark.parametrize("mode", ["pass", "window"])
def test_checkpointing_of_compiled_passes_changes_no_bit_and_adds_no_graph(mode: Any) -> None:
    backend, batch = Counting(), ask_at_the_end(random_tokens(2, 11), 3)
    model = compiled_model(backend, layers="attn gdn")
    expected = train_step(model, batch, n_passes=3)
    n_graphs = backend.n_graphs
    assert_same_gradients(train_step(model, batch, n_passes=3, checkpointing=mode), expected)
    assert backend.n_graphs == n_graphs


def test_reading_inside_a_window_compiles_nothing() -> None:
    backend, tokens, sleep = Counting(), random_tokens(1, 6), SleepConfig(n_passes=1, window_len=4)
    model = compiled_model(backend)
    session, expected = Session(model, sleep), Session(small_model(), sleep)
    for token in tokens.split(1, dim=1):
        assert_close(session.read(token), expected.read(token))
    assert backend.n_graphs == 0


def test_compiling_changes_no_name_and_no_file(tmp_path: Path) -> None:
    plain, made = fresh_model(dtype=torch.float32), compiled_model(dtype=torch.float32)
    train_step(made, ask_at_the_end(random_tokens(2, 7), 3), n_passes=1)
    assert list(made.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in made.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert [name for name, _ in made.named_modules()] == [name for name, _ in plain.named_modules()]
    for name, model in (("plain", plain), ("made", made)):
        model.save(tmp_path / name)
    assert (tmp_path / "made/model.safetensors").read_bytes() == (tmp_path / "plain/model.safetensors").read_bytes()
    twin = copy.deepcopy(made)
    assert_same_bits(twin.embedding.weight, made.embedding.weight)


def test_a_model_compiled_and_uncompiled_is_as_it_was() -> None:
    backend, batch = Counting(), ask_at_the_end(random_tokens(2, 11), 3)
    model = compiled_model(backend)
    model.uncompile_blocks()
    assert_same_gradients(train_step(model, batch, n_passes=3), train_step(small_model(), batch, n_passes=3))
    assert backend.n_graphs == 0


def test_graphs_of_one_model_do_not_count_against_another() -> None:
    batch = ask_at_the_end(random_tokens(2, 7), 3)
    first, second = (compiled_model(layers="gdn") for _ in range(2))
    with torch._dynamo.config.patch(recompile_limit=1):
        train_step(first, batch.rows(0, 1), n_passes=1)
        train_step(second, batch, n_passes=1)
        with pytest.raises(FailOnRecompileLimitHit):
            train_step(second, batch.rows(0, 1), n_passes=1)


def test_blocks_compiled_to_machine_code_give_the_gradients_of_eager_ones() -> None:
    """With the real backend, in fp32: as near to fp64 as eager code is, within a factor of 4, or 32 roundings of the largest.

    The roundings are for gradients of a few entries, where eager code may be near by luck: each is a sum over all tokens.
    """
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        pytest.skip("torch's inductor needs a C++ compiler")
    batch = ask_at_the_end(random_tokens(2, 12), 4)
    exact = train_step(small_model(layers="gdn attn"), batch, n_passes=2)
    eager = train_step(small_model(layers="gdn attn", dtype=torch.float32), batch, n_passes=2)
    gradients = train_step(compiled_model("inductor", layers="gdn attn", dtype=torch.float32), batch, n_passes=2)
    for name, gradient in gradients.items():
        rounding = 2**-23 * exact[name].abs().max().item()
        allowed = max(4 * largest_error(eager[name], exact[name]), 32 * rounding)
        assert largest_error(gradient, exact[name]) <= allowed, name
