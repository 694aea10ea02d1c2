"""Results files come back equal, are whole or not there, and follow the schema."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from sleepkit import results
from sleepkit.errors import StoreError


@pytest.fixture
def history() -> xr.Dataset:
    names = ("loss", "accuracy", "n_passes_drawn", "tokens_per_s")
    values = {name: ("step", np.array([0.1, np.nan, 1e-300])) for name in names}
    return xr.Dataset(values, coords={"step": [1, 2, 3]}, attrs={"text": "é", "number": 2.5, "count": 3})


@pytest.fixture
def tree(history: xr.Dataset) -> xr.DataTree:
    words = xr.Dataset({"text": ("token", np.array(["0", "[SEP]"]))})
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"a": 1}), "/history": history, "/words": words})


def test_a_dataset_comes_back_equal(tmp_path: Path, history: xr.Dataset) -> None:
    path = results.save(history, tmp_path / "deep" / "history.nc")
    xr.testing.assert_identical(results.load(path), history)


def test_a_tree_comes_back_equal(tmp_path: Path, tree: xr.DataTree) -> None:
    path = results.save(tree, tmp_path / "trace.nc")
    xr.testing.assert_identical(results.load_tree(path), tree)


def test_one_group_of_a_tree_is_a_dataset_and_an_unknown_one_is_refused(tree: xr.DataTree, history: xr.Dataset) -> None:
    xr.testing.assert_identical(results.group(tree, "history"), history)
    with pytest.raises(StoreError, match="trace: must have the group 'dreams'"):
        results.group(tree, "dreams")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, history: xr.Dataset) -> None:
    path = results.save(history, tmp_path / "history.nc")
    with pytest.raises((TypeError, ValueError)):
        results.save(history.assign_attrs(bad=object()), path)
    xr.testing.assert_identical(results.load(path), history)
    assert [file.name for file in tmp_path.iterdir()] == ["history.nc"]


def test_a_file_is_written_where_a_client_of_a_cluster_is_open(tmp_path: Path, history: xr.Dataset) -> None:
    with Client(n_workers=0, processes=True, dashboard_address=None, host="127.0.0.1", protocol="tcp"):
        results.save(history, tmp_path / "history.nc")
    xr.testing.assert_identical(results.load(tmp_path / "history.nc"), history)


@pytest.mark.parametrize("load", [results.load, results.load_tree])
@pytest.mark.parametrize("content", [None, b"", b"not netCDF", "truncated"])
def test_a_missing_or_damaged_file_is_refused_by_its_name(
    tmp_path: Path, history: xr.Dataset, load: object, content: bytes | str | None
) -> None:
    path = tmp_path / "history.nc"
    if content == "truncated":
        results.save(history, path)
        content = path.read_bytes()[:-200]
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"^path: must be a readable netCDF file .*history\.nc'$"):
        load(path)  # type: ignore[operator]


def test_a_dataset_of_its_kind_passes_and_others_are_refused_by_the_first_fault(history: xr.Dataset) -> None:
    assert results.check(history, "history") is history
    with pytest.raises(StoreError, match="must have the variable 'loss' to be of kind 'history'"):
        results.check(history.drop_vars("loss"), "history")
    with pytest.raises(StoreError, match=r"'loss' must have dimensions \('step',\), got \('row', 'step'\)"):
        results.check(history.assign(loss=history.loss.expand_dims("row")), "history")


def test_attributes_keep_numbers_and_texts_and_turn_the_rest_into_json() -> None:
    attrs = results.as_attrs({"a": 1, "b": 0.5, "c": "text", "d": True, "e": None, "f": {"y": [1], "x": (2,)}})
    assert attrs == {"a": 1, "b": 0.5, "c": "text", "d": "true", "e": "null", "f": '{"x": [2], "y": [1]}'}
    assert json.loads(str(attrs["f"])) == {"x": [2], "y": [1]}


def test_provenance_names_versions_revision_and_processor() -> None:
    facts = results.provenance()
    assert {"version_python", "version_torch", "version_numpy", "git_revision", "processor", "n_cores"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
    assert facts["version_numpy"] == np.__version__
