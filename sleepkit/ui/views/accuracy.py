"""Accuracy by reasoning depth: the card's lines, what was measured now, and where the explorer stands."""

from typing import Any

import panel as pn

from sleepkit import plots
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState, lines_shown
from sleepkit.ui.views.base import View, fit, plot_pane

_ABOUT = (
    "How often one answer about evicted text is right, by the steps of reasoning it takes: one line per N, with 95 % intervals. "
    "The dotted floor is the best constant answer, what a model that remembers nothing can reach."
)


class AccuracyView(View):
    """Lines of the card, measured points, floor, and "you are here"."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="accuracy", about=_ABOUT, height=height, **params)
        self._plot = plot_pane(self.height, "accuracy-by-depth")
        self._view = self.framed(self._plot)

    def draw(self, picture: Picture) -> None:
        """Draw the accuracy; the marker waits until its value is known."""
        request, subject = picture.request, picture.subject
        lines = subject.accuracy.sel(n_passes=lines_shown(subject, request.n_passes, picture.compare))
        here = None if request.n_passes in picture.missing else (request.n_passes, request.depth)
        figure = plots.accuracy_by_depth(
            lines, here=here, compare=picture.compare, measured=picture.measured, theme=self.state.colours
        )
        self._plot.draw(fit(figure, self.height, l=56, b=42, t=8))
        summary = plots.accuracy_summary(lines, here=here, compare=picture.compare, measured=picture.measured)
        self.entitle("Accuracy by reasoning depth", "one answer, evicted text", summary)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
