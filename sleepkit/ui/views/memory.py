"""What a linear probe finds in the fast weights: intermediate states of the reasoning that nobody taught the model to write."""

from typing import Any

import panel as pn

from sleepkit import plots, zoo
from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.base import View, fit, plot_pane

_ABOUT = (
    "Linear probes, fitted on other examples, read intermediate steps of the reasoning out of the fast weights after each pass. "
    "What they find was written there by the model; the percentages are how often such a probe is right on held-out examples."
)


class MemoryView(View):
    """The probe's reading of the state looked at."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="probe", about=_ABOUT, height=height, **params)
        self._plot = plot_pane(self.height, "memory")
        self._view = self.framed(self._plot)

    def draw_moment(self, picture: Picture) -> None:
        """Draw the reading, or say why there is none."""
        state, shown = self.state, picture.pass_shown(self.state)
        try:
            probe = zoo.load_probe(picture.subject.name)
            reading = probe.read(picture.tree, state.window, shown)
        except zoo.NoReadingError as why:
            self._plot.draw(fit(html.empty_figure(str(why), state.colours), self.height))
            self.entitle("What the memory knows", "", str(why))
            return
        key = (self.css, self.height, picture.request, state.window, shown, state.colours)
        self._plot.draw_known(key, lambda: fit(plots.memory_reading(reading, theme=state.colours), self.height, l=80, b=36))
        self.entitle("What the memory knows", f"window {state.window}, pass {shown}", plots.memory_reading_summary(reading))

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
