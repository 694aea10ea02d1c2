"""The picture of what a probe reads: every text, colour and share is the reading's, and wrong ones are outlined."""

import numpy as np
import pytest
import xarray as xr

from sleepkit import plots


def reading_of(form: str = "automaton", *, n_passes: int = 4) -> xr.Dataset:
    """Return a reading of two steps and three places: one right, one wrong and one place that is not read in step 1."""
    dims = ("step", "place")
    return xr.Dataset(
        {
            "decoded": (dims, np.array([["1", "0", "1"], ["", "1", ""]])),
            "truth": (dims, np.array([["1", "1", "1"], ["", "1", ""]])),
            "probability": (dims, np.array([[0.9, 0.6, 0.8], [np.nan, 0.7, np.nan]])),
            "right": (dims, np.array([[1, 0, 1], [-1, 1, -1]])),
            "accuracy": ("step", np.array([0.995, 0.75])),
            "floor": ("step", np.array([0.5, 0.6])),
            "shuffled": ("step", np.array([0.49, 0.51])),
            "n_total": ("step", np.array([3000, 1000])),
        },
        coords={"step": [0, 1], "place": ["2", "0", "1"]},
        attrs={"form": form, "window": 1, "sleep_pass": 3, "n_passes": n_passes, "fitted_n_passes": 4},
    )


def test_texts_are_what_is_read_and_colours_how_sure_it_is() -> None:
    reading = reading_of()
    heat = plots.memory_reading(reading).data[0]
    assert np.array_equal(heat.text, reading.decoded.values)
    assert heat.z.dtype == np.float32
    np.testing.assert_allclose(heat.z, reading.probability.values, rtol=1e-6)
    assert (heat.zmin, heat.zmax) == (0.5, 1.0)


def test_only_wrong_readings_are_outlined() -> None:
    outline = plots.memory_reading(reading_of()).data[1]
    assert outline.showlegend
    x, y = (np.array([value for value in values if value is not None]) for values in (outline.x, outline.y))
    assert set(np.round(x).tolist()) == {1}
    assert set(np.round(y).tolist()) == {0}
    right = reading_of()
    right["right"] = abs(right.right)
    right["right"].values[0, 1] = 1
    assert not plots.memory_reading(right).data[1].showlegend
    assert plots.memory_reading(right).data[1].x == ()


def test_axis_labels_say_how_often_each_step_is_read_right() -> None:
    figure = plots.memory_reading(reading_of())
    assert figure.layout.yaxis.ticktext == ("step 0 · 99.5 %", "step 1 · 75.0 %")
    assert figure.layout.xaxis.ticktext == ("2", "0", "1")
    walk = plots.memory_reading(reading_of("walk"))
    assert walk.layout.yaxis.ticktext == ("hop 0 · 99.5 %", "hop 1 · 75.0 %")
    assert walk.data[0].zmin == 0.0


def test_the_cursor_says_the_truth_the_counts_and_the_controls() -> None:
    words = plots.memory_reading(reading_of()).data[0].customdata
    assert words[0, 1].startswith("step 0, cell 0: 0 (60 % sure), wrong, it is 1<br>")
    assert words[0, 1].endswith("held out: 99.5 % of 3,000 right; most frequent 50.0 %, shuffled labels 49.0 %")
    assert ", right<br>" in words[1, 1]
    assert words[1, 0] == ""


def test_the_summary_counts_what_is_right_and_says_what_is_held_out() -> None:
    said = plots.memory_reading_summary(reading_of())
    assert "reads 3 of 4 cells right from the fast weights of window 1 after pass 3." in said
    assert "step 0 99.5 %, step 1 75.0 %; always saying what is most frequent, at most 60.0 %" in said


def test_another_n_than_the_fitted_one_is_said_in_title_and_summary() -> None:
    words = "(probe fitted at N = 4, this is N = 2)"
    other, same = reading_of(n_passes=2), reading_of()
    assert words in plots.memory_reading(other).layout.title.text
    assert words in plots.memory_reading_summary(other)
    assert "fitted" not in plots.memory_reading(same).layout.title.text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_draw_on_their_ground(theme: plots.Theme) -> None:
    figure = plots.memory_reading(reading_of(), theme=theme, height=300)
    assert figure.layout.paper_bgcolor == plots.palette(theme).ground
    assert figure.layout.height == 300
    assert figure.data[1].line.color == plots.palette(theme).wrong
