"""A cell is trained once, counted once, and gathered without loss."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sleepkit import results
from sleepkit.errors import InvalidInputError
from sleepkit.experiments.cell import RESULT, cell_folder, gather, run_cell
from sleepkit.training import TrainSettings, evaluate
from tests.support.runs import tiny_settings


def cell_settings(n_passes: int = 2, seed: int = 0, **changes: object) -> TrainSettings:
    made = tiny_settings(seed=seed, n_passes_weights=None, validate_every=6, validation_examples=32, **changes)
    return made.with_overrides(f"sleep.n_passes={n_passes}")


def run(root: Path, **which: int) -> xr.Dataset:
    return run_cell(cell_settings(**which), root=root, n_examples=24, progress=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


def test_the_counts_are_those_of_evaluate_on_the_test_split(root: Path) -> None:
    from sleepkit.model import HybridLM

    made = run(root)
    settings = cell_settings()
    model = HybridLM.load(cell_folder(settings, root) / "model")
    counted = evaluate(model, settings.task.create(), n_passes=2, n_examples=24, window_len=settings.sleep.window_len)
    assert made.n_correct.equals(counted.n_correct)
    assert made.attrs["digest"] == settings.digest()
    assert results.load(cell_folder(settings, root) / RESULT).n_correct.equals(counted.n_correct)


def test_a_finished_cell_trains_nothing(root: Path) -> None:
    made = run(root)
    rows: list[int] = []
    again = run_cell(cell_settings(), root=root, n_examples=24, progress=False, on_row=lambda step, _: rows.append(step))
    assert rows == []
    assert again.equals(made)


@pytest.mark.parametrize("damage", [b"", b"not a netCDF file"])
def test_a_damaged_result_is_counted_again(root: Path, damage: bytes) -> None:
    made, path = run(root), cell_folder(cell_settings(), root) / RESULT
    path.write_bytes(damage)
    assert run(root).n_correct.equals(made.n_correct)
    assert results.load(path).n_correct.equals(made.n_correct)


def test_other_examples_are_counted_anew(root: Path) -> None:
    run(root)
    assert int(run_cell(cell_settings(), root=root, n_examples=16, progress=False).n_examples[0]) == 16


def test_gathered_counts_stand_where_their_settings_say(root: Path) -> None:
    cells = {(n, seed): run(root, n_passes=n, seed=seed) for n in (1, 2) for seed in (0, 1)}
    figure = gather(cells.values())
    assert figure.n_correct.dims == ("seed", "n_passes", "depth")
    for (n, seed), cell in cells.items():
        at = figure.sel(n_passes=n, seed=seed)
        assert at.n_correct.values.tolist() == cell.n_correct.values[0].tolist()
        assert at.loss.values.tolist() == cell.loss.values.tolist()
        assert float(at.wall_time_s) == float(cell.elapsed_s[-1])
        assert at.validation_accuracy.values.T.tolist() == cell.validation_accuracy.values.tolist()
    notes = json.loads(figure.attrs["cells"])
    assert {note["digest"] for note in notes} == {cell.attrs["digest"] for cell in cells.values()}
    assert [TrainSettings.from_dict(note["settings"]).digest() for note in notes] == [note["digest"] for note in notes]


def test_a_combination_that_was_not_run_is_not_a_number(root: Path) -> None:
    figure = gather([run(root, n_passes=1, seed=0), run(root, n_passes=2, seed=1)])
    assert bool(np.isnan(figure.n_correct.sel(n_passes=2, seed=0)).all())
    assert bool(np.isfinite(figure.n_correct.sel(n_passes=2, seed=1)).all())


def test_a_figure_survives_its_file(root: Path, tmp_path: Path) -> None:
    figure = gather([run(root, n_passes=1), run(root, n_passes=2)])
    results.save(figure, tmp_path / "figure.nc")
    assert results.load(tmp_path / "figure.nc").equals(figure)


def test_runs_that_each_ask_one_depth_share_an_axis_of_depths(root: Path) -> None:
    def at(depth: int) -> xr.Dataset:
        options = json.dumps({"width": 6, "n_strings": 2, "rollout_depth": depth})
        settings = cell_settings().with_overrides(f"task.options={options}").replace(name="one-depth")
        return run_cell(settings, root=root, n_examples=24, progress=False)

    cells = {depth: at(depth) for depth in (1, 2)}
    figure = gather(cells.values())
    assert figure.depth.values.tolist() == [1, 2]
    for depth, cell in cells.items():
        assert figure.loss.sel(depth=depth).isel(seed=0, n_passes=0).values.tolist() == cell.loss.values.tolist()


def test_any_setting_can_be_an_axis(root: Path) -> None:
    cells = [run(root)]
    wide = cell_settings().with_overrides("model.mlp_ratio=1.0")
    cells.append(run_cell(wide, root=root, n_examples=24, progress=False))
    assert gather(cells, axes=("model.mlp_ratio", "seed")).mlp_ratio.values.tolist() == [1.0, 2.0]
    with pytest.raises(InvalidInputError, match="axes: must be the names of settings"):
        gather(cells, axes=("model.breadth",))


def test_two_cells_on_one_place_are_refused(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="cells: must differ in N, depth or seed"):
        gather([run(root), run(root)])
    with pytest.raises(InvalidInputError, match="cells: must hold at least one"):
        gather([])
