"""The model: passes, causality, state, saving."""

import itertools
import json
import pickle
from pathlib import Path

import pytest
import torch

from sleepkit import ops
from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.model import HybridLM, PassView
from tests.support.compare import assert_close, assert_same_bits
from tests.support.doors import as_users_call_it
from tests.support.models import (
    LOOPS,
    assert_same_state,
    assert_states_close,
    fresh_model,
    layers_of,
    random_state,
    random_tokens,
    small_config,
    small_model,
)
from tests.support.seals import change_note, unsealed
from tests.support.trap import pickle_trap

STACKS = ("attn gdn attn gdn", "gdn gdn", "attn attn", "gdn attn")


@pytest.mark.parametrize("layers", STACKS)
def test_n_passes_with_the_whole_stack_looped_equal_n_calls_bit_for_bit(layers: str) -> None:
    model = small_model(layers=layers)
    state, hidden = random_state(model, 2), model.embed(random_tokens(2, 6))
    at_once = model.blocks(hidden, state, n_passes=4)
    for _ in range(4):
        hidden, state = model.blocks(hidden, state)
    assert_same_bits(at_once.hidden, hidden, what="hidden")
    assert_same_state(at_once.state, state)


@pytest.mark.parametrize("n_passes", [1, 2, 3])
@pytest.mark.parametrize("loop", LOOPS)
def test_the_prelude_and_the_coda_run_once_and_the_span_n_times(loop: str | tuple[int, int], n_passes: int) -> None:
    model = small_model(loop=loop)
    start, stop = model.config.loop_span
    state, hidden = random_state(model, 2), model.embed(random_tokens(2, 6))
    result = model.blocks(hidden, state, n_passes)
    numbers = [*range(start), *[*range(start, stop)] * n_passes, *range(stop, 4)]
    fast = list(state.fast_weights)
    for number in numbers:
        angles = ops.rotation(0, 6, head_dim=4, base=model.config.rope_base, dtype=hidden.dtype, device=hidden.device)
        hidden, fast[number], _ = model.layers[number](hidden, fast[number], angles=angles)
    assert_close(result.hidden, hidden, what="hidden")
    assert_states_close(result.state, state.with_layers(0, fast))


@pytest.mark.parametrize("n_passes", [1, 2, 3])
@pytest.mark.parametrize("loop", ["all", (0, 2), (1, 3), (2, 4), (2, 3)])
@pytest.mark.parametrize("layers", ["attn gdn attn gdn", "gdn attn gdn attn", "gdn gdn attn attn", "attn attn attn attn"])
def test_consolidation_leaves_the_state_of_whole_passes(layers: str, loop: str | tuple[int, int], n_passes: int) -> None:
    model = small_model(layers=layers, loop=loop)
    state, hidden = random_state(model, 2), model.embed(random_tokens(2, 6))
    whole = model.blocks(hidden, state, n_passes)
    assert_same_state(model.consolidate(hidden, state, n_passes), whole.state)


def test_consolidation_goes_on_after_the_first_pass() -> None:
    model = small_model(loop=(1, 4))
    state, hidden = random_state(model, 2), model.embed(random_tokens(2, 6))
    read, after, _ = model.run_layers(hidden, state, (0, 1))
    read, after, _ = model.run_layers(read, after, (1, 4))
    assert_same_state(model.consolidate(read, after, 3, first_pass=2), model.blocks(hidden, state, 3).state)
    with pytest.raises(InvalidInputError, match=r"first_pass: must be in \[1, n_passes=3\], got 4"):
        model.consolidate(read, after, 3, first_pass=4)


def test_a_second_pass_changes_what_a_window_leaves_behind() -> None:
    model = small_model()
    hidden, state = model.embed(random_tokens(1, 6)), model.initial_state(1)
    once, twice = (model.blocks(hidden, state, n_passes).state for n_passes in (1, 2))
    with pytest.raises(AssertionError, match="state of layer 1"):
        assert_states_close(twice, once, tolerance=1e-3)


def tokens_seen(model: HybridLM, position: int, n_passes: int) -> list[bool]:
    """Say of each of 7 tokens whether the logits at a position depend on it, by gradient."""
    embedded = model.embed(random_tokens(1, 7)).detach().requires_grad_()
    hidden, _ = model.blocks(embedded, random_state(model, 1), n_passes)
    (gradient,) = torch.autograd.grad(model.head(hidden)[:, position].square().sum(), embedded)
    return gradient[0].any(dim=1).tolist()


