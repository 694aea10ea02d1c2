"""Four steps through the first minute: each says one thing and turns the explorer to where it can be seen."""

from typing import Any, NamedTuple

import panel as pn
import panel_material_ui as pmu

from sleepkit.plots import palette
from sleepkit.ui import html
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.subject import subject


class Step(NamedTuple):
    """One step.

    Attributes:
        title: a few words.
        text: what is to be seen.
        turn: settings of the state that show it.
    """

    title: str
    text: str
    turn: dict[str, Any]


STEPS = (
    Step(
        "Without sleep",
        "N = 1: every window is read once and evicted. The question then comes alone: the text is gone, only the fast weights "
        "(squares, left) remain. Look at the answers, and at the grey line: it falls to the floor where many steps are asked.",
        {"n_passes": 1, "window": 0, "sleep_pass": None, "tab": "single"},
    ),
    Step(
        "With sleep",
        "N = 4: the same model with the same weights loops three more times over each window before it is evicted. The answers "
        "turn right, though answering still takes one pass.",
        {"n_passes": 4, "window": 0, "sleep_pass": None, "tab": "single"},
    ),
    Step(
        "What a pass writes",
        "Here is the change of the fast weights in the second pass over the first window. Play the passes below the squares, or "
        "click any pass in the timeline.",
        {"n_passes": 4, "window": 0, "sleep_pass": 2, "view": "change", "tab": "single"},
    ),
    Step(
        "Compare",
        "Side by side: N = 4 and N = 1 on the same example. Every control at the left works here too; the address of this page "
        "keeps what you see, so you can send it to somebody.",
        {"n_passes": 4, "compare": 1, "window": 0, "sleep_pass": None, "view": "value", "tab": "side by side"},
    ),
)


class Tour(pn.viewable.Viewer):
    """A card with one step, Back, Next and Close; hidden until started.

    Args:
        state: turned by each step.
    """

    def __init__(self, state: ExplorerState, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state, self._at = state, 0
        self._text = pn.pane.HTML("", sizing_mode="stretch_width", margin=(4, 8))
        self._back = pmu.Button(label="Back", variant="text", size="small", margin=4)
        self._next = pmu.Button(label="Next", variant="contained", size="small", margin=4)
        close = pmu.Button(label="Close the tour", variant="text", size="small", margin=4)
        self._back.on_click(lambda _: self._go(self._at - 1))
        self._next.on_click(lambda _: self._go(self._at + 1))
        close.on_click(lambda _: self._leave())
        state.param.watch(lambda *_: self._write(), ["theme", "system_dark"])
        self._view = pn.Row(
            self._text,
            self._back,
            self._next,
            close,
            sizing_mode="stretch_width",
            margin=(6, 0, 0, 0),
            visible=False,
            css_classes=["sk-tour"],
            styles={"border": f"2px solid {palette(state.colours).accent}", "border-radius": "8px", "flex-wrap": "wrap"},
        )

    def start(self) -> None:
        """Show the first step, from the model's own settings on."""
        self._state.adopt(subject(self._state.model))
        self._go(0)

    def _go(self, at: int) -> None:
        if at == len(STEPS):
            self._leave()
            return
        self._at = at
        self._write()
        self._back.disabled = at == 0
        self._next.label = "Done" if at == len(STEPS) - 1 else "Next"
        self._view.visible = True
        self._state.param.update(**STEPS[at].turn)

    def _write(self) -> None:
        step = STEPS[self._at]
        self._text.object = html.tour_step(step.title, step.text, self._at + 1, len(STEPS), self._state.colours)

    def _leave(self) -> None:
        self._view.visible = False

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
