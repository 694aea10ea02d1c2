"""The command that gives saved things of earlier versions the digests they lack."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

from sleepkit import results
from sleepkit.cli import main
from sleepkit.files import seals, tensors


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder of things without digests, and some that are nobody's."""
    xr.Dataset({"a": ("x", np.arange(5.0))}, attrs={"b": "é"}).to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    (tmp_path / "run").mkdir()
    save_file({"a": np.ones(3)}, tmp_path / "run" / "probe.safetensors")
    (tmp_path / "run" / "probe.json").write_text(json.dumps({"format": "sleepkit-probe"}, indent=1) + "\n")
    (tmp_path / "run" / "settings.json").write_text('{"seed": 1}')
    (tmp_path / "run" / "other.json").write_text('{"seed": 1}')
    return tmp_path


def test_everything_is_given_a_digest_once_and_says_what_it_said(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seal", str(earlier)]) == 0
    assert capsys.readouterr().out.count("given a digest") == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert results.load(earlier / "result.nc").a.values.tolist() == [0, 1, 2, 3, 4]
        tensors.check(earlier / "run" / "probe.safetensors")
        note = seals.json_data((earlier / "run" / "probe.json").read_bytes(), ("format", "tensors"), source=earlier)
    assert note == {"format": "sleepkit-probe", "tensors": tensors.stored_digest(earlier / "run" / "probe.safetensors")}
    assert (earlier / "run" / "other.json").read_text() == '{"seed": 1}'
    before = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
    assert main(["seal", str(earlier), str(earlier / "result.nc")]) == 0
    assert capsys.readouterr().out.count("has its digest") == 5
    assert {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["result.nc", "run/probe.safetensors", "run/settings.json"])
def test_damage_is_never_given_a_digest(earlier: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = earlier / name
    assert main(["seal", str(path)]) == 0
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    assert main(["seal", str(path)]) == 2
    assert path.read_bytes() == data
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["nowhere", "run/other.json"])
def test_what_cannot_hold_a_digest_is_refused(earlier: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seal", str(earlier / name)]) == 2
    assert capsys.readouterr().err.startswith("sleepkit: path: must be ")
