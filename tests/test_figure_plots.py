"""Pictures of figures: every number drawn is one of the dataset's, and what cannot be drawn is refused."""

import numpy as np
import pytest
import xarray as xr

from sleepkit import plots
from sleepkit.analysis import across_seeds
from sleepkit.errors import InvalidInputError
from tests.support.figures import figure_of

COUNTS = {(1, 0): [90, 40], (1, 1): [80, 20], (4, 0): [100, 90], (4, 1): [100, 70]}


@pytest.fixture
def figure() -> xr.Dataset:
    return figure_of(COUNTS, n_total=100)


@pytest.fixture
def seen() -> xr.Dataset:
    source = np.random.default_rng(0)
    per_head, probed = ("sleep_pass", "layer", "head"), ("automaton_step", "cell")
    measures = {name: (per_head, source.random((2, 1, 3))) for name in ("norm", "change", "effective_rank")}
    found = {"found": (("sleep_pass", *probed), source.random((2, 4, 5))), "found_in_input": (probed, source.random((4, 5)))}
    return xr.Dataset({**measures, **found}, coords={"sleep_pass": [1, 2], "layer": [1], "automaton_step": range(4)})


def test_accuracy_by_depth_shows_what_each_of_several_seeds_reached(figure: xr.Dataset) -> None:
    drawn = plots.accuracy_by_depth(across_seeds(figure))
    dots = {
        trace.name: sorted(zip(trace.x, trace.y, trace.customdata, strict=True)) for trace in drawn.data if "seed" in trace.name
    }
    assert dots == {
        "N1 by seed": [(1, 0.8, 1), (1, 0.9, 0), (2, 0.2, 1), (2, 0.4, 0)],
        "N4 by seed": [(1, 1.0, 0), (1, 1.0, 1), (2, 0.7, 1), (2, 0.9, 0)],
    }
    alone = plots.accuracy_by_depth(across_seeds(figure.isel(seed=[0])))
    assert not [trace.name for trace in alone.data if "seed" in trace.name]


def test_learning_curves_show_each_seed_thinly_and_their_mean(figure: xr.Dataset) -> None:
    drawn = plots.learning_curves(figure, depth=2)
    strong = [trace for trace in drawn.data if trace.line.width == 3]
    assert [trace.name for trace in strong] == ["N = 1, no sleep", "N = 4"]
    np.testing.assert_allclose(strong[0].y, [0.15, 0.3])
    np.testing.assert_allclose(strong[0].x, [5.0, 10.0])
    thin = [list(trace.y) for trace in drawn.data if trace.line.width == 1]
    assert thin == [[0.2, 0.4], [0.1, 0.2], [0.45, 0.9], [0.35, 0.7]]


def test_learning_curves_by_depth_show_one_n(figure: xr.Dataset) -> None:
    drawn = plots.learning_curves(figure, by="depth", n_passes=4)
    strong = {trace.name: list(trace.y) for trace in drawn.data if trace.line.width == 3}
    assert strong == {"t = 1": [0.5, 1.0], "t = 2": [0.4, 0.8]}


def test_a_figure_without_validation_or_of_another_depth_is_refused(figure: xr.Dataset) -> None:
    with pytest.raises(InvalidInputError, match="must hold validation_accuracy"):
        plots.learning_curves(figure.drop_vars("validation_accuracy"))
    with pytest.raises(InvalidInputError, match=r"depth: must be one of \[1, 2\]"):
        plots.learning_curves(figure, depth=3)


def test_accuracy_by_passes_has_a_line_for_each_depth_and_shades_what_was_trained(figure: xr.Dataset) -> None:
    drawn = plots.accuracy_by_passes(across_seeds(figure), trained=(1, 3))
    lines = {trace.name: list(trace.y) for trace in drawn.data if trace.mode == "lines+markers"}
    assert lines.keys() == {"t = 1", "t = 2"}
    np.testing.assert_allclose([lines["t = 1"], lines["t = 2"]], [[0.85, 1.0], [0.3, 0.8]])
    assert (drawn.layout.shapes[0].x0, drawn.layout.shapes[0].x1) == (0.5, 3.5)


def test_the_probe_starts_from_the_string_itself(seen: xr.Dataset) -> None:
    drawn = plots.probe_by_pass(seen, cell=2)
    assert drawn.data[0].y == tuple(seen.found.values[:, 0, 2])
    assert drawn.data[1].y[0] == float(seen.found_in_input.values[0, 2])
    with pytest.raises(InvalidInputError, match=r"cell: must be in \[0, 5\)"):
        plots.probe_by_pass(seen, cell=5)


def test_the_map_and_the_measures_show_the_pass_and_head_they_name(seen: xr.Dataset) -> None:
    assert np.array_equal(plots.probe_map(seen, sleep_pass=2).data[0].z, seen.found.values[1])
    drawn = plots.state_by_pass(seen, measure="norm")
    assert [trace.name for trace in drawn.data] == ["layer 1, head 0", "layer 1, head 1", "layer 1, head 2"]
    assert drawn.data[1].y == tuple(seen.norm.values[:, 0, 1])
    with pytest.raises(InvalidInputError, match="sleep_pass: must be one of"):
        plots.probe_map(seen, sleep_pass=3)
    with pytest.raises(InvalidInputError, match="measure: must be one of"):
        plots.state_by_pass(seen, measure="colour")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_draw_everything(figure: xr.Dataset, seen: xr.Dataset, theme: plots.Theme) -> None:
    made = [plots.learning_curves(figure, theme=theme), plots.accuracy_by_passes(across_seeds(figure), theme=theme)]
    made += [plots.probe_by_pass(seen, theme=theme), plots.probe_map(seen, sleep_pass=1, theme=theme)]
    made += [plots.state_by_pass(seen, theme=theme)]
    assert all(drawn.layout.font.color == plots.palette(theme).text for drawn in made)
