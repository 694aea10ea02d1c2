"""Figure 6: what is timed computes the same thing in turn, and the verdict follows the numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sleepkit import plots, results
from sleepkit.bench import reproduction, windows
from sleepkit.errors import InvalidInputError, StoreError
from sleepkit.experiments import figures


def timed(seconds: Sequence[Sequence[float]], at_once: Sequence[float]) -> xr.Dataset:
    """Return a measurement of three equal rounds: seconds by window length and N = 1, 2, 4."""
    grid = np.repeat(np.array(seconds, dtype=float)[..., None], 3, axis=2)
    once = np.repeat(np.array(at_once, dtype=float)[:, None], 3, axis=1)
    return xr.Dataset(
        {"seconds": (("window_len", "n_passes", "round"), grid), "at_once_seconds": (("window_len", "round"), once)},
        coords={"window_len": [64, 128][: len(seconds)], "n_passes": [1, 2, 4]},
    )


def test_a_smoke_measurement_times_every_window_length_and_n() -> None:
    data = windows.measure_windows(windows.SIZES["smoke"])
    assert data.seconds.shape == (2, 2, 3)
    assert bool((data.seconds > 0).all())
    assert windows.WindowsSettings.from_json(data.attrs["settings"]) == windows.SIZES["smoke"]
    assert len(plots.throughput(data, tokens=96).data) == 3


def test_cheap_recurrence_and_a_straight_line_reproduce_and_one_of_them_does_so_partly() -> None:
    assert windows.judge(timed([[1.5, 3.0, 6.0], [1.0, 2.0, 4.0]], [1.0, 0.95])).outcome == "reproduced"
    assert windows.judge(timed([[1.0, 2.0, 4.0]], [0.5])).outcome == "partly"
    assert windows.judge(timed([[1.0, 3.5, 4.0]], [1.0])).outcome == "partly"
    assert windows.judge(timed([[1.0, 3.5, 4.0]], [0.5])).outcome == "not"


def test_windows_that_do_not_fill_the_sequence_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="window_lens: must divide seq_len=96"):
        windows.SIZES["smoke"].replace(window_lens=(36,))
    with pytest.raises(InvalidInputError, match="n_passes: must start with 1"):
        windows.SIZES["smoke"].replace(n_passes=(2, 4))
    with pytest.raises(InvalidInputError, match="size: must be one of"):
        windows.load_or_measure("huge")


def test_a_published_measurement_is_loaded_and_one_of_other_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    path = windows.publish("smoke", progress=False)
    assert windows.load_or_measure("smoke").equals(results.load(path))
    other = results.load(path)
    other.attrs["settings"] = windows.SIZES["smoke"].replace(rounds=4).to_json()
    results.save(other, path)
    with pytest.raises(StoreError, match=r"fig6-smoke\.nc"):
        windows.load_or_measure("smoke")


def test_the_reproduction_table_has_every_figure_and_says_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    rows = reproduction.table().splitlines()[2:]
    titles = [row.split("|")[1].strip() for row in rows]
    assert {"2a", "2b", "3", "4", "5", "6"} <= set(titles)
    assert all(row.endswith("| not run |") for row in rows)


def test_a_damaged_result_is_named_and_never_left_out_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    (tmp_path / "fig3-cpu.nc").write_bytes(b"half")
    with pytest.raises(StoreError, match=r"fig3-cpu\.nc"):
        reproduction.table()


def test_the_committed_measurement_is_of_its_size() -> None:
    assert bool((windows.load_or_measure("cpu").seconds > 0).all())
    assert figures.results_path("fig6", "cpu").exists()
