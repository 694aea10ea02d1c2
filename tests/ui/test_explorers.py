"""The explorers of notebooks draw the place that their controls name, with Panel and with ipywidgets, without a browser."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import panel as pn
import plotly.graph_objects as go
import pytest
import xarray as xr

from sleepkit import plots, zoo
from sleepkit.errors import InvalidInputError
from sleepkit.ui import SleepExplorer, SleepWidgets
from sleepkit.ui.widgets import PLOTLY

BOTH = pytest.mark.parametrize("made", [SleepExplorer, SleepWidgets])
Explorer = SleepExplorer | SleepWidgets


@pytest.fixture
def tree() -> xr.DataTree:
    return zoo.load_opening("rule110-explorer", 4)


def figure(explorer: Explorer, name: str) -> go.Figure | None:
    """Return the figure that a pane of either explorer shows."""
    pane = getattr(explorer, name)
    if isinstance(explorer, SleepExplorer):
        return pane.object
    return go.Figure(pane.outputs[0]["data"][PLOTLY]) if pane.outputs else None


def assert_draws(shown: go.Figure | None, expected: go.Figure) -> None:
    """Compare two figures by what the browser gets of them."""
    assert shown is not None
    assert json.loads(shown.to_json()) == json.loads(expected.to_json())


@BOTH
def test_it_opens_after_the_last_pass_over_the_first_window(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer = made(tree)
    assert (explorer.window.value, explorer.sleep_pass.value, explorer.layer.value, explorer.view.value) == (0, 4, 1, "value")
    assert_draws(figure(explorer, "fast_weights"), plots.fast_weights(tree, window=0, sleep_pass=4, height=340))
    assert_draws(figure(explorer, "change"), plots.fast_weight_change(tree, height=340))
    assert_draws(figure(explorer, "attention"), plots.attention(tree, window=0, sleep_pass=4, height=340))
    assert_draws(figure(explorer, "timeline"), plots.timeline(tree, window=0, sleep_pass=4))


@BOTH
def test_every_control_changes_the_figures_to_the_place_it_names(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer = made(tree, theme="dark", height=300)
    explorer.sleep_pass.value = 2
    explorer.view.value = "change"
    expected = plots.fast_weights(tree, window=0, sleep_pass=2, view="change", theme="dark", height=300)
    assert_draws(figure(explorer, "fast_weights"), expected)
    assert_draws(figure(explorer, "attention"), plots.attention(tree, window=0, sleep_pass=2, theme="dark", height=300))
    assert_draws(figure(explorer, "timeline"), plots.timeline(tree, window=0, sleep_pass=2, theme="dark"))
    explorer.head.value = "3"
    expected = plots.fast_weights(tree, window=0, sleep_pass=2, head=3, view="change", theme="dark", height=300)
    assert_draws(figure(explorer, "fast_weights"), expected)
    expected = plots.attention(tree, window=0, sleep_pass=2, head=3, theme="dark", height=300)
    assert_draws(figure(explorer, "attention"), expected)
    explorer.head.value = "all"
    explorer.window.value = 2
    assert explorer.sleep_pass.value == 4
    assert_draws(
        figure(explorer, "fast_weights"),
        plots.fast_weights(tree, window=2, sleep_pass=4, view="change", theme="dark", height=300),
    )


@BOTH
def test_the_answering_window_has_one_pass(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer = made(tree)
    explorer.window.value = 4
    assert explorer.sleep_pass.value == 1
    assert_draws(figure(explorer, "fast_weights"), plots.fast_weights(tree, window=4, sleep_pass=1, height=340))
    explorer.window.value = 0
    assert explorer.sleep_pass.value == 4


@BOTH
def test_before_reading_there_is_no_attention(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer = made(tree)
    explorer.sleep_pass.value = 0
    assert figure(explorer, "attention") is None
    explorer.sleep_pass.value = 1
    assert figure(explorer, "attention") is not None


@BOTH
def test_playing_goes_through_every_pass_of_every_window_once(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer, seen = made(tree), []
    last = explorer.play.end if isinstance(explorer, SleepExplorer) else explorer.play.max
    for moment in range(last + 1):
        explorer.play.value = moment
        seen.append((explorer.window.value, explorer.sleep_pass.value))
        assert explorer.play.value == moment
    assert seen == [(0, 0), *((window, each) for window in range(4) for each in (1, 2, 3, 4)), (4, 1)]


@BOTH
def test_the_player_goes_on_from_where_the_sliders_are(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer = made(tree)
    explorer.window.value = 1
    explorer.sleep_pass.value = 2
    assert explorer.play.value == 6
    explorer.sleep_pass.value = 0  # before window 1 is after window 0
    assert explorer.play.value == 4
    assert (explorer.window.value, explorer.sleep_pass.value) == (1, 0)


@BOTH
def test_text_and_summary_are_of_the_window_looked_at(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    explorer = made(tree)

    def said(name: str) -> Any:
        pane = getattr(explorer, name)
        return pane.object if isinstance(explorer, SleepExplorer) else pane.value

    explorer.window.value = 1
    assert said("text") == plots.token_text(tree, window=1) + plots.answer_line(tree)
    assert said("summary") == plots.fast_weights_summary(tree, window=1, sleep_pass=4)


@BOTH
def test_a_trace_without_fast_weights_is_refused(tree: xr.DataTree, made: Callable[..., Explorer]) -> None:
    groups = {node.path: node.to_dataset() for node in tree.subtree}
    groups["/fast_weights"] = groups["/fast_weights"].isel(layer=slice(0))
    with pytest.raises(InvalidInputError, match="trace: must be of a model with fast weights"):
        made(xr.DataTree.from_dict(groups))


def test_a_click_on_the_timeline_goes_there(tree: xr.DataTree) -> None:
    explorer = SleepExplorer(tree)
    explorer.timeline.click_data = {"points": [{"customdata": [2, 3]}]}
    assert (explorer.window.value, explorer.sleep_pass.value) == (2, 3)
    explorer.timeline.click_data = {"points": [{"curveNumber": 0}]}
    assert (explorer.window.value, explorer.sleep_pass.value) == (2, 3)


def test_the_widgets_need_neither_panel_nor_torch() -> None:
    code = (
        "import sleepkit as sk, sys; sk.ui.SleepWidgets(sk.zoo.load_opening('rule110-explorer', 1)); "
        "sys.exit(bool({'panel', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Extension:
    """Stands for ``panel.extension``, which loads scripts into a notebook."""

    _loaded = False

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def __call__(self, *names: str, **options: Any) -> None:
        self.asked.append((names, options))


@pytest.mark.parametrize("loaded", [False, True])
def test_an_explorer_in_a_cell_brings_its_scripts_unless_they_are_there(
    tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    extension = Extension()
    extension._loaded = loaded
    monkeypatch.setattr(pn, "extension", extension)
    monkeypatch.setattr(pn.viewable.Viewer, "_repr_mimebundle_", lambda *_: {})
    SleepExplorer(tree)._repr_mimebundle_()
    assert extension.asked == ([] if loaded else [(("plotly",), {"inline": True})])
