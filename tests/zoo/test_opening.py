"""The bundled traces are what the models compute, small, of the weights beside them, and read without torch."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sleepkit import results, zoo
from sleepkit.analysis.trace import trace_batch
from sleepkit.cli import main
from sleepkit.errors import CheckpointError, InvalidInputError, StoreError
from sleepkit.zoo.depth import at_depth
from tests.zoo.test_record import imports_torch

BUNDLED = [(name, n_passes) for name in zoo.names() for n_passes in sorted({1, zoo.facts(name).sleep["n_passes"]})]
FOLDER = Path(zoo.__file__).parent


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder of a bundled model that a test may spoil."""
    return Path(shutil.copytree(FOLDER / "rule110-n2", tmp_path / "copied"))


def test_loading_an_opening_imports_no_torch() -> None:
    assert not imports_torch("from sleepkit import zoo\nfor name in zoo.names(): zoo.load_opening(name, 1)")


@pytest.mark.parametrize(("name", "n_passes"), BUNDLED)
def test_an_opening_is_what_the_model_computes(name: str, n_passes: int) -> None:
    model, card = zoo.load(name)
    task = at_depth(card.task, zoo.facts(name).best_depth)
    true = trace_batch(model, task, task.batch("test", 0, 1), card.sleep.replace(n_passes=n_passes), label="test[0]")
    kept = zoo.load_opening(name, n_passes)
    assert (kept.attrs["example"], kept.attrs["n_passes"]) == ("test[0]", n_passes)
    assert set(kept["answers"]["depth"].values.tolist()) == {zoo.facts(name).best_depth}
    xr.testing.assert_equal(kept["tokens"].to_dataset(), true["tokens"].to_dataset())
    xr.testing.assert_allclose(kept["answers"].to_dataset(), true["answers"].to_dataset(), rtol=0, atol=1e-4)
    for group, variable in (("fast_weights", "state"), ("attention", "weights"), ("attention", "carried")):
        stored = kept[group][variable]
        assert stored.dtype == np.float32
        # Half precision keeps 11 bits; the floor is for what one processor rounds otherwise than another.
        np.testing.assert_allclose(stored.values, true[group][variable].values, rtol=2.0**-10, atol=1e-4)


@pytest.mark.parametrize(("name", "n_passes"), BUNDLED)
def test_an_opening_takes_less_than_300_kb(name: str, n_passes: int) -> None:
    assert (FOLDER / name / f"opening-n{n_passes}.nc").stat().st_size < 300_000


def test_the_command_writes_the_openings_again(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = zoo.load_opening(str(copied), 2)
    stale = shutil.copy(copied / "opening-n2.nc", copied / "opening-n3.nc")
    (copied / "opening-n2.nc").unlink()
    assert main(["zoo", "openings", str(copied)]) == 0
    assert capsys.readouterr().out.split() == [str(copied / "opening-n1.nc"), str(copied / "opening-n2.nc")]
    assert not Path(stale).exists()
    after = zoo.load_opening(str(copied), 2)
    np.testing.assert_allclose(after["fast_weights"].state, before["fast_weights"].state, rtol=2.0**-10, atol=1e-4)


def test_an_opening_of_other_weights_is_refused(copied: Path) -> None:
    shutil.copy(FOLDER / "rule110-n4" / "model.safetensors", copied / "model.safetensors")
    with pytest.raises(CheckpointError, match="trace: must be of the weights beside it"):
        zoo.load_opening(str(copied), 1)


def test_a_trace_that_says_nothing_of_its_weights_is_refused(copied: Path) -> None:
    tree = results.load_tree(copied / "opening-n1.nc")
    del tree.attrs["weights_digest"]
    results.save(tree, copied / "opening-n1.nc")
    with pytest.raises(CheckpointError, match="trace: must be of the weights beside it"):
        zoo.load_opening(str(copied), 1)


def test_a_damaged_opening_is_refused(copied: Path) -> None:
    path = copied / "opening-n1.nc"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match="must be a readable netCDF file"):
        zoo.load_opening(str(copied), 1)


def test_an_n_without_an_opening_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(
        InvalidInputError, match=r"n_passes: must be one that a trace of rule110-n2 is bundled for, \[1, 2\], got 3"
    ):
        zoo.load_opening("rule110-n2", 3)
