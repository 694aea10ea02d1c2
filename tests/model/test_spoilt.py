"""Weights that are not finite are refused by name, padding may hold anything, and dtypes of weights outlive the disk."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import sleepkit as sk
from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.model import HybridLM
from sleepkit.model.finite import spoilt
from sleepkit.model.passes import FASTEST, PLAIN
from tests.support.compare import assert_same_bits
from tests.support.models import fresh_model, layers_of, random_state, small_model


def spoil(model: HybridLM, name: str, bad: float) -> HybridLM:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[-1] = bad
    return model


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["embedding.weight", "layers.1.mixer.A_log", "layers.0.mlp.down.weight"])
def test_a_spoilt_model_is_not_saved_evaluated_or_traced(name: str, bad: float, tmp_path: Path) -> None:
    task = sk.tasks.create("rule110", width=6, n_strings=2, rollout_depth=2)
    model = spoil(fresh_model(vocab_size=len(task.vocab)), name, bad)
    count = model.get_parameter(name).numel()
    message = f"^model: must hold finite weights alone, got '1 of {count} entries of {name} that are NaN or infinite'$"
    with pytest.raises(InvalidInputError, match=message):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInputError, match=message):
        sk.evaluate(model, task, n_passes=1, n_examples=1)
    with pytest.raises(InvalidInputError, match=message):
        sk.trace(model, task, n_passes=1)


def test_a_spoilt_buffer_counts_as_well(tmp_path: Path) -> None:
    model = fresh_model()
    model.register_buffer("seen", torch.tensor([1.0, float("nan")]))
    with pytest.raises(InvalidInputError, match="1 of 2 entries of seen"):
        model.save(tmp_path / "model")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_largest_numbers_of_a_dtype_are_finite(dtype: torch.dtype) -> None:
    limits = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    assert spoilt({"weights": limits, "ids": torch.tensor([1]), "none": limits[:0]}) is None
    assert spoilt({"weights": 2 * limits}) == "2 of 2 entries of weights that are NaN or infinite"


def test_spoilt_weights_on_the_disk_are_not_loaded(tmp_path: Path) -> None:
    model = fresh_model(dtype=torch.float32)
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["layers.1.mixer.A_log"][0] = float("nan")
    save_file(tensors, path)
    with (
        pytest.warns(UserWarning, match="digest"),
        pytest.raises(CheckpointError, match=r"^weights: must be finite \(1 of 2 entries of layers.1.mixer.A_log"),
    ):
        HybridLM.load(tmp_path / "model")


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_of_several_dtypes_is_read_as_it_was_saved(tied: bool, tmp_path: Path) -> None:
    model = fresh_model(tie_embeddings=tied).to(torch.bfloat16)
    for module in model.modules():
        if isinstance(module, torch.nn.RMSNorm):
            module.float()
    model.layers[1].mixer.A_log.data = model.layers[1].mixer.A_log.data.double()  # type: ignore[union-attr, operator]
    model.save(tmp_path / "model")
    again = HybridLM.load(tmp_path / "model")
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.bfloat16, torch.float32, torch.float64}
    for name, tensor in model.state_dict().items():
        assert_same_bits(again.state_dict()[name], tensor, what=name)


def test_a_dtype_that_cannot_be_read_again_is_not_saved(tmp_path: Path) -> None:
    model = fresh_model()
    model.embedding.weight.data = model.embedding.weight.data.to(torch.float8_e4m3fn)
    with pytest.raises(InvalidInputError, match=r"^embedding.weight: must be float64, .*, got torch.float8_e4m3fn$"):
        model.save(tmp_path / "model")


@pytest.mark.parametrize("functions", [PLAIN, FASTEST], ids=["modules", "fastest"])
@pytest.mark.parametrize("layers", ["attn gdn", "gdn attn", "jet attn jet", "mamba2 attn", "gdn gdn"])
@pytest.mark.parametrize("n_passes", [1, 2])
def test_padding_of_a_window_may_hold_nan_in_every_kind_of_layer(layers: str, n_passes: int, functions: object) -> None:
    model, generator = small_model(layers=layers, loop="all"), torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 9, 8, generator=generator, dtype=torch.float64)
    valid = torch.rand(3, 9, generator=generator) < 0.6
    state = random_state(model, 3)

    def run(bad: float) -> list[Tensor]:
        read = hidden.masked_fill(~valid[..., None], bad).requires_grad_()
        model._functions = functions
        try:
            out = model.blocks(read, state, n_passes, valid_BT=valid)
            slept = model.consolidate(read, state, n_passes, valid_BT=valid)
        finally:
            model._functions = FASTEST
        written = layers_of(out.state) + layers_of(slept)
        pull = out.hidden[valid].square().sum() + sum(layer.square().sum() for layer in written)
        inputs = [read, *model.layers.parameters()]
        return [out.hidden, *written, *torch.autograd.grad(pull, inputs, allow_unused=True, materialize_grads=True)]

    for expected, actual in zip(run(0.0), run(float("nan")), strict=True):
        assert_same_bits(actual, expected)
        assert bool(actual.isfinite().all())
