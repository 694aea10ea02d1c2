"""The controls follow the state, and run ahead of it where a visitor is faster than the server."""

import io

import panel as pn
import param
import pytest

pytest.importorskip("panel_material_ui", reason="needs the extra 'workbench'")

from sleepkit.ui.controls import Controls
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.status import StatusLine
from sleepkit.ui.subject import subject


async def nothing(*_: object) -> None:
    pass


@pytest.fixture
def state() -> ExplorerState:
    return ExplorerState()


@pytest.fixture
def controls(state: ExplorerState) -> Controls:
    about = subject("rule110-explorer")
    state.adopt(about)
    status = StatusLine(state, on_cancel=lambda: None, on_measure=lambda: None)
    return Controls(
        state, about, status, on_model=lambda _: None, on_text=nothing, on_edit=nothing, on_export=lambda: io.BytesIO()
    )


def sent(slider: pn.widgets.Widget, **values: int) -> None:
    """Do what a message of a browser does."""
    with param.parameterized.edit_constant(slider):
        slider.param.update(**values)


@pytest.mark.parametrize("name", ["n_passes", "compare", "context", "example"])
def test_a_slider_that_is_ahead_of_what_it_asked_for_is_not_set_back(name: str, controls: Controls, state: ExplorerState) -> None:
    slider = getattr(controls, f"_{name}")
    first = slider.start + 1
    sent(slider, value=first + 1, value_throttled=first)  # two keys in one message, the second not yet asked for
    assert (getattr(state, name), slider.value) == (first, first + 1)
    sent(slider, value_throttled=first + 1)
    assert (getattr(state, name), slider.value) == (first + 1, first + 1)


@pytest.mark.parametrize("name", ["n_passes", "compare", "context", "example"])
def test_a_slider_follows_what_others_set(name: str, controls: Controls, state: ExplorerState) -> None:
    slider = getattr(controls, f"_{name}")
    sent(slider, value=slider.start + 1, value_throttled=slider.start + 1)
    state.param.update(**{name: slider.start + 2})
    assert slider.value == slider.start + 2
