"""The difference of two accuracies: percentage points, their intervals, and what is noise."""

import numpy as np
import pytest
import xarray as xr

from sleepkit import plots


@pytest.fixture
def gains() -> xr.Dataset:
    made = {"gain": [0.25, 0.02, -0.125], "gain_low": [0.2, -0.01, -0.2], "gain_high": [0.3, 0.05, -0.05]}
    return xr.Dataset({name: ("depth", values) for name, values in made.items()}, coords={"depth": [1, 2, 3]})


def test_bars_and_whiskers_are_in_percentage_points(gains: xr.Dataset) -> None:
    figure = plots.accuracy_gain(gains)
    bar = figure.data[0]
    np.testing.assert_allclose(bar.y, [25, 2, -12.5])
    np.testing.assert_allclose(np.add(bar.y, bar.error_y.array), [30, 5, -5])
    np.testing.assert_allclose(np.subtract(bar.y, bar.error_y.arrayminus), [20, -1, -20])
    assert figure.layout.yaxis.title.text == "percentage points"
    assert "%" not in figure.layout.yaxis.tickformat


def test_what_is_within_noise_is_drawn_hollow(gains: xr.Dataset) -> None:
    colours = plots.accuracy_gain(gains).data[0].marker.color
    assert [colour == "rgba(0,0,0,0)" for colour in colours] == [False, True, False]


def test_the_words_hold_the_points_the_intervals_and_what_is_noise(gains: xr.Dataset) -> None:
    assert plots.accuracy_gain_summary(gains) == (
        "Accuracy gained by reasoning depth, in percentage points: depth 1 +25.0 (95 % interval +20.0 to +30.0); "
        "depth 2 +2.0 (95 % interval -1.0 to +5.0, no difference beyond noise); depth 3 -12.5 (95 % interval -20.0 to -5.0)."
    )