@pytest.mark.parametrize("position", [0, 3, 6])
@pytest.mark.parametrize(("layers", "n_passes"), [*((layers, 1) for layers in STACKS), ("attn attn", 3)])
def test_no_position_depends_on_a_later_token(layers: str, n_passes: int, position: int) -> None:
    seen = tokens_seen(small_model(layers=layers), position, n_passes)
    assert seen == [token <= position for token in range(7)]


def test_a_second_pass_lets_early_positions_see_the_whole_window_through_the_fast_weights() -> None:
    assert tokens_seen(small_model(), 0, 2) == [True] * 7


def test_a_stack_of_attention_carries_nothing_out_of_a_window() -> None:
    model = small_model(layers="attn attn")
    _, state = model.blocks(model.embed(random_tokens(2, 5)), model.initial_state(2), 2)
    assert state.fast_weights == (None, None)
    assert state.n_bytes == 0


def test_padding_on_the_left_changes_neither_hidden_nor_state() -> None:
    model, tokens = small_model(), random_tokens(2, 5)
    state = random_state(model, 2)
    expected = model.blocks(model.embed(tokens), state, 2)
    padded = torch.cat([random_tokens(2, 3, seed=8), tokens], dim=1)
    valid = (torch.arange(8) >= 3).expand(2, 8)
    actual = model.blocks(model.embed(padded), state, 2, valid_BT=valid)
    assert_close(actual.hidden[:, 3:], expected.hidden, what="hidden")
    assert_states_close(actual.state, expected.state)


def test_a_row_of_padding_alone_keeps_its_state_bit_for_bit() -> None:
    model = small_model()
    state, valid = random_state(model, 2), torch.tensor([[True] * 5, [False] * 5])
    _, after = model.blocks(model.embed(random_tokens(2, 5)), state, 3, valid_BT=valid)
    for new, old in zip(layers_of(after), layers_of(state), strict=True):
        assert_same_bits(new[1], old[1])
        assert (new[0] != old[0]).any()


def test_observing_changes_nothing_and_shows_every_pass() -> None:
    model = small_model(loop=(1, 3))
    hidden, state, views = model.embed(random_tokens(2, 5)), random_state(model, 2), list[PassView]()
    expected = model.blocks(hidden, state, 3)
    actual = model.blocks(hidden, state, 3, observe=views.append)
    assert_same_bits(actual.hidden, expected.hidden)
    assert [view.n_pass for view in views] == [1, 2, 3]
    assert [sorted(view.attention) for view in views] == [[0, 2], [2], [2]]
    assert_same_state(views[-1].state, expected.state)


def test_a_window_read_in_pieces_equals_the_window_read_at_once() -> None:
    model = small_model()
    hidden, state = model.embed(random_tokens(2, 9)), random_state(model, 2)
    expected = model.blocks(hidden, state)
    cache, pieces = model.empty_cache(2), []
    for piece in hidden.split([1, 1, 3, 4], dim=1):
        out, state, cache = model.run_layers(piece, state, (0, 4), cache=cache)
        pieces.append(out)
    assert_close(torch.cat(pieces, dim=1), expected.hidden, what="hidden")
    assert_states_close(state, expected.state)


@pytest.mark.parametrize("n_passes", [0, -1, 2.5, True, "2"])
def test_a_number_of_passes_that_is_no_positive_integer_is_refused(n_passes: object) -> None:
    model = small_model()
    hidden, state = model.embed(random_tokens(1, 2)), model.initial_state(1)
    with pytest.raises(InvalidInputError, match="n_passes: must be an integer >= 1, got "):
        as_users_call_it(HybridLM.blocks)(model, hidden, state, n_passes)


@pytest.mark.parametrize("batch_size", [0, -2, True])
def test_a_batch_size_that_is_no_positive_integer_is_refused(batch_size: int) -> None:
    with pytest.raises(InvalidInputError, match="batch_size: must be an integer >= 1, got "):
        small_model().initial_state(batch_size)


@pytest.mark.parametrize("tokens", [torch.zeros(3, dtype=torch.int64), torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool)])
def test_tokens_that_are_no_integer_matrix_are_refused(tokens: torch.Tensor) -> None:
    with pytest.raises(InvalidInputError, match="tokens: must be an integer tensor"):
        small_model().embed(tokens)


def test_tied_embeddings_are_one_tensor_before_and_after_saving(tmp_path: Path) -> None:
    model = fresh_model(dtype=torch.float32, tie_embeddings=True)
    model.save(tmp_path / "model")
    for tied in (model, HybridLM.load(tmp_path / "model")):
        assert tied.projection.weight is tied.embedding.weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "changes", [{}, {"tie_embeddings": True}, {"mlp": "swiglu", "key_dim": 3, "value_dim": 5, "loop": (1, 2)}]
)
def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path, changes: dict[str, object], dtype: torch.dtype) -> None:
    model = small_model(dtype=dtype, **changes)
    model.save(tmp_path / "model")
    loaded = HybridLM.load(tmp_path / "model")
    assert loaded.config == model.config
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert_same_bits(tensor, expected[name], what=name)


