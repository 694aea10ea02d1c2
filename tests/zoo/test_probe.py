"""A probe reads what is in the fast weights, is right as often as it says, and refuses what it was not made for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sleepkit import zoo
from sleepkit.analysis.trace import trace, trace_batch
from sleepkit.cli import main
from sleepkit.errors import CheckpointError, InvalidInputError
from sleepkit.tasks import Depo, automaton
from sleepkit.tasks.explore import at_depth
from sleepkit.zoo.places import ABSENT, automaton_classes, automaton_places, walk_classes, walk_name, walk_places
from sleepkit.zoo.probe import WALK, Probe
from sleepkit.zoo.readout import Readout, coded, probabilities
from tests.support.seals import unsealed
from tests.zoo.test_record import imports_torch

FOLDER = Path(zoo.__file__).parent
PROBED = [name for name in zoo.names() if (FOLDER / name / "probe.json").exists()]
EXPLORER = "rule110-explorer"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder of a bundled model that a test may spoil."""
    return Path(shutil.copytree(FOLDER / "rule110-n1", tmp_path / "copied"))


def test_both_explorers_have_a_probe() -> None:
    assert {"rule110-explorer", "depo-explorer"} <= set(PROBED)


@pytest.mark.parametrize("name", PROBED)
def test_reading_an_opening_imports_no_torch(name: str) -> None:
    assert not imports_torch(f"from sleepkit import zoo\nzoo.load_probe({name!r}).read(zoo.load_opening({name!r}, 1), 0, 1)")


@pytest.mark.parametrize("name", PROBED)
def test_probes_are_small(name: str) -> None:
    assert sum((FOLDER / name / file).stat().st_size for file in ("probe.json", "probe.safetensors")) < 2 * 2**20


def test_the_whole_zoo_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 30_000_000


def test_the_places_of_an_automaton_are_the_cells_its_answer_depends_on() -> None:
    width, depth, source = 9, 3, np.random.default_rng(0)
    places = automaton_places(width, depth)
    read = set(zip(places.step.tolist(), places.place.tolist(), strict=True))
    cells = source.integers(0, 2, (500, width))
    first = automaton.history_by_table(cells, depth)
    for step in range(depth + 1):
        for cell in range(width):
            changed = first[step].copy()
            changed[:, cell] ^= 1
            matters = bool((automaton.history_by_table(changed, depth - step)[-1][:, 0] != first[depth][:, 0]).any())
            assert matters <= ((step, cell) in read)
    assert len(read) == sum(min(width, 2 * (depth - step) + 1) for step in range(depth + 1))


def test_the_classes_of_an_automaton_are_its_history_by_table() -> None:
    cells, places = np.random.default_rng(1).integers(0, 2, (50, 16)), automaton_places(16, 5)
    table = automaton.history_by_table(cells, 5)
    assert np.array_equal(automaton_classes(cells, places), table[places.step, :, places.place].T)


def test_the_classes_of_a_walk_are_the_answers_of_the_task() -> None:
    task = zoo.load_card("depo-explorer").task
    assert isinstance(task, Depo)
    config, batch = task.config, task.batch("test", 0, 64)
    places = walk_places(config.n_symbols, config.n_hops)
    found = walk_classes(batch.tokens[:, : config.context_len].numpy(), config.n_symbols, places)
    names = walk_name(found, places.place)
    assert (names[:, places.step == 1] == ABSENT).sum(axis=1).tolist() == [config.n_symbols - config.n_nodes] * 64
    answers, rows = task.solve(batch.tokens), batch.tokens[:, config.context_len :].reshape(64, config.n_queries, -1)
    for row in range(64):
        for question in range(config.n_queries):
            hops = int(rows[row, question, 0]) - config.first_hop_token + 1
            place = np.flatnonzero((places.step == hops) & (places.place == int(rows[row, question, 1]) - 1))
            assert names[row, place].item() + 1 == int(answers[row, question])


def test_weights_in_one_byte_are_off_by_half_a_step_at_most() -> None:
    weights = np.random.default_rng(2).normal(size=(40, 6))
    weights[:, 2] = 0
    codes, scale = coded(weights)
    assert codes.dtype == np.int8
    assert bool((np.abs(codes * scale - weights) <= 0.5001 * scale).all())


