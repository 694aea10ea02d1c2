"""What the lab page shows, as values. No Panel here."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import param

from sleepkit.plots import Theme
from sleepkit.plots.runs import Along, Value

URL_NAMES = ("selected", "looks", "value", "along", "held_out", "theme")
THEMES = [None, "light", "dark"]
N_FIRST = 4
_MOST_LOOKS = 10_000


class LabState(param.Parameterized):
    """Which runs are drawn, and what of them."""

    selected = param.List(default=[], item_type=str, doc="Keys of the runs that are drawn, in the order of choice.")
    looks = param.List(default=[], item_type=int, doc="Number of the look of each run that is drawn, in the same order.")
    value: Any = param.Selector(default="loss", objects=["loss", "accuracy"], doc="What is drawn of each batch.")
    along: Any = param.Selector(default="step", objects=["step", "tokens", "time"], doc="What runs to the right.")
    held_out: Any = param.Selector(
        default="depth", objects=["depth", "training"], doc="Held-out accuracy: by depth, or over time."
    )
    theme: Any = param.Selector(default=None, objects=THEMES, doc="Colours the visitor chose; None: those of the system.")
    system_dark = param.Boolean(default=False, doc="Whether the visitor's system prefers dark colours.")

    def choose(self, keys: Sequence[str]) -> None:
        """Draw these runs; one that is drawn already keeps its look, a new one gets the lowest that is free."""
        keys = list(dict.fromkeys(keys))
        kept = {key: slot for key, slot in self.slots().items() if key in keys}
        for key in keys:
            if key not in kept:
                kept[key] = _lowest_free(kept.values())
        self.param.update(selected=keys, looks=[kept[key] for key in keys])

    def slots(self) -> dict[str, int]:
        """Return the look of each selected run by its key; where an address gave two runs one look, or none, a free one."""
        found: dict[str, int] = {}
        for key, slot in zip(self.selected, self.looks, strict=False):
            if 0 <= slot < _MOST_LOOKS and slot not in found.values():
                found[key] = slot
        for key in self.selected:
            if key not in found:
                found[key] = _lowest_free(found.values())
        return found

    @property
    def colours(self) -> Theme:
        """The theme in use, typed for the plots."""
        return cast(Theme, self.theme or ("dark" if self.system_dark else "light"))

    @property
    def value_drawn(self) -> Value:
        """What is drawn of each batch, typed for the plots."""
        return cast(Value, self.value)

    @property
    def along_drawn(self) -> Along:
        """What runs to the right, typed for the plots."""
        return cast(Along, self.along)


def _lowest_free(taken: Iterable[int]) -> int:
    numbers = set(taken)
    return next(number for number in range(len(numbers) + 1) if number not in numbers)
