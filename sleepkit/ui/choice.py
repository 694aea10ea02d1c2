"""What a visitor chooses with a widget, told apart from what a browser only repeats.

A widget of React writes each value that it is given back to its model once it is drawn (Panel's ``useState``). Of two values in
quick succession a busy browser writes the first back when the second is there already, and so sends the first as if the visitor
had chosen it: a pass that Back brought would be set back to the pass before.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import panel_material_ui as pmu
import param

from sleepkit.errors import refuse

_LAG_S = 3.0  # a browser that is busy for longer repeats what nobody waits for any more

# Toggle buttons as small as a title line allows, in the case they are written in.
_SMALL = {
    "& .MuiToggleButton-root": {
        "whiteSpace": "nowrap",
        "padding": "2px 8px",
        "textTransform": "none",
        "fontSize": "12.5px",
        "lineHeight": "1.5",
    }
}


class Repeats:
    """The values that a widget was given lately, and that soon gave way to others."""

    def __init__(self) -> None:
        self._latest: tuple[Any, float] | None = None
        self._over: list[tuple[Any, float]] = []

    def given(self, value: Any) -> None:
        """Note that the server gave the widget a value."""
        now_s = time.monotonic()
        if self._latest is not None and now_s - self._latest[1] < _LAG_S:
            self._over.append((self._latest[0], now_s))
        self._over = [(each, since_s) for each, since_s in self._over if each != value and now_s - since_s < _LAG_S]
        self._latest = value, now_s

    def __contains__(self, value: Any) -> bool:
        now_s = time.monotonic()
        return any(each == value and now_s - since_s < _LAG_S for each, since_s in self._over)


def on_choice(widget: Any, shown: Callable[[], Any], choose: Callable[[Any], None]) -> None:
    """Call a function with what a visitor chooses with a widget; what a browser only repeats is put right.

    Args:
        widget: of panel-material-ui.
        shown: returns what the widget ought to show.
        choose: called with anything else.
    """
    repeats = Repeats()

    def on_value(event: Any) -> None:
        wanted = shown()
        if event.new == wanted:
            repeats.given(wanted)
        elif event.new in repeats:
            widget.value = wanted
        else:
            choose(event.new)

    widget.param.watch(on_value, "value")


def on_release(slider: Any, shown: Callable[[], Any], choose: Callable[[Any], None]) -> None:
    """Call a function with where a visitor lets a slider go, if it ought to show something else: no browser only repeats that."""

    def on_value(event: Any) -> None:
        if event.new != shown():
            choose(event.new)

    slider.param.watch(on_value, "value_throttled")


def take(state: param.Parameterized, **values: Any) -> None:
    """Set settings to values that a browser sent, all at once.

    Raises:
        InvalidInputError: naming the first setting that cannot have its value; none is set then.
    """
    for name, value in values.items():
        try:
            state.param[name]._validate(value)
        except (TypeError, ValueError):
            refuse(name, "must be within the bounds of this setting", value)
    state.param.update(**values)


def toggle(state: param.Parameterized, name: str, options: Sequence[str] | Mapping[str, str], **look: Any) -> Any:
    """Return small buttons of which one is chosen, tied to a setting both ways.

    Args:
        state: the settings.
        name: of one of them.
        options: its values, or what stands on the buttons for each.
        look: further parameters of the widget.
    """
    kinds = dict(options) if isinstance(options, Mapping) else list(options)
    style = {"label": "", "size": "small", "sx": _SMALL, **look}
    widget = pmu.RadioButtonGroup(options=kinds, value=getattr(state, name), **style)
    on_choice(widget, lambda: getattr(state, name), lambda value: take(state, **{name: value}))
    state.param.watch(lambda event: widget.param.update(value=event.new), name)
    return widget
