"""The controls at the left: what is asked of the model, and where to look."""

import asyncio
import functools
import io
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import panel as pn
import panel_material_ui as pmu

from sleepkit.errors import shortened
from sleepkit.notation import depth_symbol
from sleepkit.plots import last_pass
from sleepkit.ui import html
from sleepkit.ui.choice import Repeats, on_choice, on_release, take, toggle
from sleepkit.ui.compute import Turn, Turns
from sleepkit.ui.page import Folded
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import EVICTIONS, EXAMPLE_RANGE, N_PASSES_RANGE, ExplorerState
from sleepkit.ui.status import StatusLine
from sleepkit.ui.subject import Subject, names, subject

_WIDE = {"sizing_mode": "stretch_width", "margin": (5, 12), "description": ""}
_HELP = (
    "N counts passes over a window as the paper does: N = 1 reads and never loops; N = 4 is reading plus three passes "
    "asleep. After its last pass a window is evicted, and only the fast weights remember it."
)
_ALL_HEADS = "all"
_MOST_DIGITS = 9
_REST_S = 0.25  # a slider that is dragged rests when it has stood still for this long


class Controls(pn.viewable.Viewer, Folded):
    """Widgets over one state.

    Args:
        state: followed and changed.
        about: the model.
        status: told what is no number.
        on_model: called with the name of a model that was picked.
        on_text: called with the user's own example while it is typed.
        on_edit: called when the user wants the example on show as text to edit.
        on_export: returns the trace on show as a netCDF file.
    """

    def __init__(
        self,
        state: ExplorerState,
        about: Subject,
        status: StatusLine,
        *,
        on_model: Callable[[str], None],
        on_text: Callable[[str], Awaitable[None]],
        on_edit: Callable[[], Awaitable[None]],
        on_export: Callable[[], io.BytesIO],
        **params: Any,
    ) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._status = state, status
        self._picture: Picture | None = None
        self._model = pmu.Select(label="Model", groups=_by_task(about.name), value=about.name, size="small", **_WIDE)
        on_choice(self._model, lambda: state.model, on_model)
        self._n_passes = self._asked("n_passes", "Sleep passes N (1 = no sleep)", *N_PASSES_RANGE)
        self._compare = self._asked("compare", "Compare with N", *N_PASSES_RANGE)
        self._context = self._asked("context", _context_label(about), about.dial.least, about.dial.most)
        # A text field: the number field of panel-material-ui ignores the second of two entries without a click between.
        self._window_len = pmu.TextInput(label="Window length (tokens)", value=str(state.window_len), size="small", **_WIDE)
        self._window_len.param.watch(self._on_window_len, "value")
        eviction = toggle(state, "eviction", {f"{name} eviction": name for name in EVICTIONS}, **_WIDE)
        shown = state.depth if state.depth in about.depths else about.depths[0]
        self._depth = pmu.DiscreteSlider(label=_depth_label(about), options=about.depths, value=shown, **_WIDE)
        # Not value_throttled, which is the number of an option here and sometimes does not come; the newest request wins anyway.
        on_choice(self._depth, lambda: state.depth, self._on_depth)
        self._fitting = False
        self._example = self._asked("example", "Example (held out)", *EXAMPLE_RANGE)
        self.text = pmu.TextAreaInput(
            label="Own example (empty: a held-out one)", value=state.text, rows=2, max_rows=6, size="small", **_WIDE
        )
        self._on_text, self._on_edit = on_text, on_edit
        self._texts = Repeats()
        self.text.param.watch(self._typed, "value_input")
        state.param.watch(lambda event: self._show_text(event.new), "text")
        self._edit = pmu.Button(label="Edit the example on show", variant="text", size="small", margin=(0, 12))
        self._edit.on_click(self._edited)
        back = pmu.Button(label="Back to as trained", variant="text", size="small", margin=(0, 12))
        back.on_click(lambda _: self._go_back())
        self.text_help = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 12))
        self._window = pmu.IntSlider(label="Window looked at", start=0, end=1, **_WIDE)
        self._pass = pmu.IntSlider(label="Pass looked at", start=0, end=1, **_WIDE)
        self._layer = pmu.Select(label="Layer, fast weights", options=[], size="small", **_WIDE)
        self._attention_layer = pmu.Select(label="Layer, attention", options=[], size="small", **_WIDE)
        self._head = pmu.Select(label="Head", options=[_ALL_HEADS], value=_ALL_HEADS, size="small", **_WIDE)
        for slider, looked_at, look in (
            (self._window, lambda: state.window, self._on_window),
            (self._pass, self._pass_shown, self._on_pass),
        ):
            on_choice(slider, looked_at, look)
            on_release(slider, looked_at, look)
        self._choose_layer(self._layer, "layer")
        self._choose_layer(self._attention_layer, "attention_layer")
        on_choice(self._head, self._head_shown, self._on_head)
        export = pmu.FileDownload(label="Trace (netCDF)", callback=on_export, filename="trace.nc", size="small", **_WIDE)
        self._help = pn.pane.HTML("", sizing_mode="stretch_width", margin=(6, 12))
        layers = pn.Row(self._layer, self._attention_layer, sizing_mode="stretch_width", margin=0)
        self._view = pn.Column(sizing_mode="stretch_width", margin=(4, 0))
        self.fold(
            self._view,
            [
                [self._model, self._n_passes, self._compare, self._context, self._depth, self._example],
                [self._window, self._pass, self._head, layers, self._window_len, eviction, back],
                [self.text, self._edit, self.text_help, export, self._help],
            ],
        )

    def fit(self, picture: Picture) -> None:
        """Take the ranges of a new picture."""
        before, about, state = self._picture, picture.subject, self._state
        self._picture = picture
        self._model.value = about.name
        self._fitting = True
        if self._depth.options != about.depths:
            self._depth.options = about.depths
        self._depth.param.update(label=_depth_label(about), value=picture.request.depth)
        self._fitting = False
        self._context.param.update(label=_context_label(about), start=about.dial.least, end=about.dial.most)
        self._context.disabled = about.dial.least == about.dial.most
        self._window_len.value = str(state.window_len)
        if before is not None and before.subject.name != about.name:
            self.text.value = ""  # what was written for another model, be it refused
            self.text_help.object = ""
        self._help.object = html.note(_HELP, state.colours)
        self.follow()

    def follow(self) -> None:
        """Take over where the state looks."""
        picture, state = self._picture, self._state
        if picture is None:
            return
        self._window.param.update(end=picture.n_windows - 1, value=state.window)
        self._pass.param.update(end=last_pass(picture.tree, state.window), value=self._pass_shown())
        self._layer.param.update(options=picture.layers, value=picture.layer_shown(state))
        self._attention_layer.param.update(options=picture.attention_layers, value=picture.attention_layer_shown(state))
        heads = [_ALL_HEADS, *map(str, range(picture.n_heads))]
        self._head.param.update(options=heads, value=self._head_shown())

    def _asked(self, name: str, label: str, start: int, end: int) -> Any:
        """Return a slider that asks when it is let go, or rests, and follows the state.

        It does not follow what it asked for itself: with keys pressed fast it is ahead of that, and would be set back. That it is
        let go is not told where it was let go the last time, whatever it was given since.
        """
        state, turns = self._state, Turns()
        slider = pmu.IntSlider(label=label, start=start, end=end, value=getattr(state, name), **_WIDE)
        asking = threading.local()

        def shown() -> Any:
            return getattr(state, name)

        def ask(value: Any) -> None:
            turns.end()
            asking.now = True
            try:
                take(state, **{name: value})
            finally:
                asking.now = False

        async def rest(turn: Turn, value: Any) -> None:
            await asyncio.sleep(_REST_S)
            if not turn.over and slider.value == value:  # it may have gone back to what is shown, which asks for nothing
                ask(value)

        def follow(event: Any) -> None:
            if not getattr(asking, "now", False):
                turns.end()
                slider.param.update(value=event.new)

        on_choice(slider, shown, lambda value: pn.state.execute(functools.partial(rest, turns.take(), value)))
        on_release(slider, shown, ask)
        state.param.watch(follow, name)
        return slider

    def _on_depth(self, depth: Any) -> None:
        if not self._fitting:
            take(self._state, depth=depth)

    def _on_window_len(self, event: Any) -> None:
        text = str(event.new).strip()
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS):
            self._status.refuse(f"window_len: must be an integer, got {shortened(text)}", "input")
            return
        self._status.accept("input")
        self._state.window_len = int(text)

    def _go_back(self) -> None:
        """Take the settings the model was trained with, whatever was refused or written."""
        self._state.adopt(subject(self._state.model))
        self._window_len.value = str(self._state.window_len)
        self._status.accept("input")

    def _show_text(self, text: str) -> None:
        """Take over an example that was not typed here, as after Back; what was typed stays as it was written."""
        if str(self.text.value_input or "").strip() != text:
            self._texts.given(text)
            self.text.param.update(value=text, value_input=text, error_state=False, helper_text="")

    async def _typed(self, event: Any) -> None:
        if event.new in self._texts:
            self._show_text(self._state.text)
        else:
            await self._on_text(event.new)

    async def _edited(self, _: Any) -> None:
        await self._on_edit()

    def _on_window(self, window: Any) -> None:
        take(self._state, window=window, sleep_pass=None)

    def _pass_shown(self) -> int:
        assert self._picture is not None
        return self._picture.pass_shown(self._state)

    def _on_pass(self, sleep_pass: Any) -> None:
        assert self._picture is not None
        at_end = sleep_pass == last_pass(self._picture.tree, self._state.window)
        self._state.sleep_pass = None if at_end else sleep_pass

    def _choose_layer(self, select: Any, name: str) -> None:
        """Tie a list of layers to a setting, in which the first layer is None."""
        state = self._state

        def shown() -> Any:
            chosen = getattr(state, name)
            return chosen if chosen is not None or not select.options else select.options[0]

        def choose(layer: Any) -> None:
            state.param.update(**{name: None if layer in select.options[:1] else layer})

        on_choice(select, shown, choose)

    def _head_shown(self) -> str:
        return _ALL_HEADS if self._state.head is None else str(self._state.head)

    def _on_head(self, head: Any) -> None:
        self._state.head = None if head == _ALL_HEADS else int(head)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


def _by_task(own: str) -> dict[str, list[str]]:
    """Return the models of each task; a published folder is its own entry."""
    tasks: dict[str, list[str]] = {}
    known = names()
    for name in known if own in known else [*known, own]:
        tasks.setdefault(subject(name).task, []).append(name)
    return tasks


def _context_label(about: Subject) -> str:
    return f"Context length ({about.dial.noun}s)"


def _depth_label(about: Subject) -> str:
    symbol = depth_symbol(about.task)
    return f"Depth asked, {symbol.paper} ({symbol.unit})"
