"""The figures of the lab page."""

import numpy as np
import pytest

from sleepkit import plots
from sleepkit.errors import InvalidInputError
from sleepkit.plots import RunLine
from sleepkit.training.history import COLUMNS, as_dataset


def line(n_rows: int, *, slot: int = 0, validations: int = 0) -> RunLine:
    rows = [{"step": 10.0 * (row + 1), **dict.fromkeys(COLUMNS, float(row)), "elapsed_s": 60.0 * row} for row in range(n_rows)]
    counted = [
        {
            "step": 10 * (at + 1),
            "depth": [1, 2],
            "n_correct": [at, 0],
            "n_total": [10, 0],
            "floor": [0.5, 0.5],
            "chance": [0.5, 0.5],
        }
        for at in range(validations)
    ]
    return RunLine(f"run {slot}", as_dataset(rows, counted), 500, slot)


@pytest.mark.parametrize(("along", "last"), [("step", 40.0), ("tokens", 0.02), ("time", 3.0)])
def test_curves_run_along_steps_tokens_or_time(along: str, last: float) -> None:
    figure = plots.run_curves([line(4)], along=along)  # type: ignore[arg-type]
    assert figure.data[0].x[-1] == pytest.approx(last)
    assert list(figure.data[0].y) == [0, 1, 2, 3]


def test_long_curves_are_means_of_blocks_and_the_axis_says_so() -> None:
    figure = plots.run_curves([line(2500)])
    assert list(figure.data[0].y[:2]) == [1.0, 4.0]
    assert float(figure.data[0].y[-1]) == 2499.0, "the last block is shorter"
    assert "means of equal blocks" in figure.layout.xaxis.title.text
    assert "means" not in plots.run_curves([line(1000)]).layout.xaxis.title.text


def test_every_run_of_many_has_a_look_of_its_own_without_colour() -> None:
    drawn = plots.run_curves([line(2, slot=slot) for slot in range(24)]).data
    assert len({(each.line.dash, each.marker.symbol) for each in drawn}) == 24


def test_the_newest_validation_is_drawn_and_depths_never_asked_are_not() -> None:
    figure = plots.run_accuracy([line(4, validations=3), line(4, slot=1)])
    (drawn,) = [trace for trace in figure.data if trace.name == "run 0"]
    assert (list(drawn.x), list(drawn.y)) == ([1], [0.2])
    assert [trace.name for trace in figure.data].count("run 1") == 0
    assert plots.run_accuracy_summary([line(4, validations=3)]).endswith("run 0 at step 30: depth 1 20%.")
    grown = plots.run_curves([line(4, validations=3)], value="validation_accuracy").data[0]
    assert np.allclose(grown.y, [0.0, 0.1, 0.2])


def test_shares_of_steps_by_n_have_patterns_where_several_runs_are_drawn() -> None:
    figure = plots.run_passes([line(2), line(2, slot=1)], [{1: 3, 4: 1}, {2: 4}])
    assert [list(bar.y) for bar in figure.data] == [[0.75, 0.25], [1.0]]
    assert len({bar.marker.pattern.shape for bar in figure.data}) == 2
    many, one = figure.data
    assert [many.offset[0] + many.width[0] / 2, one.offset[0] + one.width[0] / 2] == [0.0, 0.0], "around their ticks"
    beside = plots.run_passes([line(2), line(2, slot=1)], [{4: 1}, {4: 4}]).data
    assert beside[0].offset[0] + beside[0].width[0] == beside[1].offset[0] == 0.0, "side by side where they share an N"
    assert "run 0: N = 1 in 3 steps, N = 4 in 1 steps" in plots.run_passes_summary([line(2)], [{1: 3, 4: 1}])


def test_nothing_measured_draws_nothing() -> None:
    for figure in (plots.run_curves([line(0)]), plots.run_accuracy([line(0)]), plots.run_passes([line(0)], [{1: 0}])):
        assert not figure.data
    assert plots.run_curves_summary([line(0)], value="loss") == "Loss, nats while training. No rows yet."


def test_an_unknown_value_or_axis_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="value: must be one of"):
        plots.run_curves([], value="colour")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="along: must be one of"):
        plots.run_curves([], along="width")  # type: ignore[arg-type]