def test_a_readout_says_the_corner_it_is_nearest_to_and_probabilities_add_up() -> None:
    n_classes, source = 4, np.random.default_rng(3)
    readout = Readout(
        *coded(source.normal(size=(10, 2 * 3))), np.zeros(6, np.float32), np.ones(10, np.float32), np.ones(2, np.float32)
    )
    features = source.normal(size=(100, 10))
    assert readout.n_classes == n_classes
    scores = readout.scores(features)
    found, probability = readout.read(features)
    assert scores.shape == (100, 2, n_classes)
    np.testing.assert_allclose(scores.sum(axis=-1), 0, atol=1e-5)
    assert np.array_equal(found, scores.argmax(axis=-1))
    shares = probabilities(scores, readout.sharpness)
    np.testing.assert_allclose(shares.sum(axis=-1), 1)
    np.testing.assert_allclose(probability, shares.max(axis=-1))


def counted_again(probe: Probe, name: str, depth: int | None, n_examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Read examples 0 to n of the test split through traces: right and all readings by step after the last pass."""
    model, card = zoo.load(name)
    task = card.task if depth is None else at_depth(card.task, depth)
    right, total = [], []
    for index in range(n_examples):
        tree = trace_batch(model, task, task.batch("test", index, 1), card.sleep)
        for window in np.flatnonzero(tree["tokens"]["asleep"].values):
            reading = probe.read(tree, int(window), card.sleep.n_passes)
            right.append((reading.right == 1).sum("place").values)
            total.append((reading.right >= 0).sum("place").values)
    return np.sum(right, axis=0), np.sum(total, axis=0)


@pytest.mark.parametrize(("name", "depth", "n_examples"), [(EXPLORER, 5, 24), ("depo-explorer", None, 48)])
def test_readings_of_traces_are_right_as_often_as_was_counted(name: str, depth: int | None, n_examples: int) -> None:
    probe = zoo.load_probe(name)
    right, total = counted_again(probe, name, depth, n_examples)
    counts = probe.counts.sel(group=WALK if depth is None else f"depth-{depth}", sleep_pass=4)
    counts = counts.isel(step=counts.n_total.values > 0)
    claimed = (counts.n_right / counts.n_total).values
    # Readings of one string or cycle go together, so each counts as one at the worst.
    spread = np.sqrt(np.clip(claimed * (1 - claimed), 0.002, None) / (n_examples * (1 if depth is None else 4)))
    assert bool((np.abs(right / total - claimed) < 4 * spread).all())


@pytest.mark.parametrize("name", PROBED)
def test_labels_that_were_shuffled_are_read_no_better_than_the_most_frequent(name: str) -> None:
    counts = zoo.load_probe(name).counts
    there = counts.n_total.values > 0
    excess = ((counts.n_shuffled - counts.n_floor) / counts.n_total.where(counts.n_total > 0)).values[there]
    # A readout of nothing is a direction by chance, and agrees with one cell a little more or less than half the time.
    assert float(excess.mean()) < 0.005
    assert float(excess.max()) < 0.1


@pytest.mark.parametrize("name", ["rule110-explorer", "depo-explorer"])
def test_sleep_writes_what_reading_did_not(name: str) -> None:
    probe = zoo.load_probe(name)
    group = WALK if name == "depo-explorer" else f"depth-{zoo.facts(name).best_depth}"
    counts = probe.counts.sel(group=group)
    share = counts.n_right / counts.n_total.where(counts.n_total > 0)
    gain = share.sel(sleep_pass=4) - share.sel(sleep_pass=1)
    assert float(gain.max()) > 0.2
    assert float(gain.min()) > -0.01


def test_a_reading_holds_the_truth_of_its_own_window() -> None:
    probe, tree = zoo.load_probe(EXPLORER), zoo.load_opening(EXPLORER, 4)
    depth = zoo.facts(EXPLORER).best_depth
    for window in range(4):
        reading = probe.read(tree, window, 3)
        assert (reading.attrs["window"], reading.attrs["sleep_pass"], reading.attrs["depth"]) == (window, 3, depth)
        start = int(tree["tokens"]["start"][window])
        table = automaton.history_by_table(tree["tokens"]["id"].values[start + 1 : start + 17], depth)
        shown = reading.right.values >= 0
        expected = table[:, reading.place.values.astype(int)].astype(str)
        assert np.array_equal(reading.truth.values[shown], expected[shown])
        assert np.array_equal(reading.right.values[shown], (reading.decoded == reading.truth).values[shown])
        assert bool((reading.truth.values[~shown] == "").all())
        assert bool((reading.probability.values[shown] >= 0.5).all())
        answers = tree["answers"].to_dataset()
        last = reading.isel(step=-1).sel(place="0")
        assert last.truth.item() == answers.truth.values[window]


def test_a_reading_of_a_cycle_names_its_nodes_in_the_order_they_are_read() -> None:
    tree = zoo.load_opening("depo-explorer", 4)
    reading = zoo.load_probe("depo-explorer").read(tree, 0, 4)
    texts = tree["tokens"]["text"].values
    assert reading.place.values.tolist() == texts[0:16:2].tolist()
    assert reading.truth.sel(step=1).values.tolist() == texts[1:16:2].tolist()
    assert bool((reading.right.sel(step=1) == 1).all())


def refused(tree: xr.DataTree, window: int, sleep_pass: int, name: str = EXPLORER) -> str:
    with pytest.raises(zoo.NoReadingError) as refusal:
        zoo.load_probe(name).read(tree, window, sleep_pass)
    return str(refusal.value)


def test_moments_without_anything_to_read_are_refused_with_the_reason() -> None:
    tree = zoo.load_opening(EXPLORER, 4)
    assert "answered, not slept on" in refused(tree, 4, 1)
    assert "Before it is read" in refused(tree, 0, 0)
    assert "This window has 4 passes, and no pass 5" in refused(tree, 0, 5)
    assert "Window 9 is not in this trace" in refused(tree, 9, 1)
    assert "This window has 1 passes, and no pass 2" in refused(zoo.load_opening(EXPLORER, 1), 0, 2)


def test_traces_the_probe_was_not_fitted_for_are_refused_with_the_reason() -> None:
    model, card = zoo.load(EXPLORER)
    deepest = int(card.accuracy.depth[-1])
    assert "asked at depth 10" in refused(trace(model, at_depth(card.task, deepest), n_passes=1), 0, 1)
    assert "fitted after passes 1 to 4, and this is pass 5" in refused(trace(model, card.task, n_passes=5), 0, 5)
    assert "window_len 17, and this trace has 34" in refused(trace(model, card.task, n_passes=1, window_len=34), 0, 1)
    assert "eviction hard, and this trace has sliding" in refused(trace(model, card.task, n_passes=1, eviction="sliding"), 0, 1)


def test_another_n_or_context_is_read_and_said_to_be_another() -> None:
    reading = zoo.load_probe(EXPLORER).read(zoo.load_opening(EXPLORER, 1), 0, 1)
    assert (reading.attrs["n_passes"], reading.attrs["fitted_n_passes"]) == (1, 4)


def test_a_model_without_a_probe_says_so(copied: Path) -> None:
    (copied / "probe.json").unlink()
    with pytest.raises(zoo.NoReadingError, match="No probe is bundled with"):
        zoo.load_probe(str(copied))


def test_a_probe_of_other_weights_is_refused(copied: Path) -> None:
    shutil.copy(FOLDER / "rule110-n2" / "model.safetensors", copied / "model.safetensors")
    with pytest.raises(CheckpointError, match="probe: must be fitted on the weights beside it"):
        zoo.load_probe(str(copied))


@unsealed
@pytest.mark.parametrize("damage", ["{}", "[]", "", '{"format": "other"}'])
def test_a_damaged_note_is_refused(copied: Path, damage: str) -> None:
    (copied / "probe.json").write_text(damage)
    with pytest.raises(CheckpointError, match="probe: must be a whole sleepkit probe"):
        zoo.load_probe(str(copied))


def test_damaged_readouts_are_refused(copied: Path) -> None:
    (copied / "probe.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="probe: must be a whole sleepkit probe"):
        zoo.load_probe(str(copied))


def test_the_command_fits_the_same_probe_twice(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["zoo", "probe", str(copied), "--n-examples", "1200", "--n-held-out", "200"]
    notes = []
    for _ in range(2):
        assert main(command) == 0
        note = json.loads((copied / "probe.json").read_text())
        notes.append((note["counts"]["data_vars"], (copied / "probe.safetensors").read_bytes()))
    assert notes[0] == notes[1]
    assert "depth-1, percent right by step after pass 1" in capsys.readouterr().out


def test_too_few_examples_and_other_tasks_are_refused(copied: Path) -> None:
    with pytest.raises(InvalidInputError, match="n_examples: must be 100 or more, got 99"):
        zoo.fit_probe(str(copied), n_examples=99)
    with pytest.raises(InvalidInputError, match="n_held_out: must be 10 or more, got 9"):
        zoo.fit_probe(str(copied), n_held_out=9)
