"""The controls at the left: what is asked of the model, and where to look."""

import io
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmu

from sleepkit import zoo
from sleepkit.plots import last_pass
from sleepkit.tasks import Rule110
from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import EXAMPLE_RANGE, N_PASSES_RANGE, N_STRINGS_RANGE, ExplorerState, explorable
from sleepkit.ui.status import StatusLine
from sleepkit.zoo import Card

_WIDE = {"sizing_mode": "stretch_width", "margin": (6, 12), "description": ""}
_HELP = (
    "N counts passes over a window as the paper does: N = 1 reads and never loops; N = 4 is reading plus three passes "
    "asleep. After its last pass a window is evicted, and only the fast weights remember it."
)


class Controls(pn.viewable.Viewer):
    """Widgets over one state.

    Args:
        state: followed and changed.
        card: the card of the model.
        status: told what is no number.
        on_model: called with the name of a model that was picked.
        on_export: returns the trace on show as a netCDF file.
    """

    def __init__(
        self,
        state: ExplorerState,
        card: Card,
        status: StatusLine,
        *,
        on_model: Callable[[str], None],
        on_export: Callable[[], io.BytesIO],
        **params: Any,
    ) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._status = state, status
        self._picture: Picture | None = None
        self._model = pmu.Select(label="Model", options=explorable_names(), value=state.model, size="small", **_WIDE)
        self._model.param.watch(lambda event: on_model(event.new), "value")
        start, end = N_PASSES_RANGE
        n_passes = pmu.IntSlider.from_param(
            state.param.n_passes, label="Sleep passes N (1 = no sleep)", start=start, end=end, **_WIDE
        )
        start, end = N_STRINGS_RANGE
        n_strings = pmu.IntSlider.from_param(
            state.param.n_strings, label="Context length (strings)", start=start, end=end, **_WIDE
        )
        # A text field: the number field of panel-material-ui ignores the second of two entries without a click between.
        self._window_len = pmu.TextInput(label="Window length (tokens)", value=str(state.window_len), size="small", **_WIDE)
        self._window_len.param.watch(self._on_window_len, "value")
        depths = list(explorable(card).config.depths)
        shown = state.depth if state.depth in depths else depths[0]
        self._depth = pmu.DiscreteSlider(label="Depth asked (steps)", options=depths, value=shown, **_WIDE)
        start, end = EXAMPLE_RANGE
        example = pmu.IntSlider.from_param(state.param.example, label="Example (held-out strings)", start=start, end=end, **_WIDE)
        self._window = pmu.IntSlider(label="Window looked at", start=0, end=1, **_WIDE)
        self._pass = pmu.IntSlider(label="Pass looked at", start=0, end=1, **_WIDE)
        self._layer = pmu.Select(label="Layer, fast weights", options=[], size="small", **_WIDE)
        self._attention_layer = pmu.Select(label="Layer, attention", options=[], size="small", **_WIDE)
        self._depth.param.watch(lambda event: state.param.update(depth=event.new), "value")
        self._window.param.watch(self._on_window, "value")
        self._pass.param.watch(self._on_pass, "value")
        self._layer.param.watch(lambda event: self._on_layer("layer", event), "value")
        self._attention_layer.param.watch(lambda event: self._on_layer("attention_layer", event), "value")
        export = pmu.FileDownload(label="Trace (netCDF)", callback=on_export, filename="trace.nc", size="small", **_WIDE)
        self._help = pn.pane.HTML("", sizing_mode="stretch_width", margin=(6, 12))
        self._view = pn.Column(
            self._model,
            n_passes,
            n_strings,
            self._window_len,
            self._depth,
            example,
            pmu.Divider(sizing_mode="stretch_width", margin=(8, 12)),
            self._window,
            self._pass,
            self._layer,
            self._attention_layer,
            export,
            self._help,
            sizing_mode="stretch_width",
            margin=(4, 0),
        )

    def fit(self, picture: Picture) -> None:
        """Take the ranges of a new picture."""
        self._picture = picture
        depths = list(explorable(picture.card).config.depths)
        if self._depth.options != depths:
            self._depth.options = depths
        self._depth.value = picture.request.depth
        self._model.value = picture.card.name
        self._window_len.value = str(self._state.window_len)
        self._help.object = html.note(_HELP, self._state.colours)
        self.follow()

    def follow(self) -> None:
        """Take over where the state looks."""
        picture, state = self._picture, self._state
        if picture is None:
            return
        self._window.param.update(end=picture.n_windows - 1, value=state.window)
        self._pass.param.update(end=last_pass(picture.tree, state.window), value=picture.pass_shown(state))
        for select, layers, chosen in (
            (self._layer, picture.layers, state.layer),
            (self._attention_layer, picture.attention_layers, state.attention_layer),
        ):
            select.param.update(options=layers, value=chosen if chosen is not None or not layers else layers[0])

    def _on_window_len(self, event: Any) -> None:
        text = str(event.new).strip()
        if not text.lstrip("-").isdecimal():
            self._status.refuse(f"window_len: must be an integer, got {text!r}", "input")
            return
        self._status.accept("input")
        self._state.window_len = int(text)

    def _on_window(self, event: Any) -> None:
        if event.new != self._state.window:
            self._state.look_at(event.new, None)

    def _on_pass(self, event: Any) -> None:
        assert self._picture is not None
        if event.new != self._picture.pass_shown(self._state):
            at_end = event.new == last_pass(self._picture.tree, self._state.window)
            self._state.sleep_pass = None if at_end else event.new

    def _on_layer(self, name: str, event: Any) -> None:
        first = event.obj.options[0] if event.obj.options else None
        self._state.param.update(**{name: None if event.new == first else event.new})

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


def explorable_names() -> list[str]:
    """Return the names of the bundled models the explorer can show."""
    return [name for name in zoo.names() if _can_show(zoo.load_card(name))]


def _can_show(card: Card) -> bool:
    return isinstance(card.task, Rule110) and card.task.config.mixed
