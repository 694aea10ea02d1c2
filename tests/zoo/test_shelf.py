"""A published model comes back with a card that tells the truth, and a tampered one does not come back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.torch import load_file, save_file

from sleepkit import zoo
from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.training import Run, evaluate, train
from tests.support.compare import assert_same_bits
from tests.support.runs import tiny_settings
from tests.support.seals import change_note, unsealed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tiny_settings(), folder=tmp_path_factory.mktemp("runs") / "run", progress=False)


@pytest.fixture(scope="module")
def shelf(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    zoo.publish(run, folder, summary="A tiny model.", n_passes=[1, 3], n_examples=64, progress=False)
    return folder


@pytest.fixture
def published(shelf: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(shelf, tmp_path / "tiny"))


def test_a_published_model_comes_back_bit_for_bit(run: Run, published: Path) -> None:
    model, _ = zoo.load(str(published))
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert_same_bits(tensor, run.model.state_dict()[name], what=name)


def test_the_card_says_how_the_model_was_made(run: Run, published: Path) -> None:
    _, card = zoo.load(str(published))
    assert (card.name, card.summary) == ("tiny", "A tiny model.")
    assert card.settings == run.settings
    assert card.sleep == run.settings.sleep
    assert card.task.config == run.settings.task.create().config
    facts = card.provenance
    assert facts["settings_digest"] == run.settings.digest()
    assert facts["tokens"] == 12 * 16 * card.task.seq_len
    assert {"seed", "weights_digest", "wall_time_s", "device", "version_torch", "git_revision", "processor"} <= set(facts)


def test_the_accuracy_on_the_card_can_be_measured_again(published: Path) -> None:
    model, card = zoo.load(str(published))
    again = evaluate(model, card.task, n_passes=[1, 3], n_examples=64, window_len=card.sleep.window_len)
    for name in ("n_correct", "n_total", "n_exact", "n_examples", "accuracy", "accuracy_low", "accuracy_high", "floor"):
        xr.testing.assert_equal(card.accuracy[name], again[name])


def test_the_card_table_holds_every_measured_percentage(published: Path) -> None:
    card = zoo.load_card(str(published))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.table().splitlines()]
    assert rows[0] == ["N", "depth 0", "depth 1"]
    for row, n_passes in zip(rows[2:4], (1, 3), strict=True):
        assert row == [str(n_passes), *(f"{100 * value:.1f}" for value in card.accuracy.accuracy.sel(n_passes=n_passes).values)]
    assert rows[4] == ["floor", *(f"{100 * value:.1f}" for value in card.accuracy.floor.values)]
    assert card.table() in (published / "README.md").read_text()


def test_the_finding_compares_two_n_at_the_depth_where_they_differ_most(published: Path) -> None:
    card = zoo.load_card(str(published))
    accuracy = card.accuracy.accuracy
    gain = accuracy.sel(n_passes=3) - accuracy.sel(n_passes=1)
    depth = int(accuracy.depth[int(np.argmax(abs(gain.values)))])
    sentence = card.finding(1, 3)
    assert f"depth-{depth} questions" in sentence or f"at depth {depth}, where it is largest" in sentence
    assert f"{100 * float(gain.sel(depth=depth)):+.1f} percentage points" in sentence
    with pytest.raises(KeyError):
        card.finding(1, 2)


def test_publishing_again_replaces_the_model_and_what_was_made_of_it(run: Run, published: Path) -> None:
    (published / "probe.json").write_text("{}")
    (published / "opening-n7.nc").write_text("")
    card = zoo.publish(run, published, summary="Again.", n_passes=[2], n_examples=8, progress=False)
    assert zoo.load_card(str(published)).summary == card.summary == "Again."
    files = ["README.md", "card.json", "config.json", "model.safetensors", "opening-n1.nc", "opening-n2.nc"]
    assert sorted(path.name for path in published.iterdir()) == files


@unsealed
def test_tampered_weights_are_refused(published: Path) -> None:
    path = published / "model.safetensors"
    tensors = load_file(path)
    tensors["embedding.weight"][0, 0] += 1e-6
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="model: weights must have the digest on the card"):
        zoo.load(str(published))


def change(**changes: object) -> Callable[[Path], None]:
    """Return a function that overwrites entries of a card."""
    return lambda card: change_note(card, **changes)


def drop_floor(card: Path) -> None:
    data = json.loads(card.read_text())
    del data["accuracy"]["data_vars"]["floor"]
    change_note(card, accuracy=data["accuracy"])


@unsealed
@pytest.mark.parametrize(
    "damage",
    [
        lambda card: card.write_text(""),
        lambda card: card.write_text("[]"),
        lambda card: card.write_text('{"format": "sleepkit-card"}'),
        change(format="other"),
        change(settings={"name": "a"}),
        change(settings=None),
        change(accuracy={}),
        change(accuracy=None),
        drop_floor,
    ],
)
def test_a_damaged_card_is_refused(published: Path, damage: Callable[[Path], None]) -> None:
    damage(published / "card.json")
    for load in (zoo.load, zoo.load_card, zoo.facts):
        with pytest.raises(CheckpointError, match="card: must be a whole sleepkit card"):
            load(str(published))


@pytest.mark.parametrize("name", ["no-such-model", "", "..", "/"])
def test_an_unknown_name_is_refused_and_the_known_ones_are_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"model name: must be one of .* or a published folder"):
        zoo.load(name)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="model name: must be a string, got 3"):
        zoo.load(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", zoo.names())
def test_every_bundled_model_loads_with_a_card_that_fits_it(name: str) -> None:
    model, card = zoo.load(name)
    assert card.name == name
    assert model.config == card.settings.model
    assert model.config.vocab_size >= len(card.task.vocab)
    assert card.sleep.n_passes in card.accuracy.n_passes
    np.testing.assert_allclose(card.accuracy.accuracy, card.accuracy.n_correct / card.accuracy.n_total, rtol=1e-12)
