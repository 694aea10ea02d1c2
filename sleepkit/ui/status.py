"""The line under the finding: what is shown, what was refused, what is being measured."""

from collections.abc import Callable
from typing import Any, Literal

import panel as pn
import panel_material_ui as pmu

from sleepkit.ui import html
from sleepkit.ui.state import ExplorerState

Topic = Literal["input", "settings", "view", "address"]

# The line is as high as its text; on narrow screens it has a row of its own.
_WHOLE = ":host { height: auto !important; min-height: 34px }@media (max-width: 1200px) { :host { flex: 1 0 100% !important; } }"


class StatusLine(pn.viewable.Viewer):
    """One alert, a progress bar and a button. A refusal stays until its topic is accepted again.

    Args:
        state: gives the theme.
        on_cancel: called when the user stops measuring.
        on_measure: called when the user starts it again.
    """

    def __init__(
        self, state: ExplorerState, *, on_cancel: Callable[[], None], on_measure: Callable[[], None], **params: Any
    ) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._on_cancel, self._on_measure = state, on_cancel, on_measure
        self._refusals: dict[Topic, str] = {}
        self._text, self._beyond = "", False
        self._alert = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
        self._bar = pmu.Progress(value=0, max=100, width=120, margin=(14, 10), visible=False)
        self._button = pmu.Button(label="Cancel", variant="outlined", size="small", width=100, margin=0, visible=False)
        self._button.on_click(self._on_click)
        parts = (self._alert, self._bar, self._button)
        self._view = pn.Row(*parts, sizing_mode="stretch_width", margin=(4, 0, 0, 0), height=34, stylesheets=[_WHOLE])

    def refuse(self, message: str, topic: Topic) -> None:
        """Show why something was refused."""
        self._refusals.pop(topic, None)
        self._refusals[topic] = message
        self._update()

    def accept(self, topic: Topic) -> None:
        """Forget the refusal of a topic."""
        self._refusals.pop(topic, None)
        self._update()

    def say(self, text: str, *, beyond: bool) -> None:
        """Set what is said when nothing is refused; ``beyond`` makes it a warning."""
        self._text, self._beyond = text, beyond
        self._update()

    def progress(self, done: int, total: int) -> None:
        """Show how far the work is."""
        self._bar.param.update(value=round(100 * done / total), visible=True)
        self._button.param.update(label="Cancel", visible=True)

    def wait(self, n_before: int) -> None:
        """Show how many pieces of work are done before this page's."""
        self._bar.param.update(value=0, visible=True)
        self._button.param.update(label=f"Cancel ({n_before} before)", visible=True)

    def stopped(self, *, can_measure: bool) -> None:
        """Hide the progress bar; offer to measure if that makes sense."""
        self._bar.visible = False
        self._button.param.update(label="Measure", visible=can_measure)

    @property
    def refusal(self) -> str | None:
        """The latest refusal that still stands, if there is one."""
        return next(reversed(self._refusals.values()), None)

    def _update(self) -> None:
        if self.refusal is None:
            self._alert.object = html.status(self._text, "warning" if self._beyond else "info", self._state.colours)
        else:
            text = f"{self.refusal}. The last good picture stays."
            self._alert.object = html.status(text, "error", self._state.colours)

    def _on_click(self, _: Any) -> None:
        if self._bar.visible:
            self._on_cancel()
        else:
            self._on_measure()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