def test_a_saved_model_can_be_saved_over(tmp_path: Path) -> None:
    small_model(dtype=torch.float32, seed=1).save(tmp_path / "model")
    second = small_model(dtype=torch.float32, seed=2)
    second.save(tmp_path / "model")
    assert_same_bits(HybridLM.load(tmp_path / "model").embedding.weight, second.embedding.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_everyone_who_can_read_the_folder_can_read_the_weights(tmp_path: Path) -> None:
    small_model(dtype=torch.float32).save(tmp_path / "model")
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "model").iterdir()} == {
        "config.json": "0o644",
        "model.safetensors": "0o644",
    }


def foreign_folders(tmp_path: Path) -> list[Path]:
    """A folder of notes, and a model of another library."""
    notes, other = tmp_path / "notes", tmp_path / "other"
    for folder in (notes, other):
        folder.mkdir()
    (notes / "notes.txt").write_text("keep me")
    (other / "config.json").write_text(json.dumps({"model_type": "something"}))
    return [notes, other]


def test_saving_never_replaces_a_folder_that_is_no_sleepkit_model(tmp_path: Path) -> None:
    for folder in foreign_folders(tmp_path):
        before = {path.name: path.read_text() for path in folder.iterdir()}
        with pytest.raises(CheckpointError, match="folder: must be new, empty or a sleepkit model"):
            small_model(dtype=torch.float32).save(folder)
        assert {path.name: path.read_text() for path in folder.iterdir()} == before


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small_model(dtype=torch.float32).save(tmp_path / "model")
    return tmp_path / "model"


def test_loading_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"folder: must hold a readable config\.json"):
        HybridLM.load(tmp_path / "nowhere")


@unsealed
@pytest.mark.parametrize("text", ["", "not json", "[]", "3", '{"model_type": "llama"}', '{"format": "sleepkit-model"}'])
def test_loading_refuses_a_foreign_config(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"^folder: .*config\.json"):
        HybridLM.load(saved)


@pytest.mark.parametrize(
    "change", [{"format": "other"}, {"version": 2}, {"config": {}}, {"config": 3}, {"config": {"vocab_size": 7, "colour": "red"}}]
)
def test_loading_refuses_another_format_version_or_configuration(saved: Path, change: dict[str, object]) -> None:
    change_note(saved / "config.json", **change)
    with pytest.raises(CheckpointError, match=r"^folder: .*config\.json"):
        HybridLM.load(saved)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_loading_refuses_truncated_weights(saved: Path, keep: int) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="weights: must be the model's own safetensors"):
        HybridLM.load(saved)


def test_loading_refuses_missing_weights(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="weights: must be the model's own safetensors"):
        HybridLM.load(saved)


@pytest.mark.parametrize(
    "changes", [{"width": 16}, {"vocab_size": 8}, {"layers": "attn gdn"}, {"layers": "attn gdn attn gdn gdn"}]
)
def test_loading_refuses_weights_of_another_shape(saved: Path, changes: dict[str, object]) -> None:
    change_note(saved / "config.json", config=small_config(**changes).to_dict())
    with pytest.raises(CheckpointError, match="weights: must be the model's own safetensors"):
        HybridLM.load(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "pytorch_model.bin"])
def test_loading_never_unpickles(saved: Path, tmp_path: Path, name: str) -> None:
    mark = tmp_path / "opened"
    (saved / "model.safetensors").unlink()
    (saved / name).write_bytes(pickle_trap(mark))
    with pytest.raises(CheckpointError):
        HybridLM.load(saved)
    assert not mark.exists()
    pickle.loads((saved / name).read_bytes())
    assert mark.exists()  # the trap works


def test_every_parameter_gets_a_gradient_when_the_loss_is_behind_a_second_window() -> None:
    for layers, loop in itertools.product(("attn gdn", "gdn attn"), ("all", (0, 1))):
        model = fresh_model(layers=layers, loop=loop)
        _, state = model.blocks(model.embed(random_tokens(2, 5)), model.initial_state(2), 3)
        hidden, _ = model.blocks(model.embed(random_tokens(2, 4, seed=1)), state)
        model.head(hidden).square().mean().backward()
        silent = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
        assert silent == []
