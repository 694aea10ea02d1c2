"""What the lab page shows, as values. No Panel here."""

from collections.abc import Iterable
from typing import Any, cast

import param

from sleepkit.plots import Theme
from sleepkit.plots.runs import Along, Value

URL_NAMES = ("selected", "value", "along", "held_out")
N_FIRST = 4


class LabState(param.Parameterized):
    """Which runs are drawn, and what of them."""

    selected = param.List(default=[], item_type=str, doc="Keys of the runs that are drawn, in the order of choice.")
    value: Any = param.Selector(default="loss", objects=["loss", "accuracy"], doc="What is drawn of each batch.")
    along: Any = param.Selector(default="step", objects=["step", "tokens", "time"], doc="What runs to the right.")
    held_out: Any = param.Selector(
        default="depth", objects=["depth", "training"], doc="Held-out accuracy: by depth, or over time."
    )
    theme: Any = param.Selector(default="light", objects=["light", "dark"], doc="Colours.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._slots: dict[str, int] = {}

    def slots(self) -> dict[str, int]:
        """Return the look of each selected run by its key; a run keeps its look while it is selected."""
        kept = {key: slot for key, slot in self._slots.items() if key in self.selected}
        for key in self.selected:
            if key not in kept:
                kept[key] = _lowest_free(kept.values())
        self._slots = kept
        return kept

    @property
    def colours(self) -> Theme:
        """The theme, typed for the plots."""
        return cast(Theme, self.theme)

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
