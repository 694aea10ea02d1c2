"""What the model reads, what is evicted, and its answers at N and at the compared N."""

from typing import Any

import panel as pn

from sleepkit import plots
from sleepkit.notation import depth_symbol
from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.subject import count
from sleepkit.ui.views.base import View

_ABOUT = (
    "The answers at N and at the compared N beside the truth, then the text, window by window; evicted windows are faded. "
    "When the question comes the model sees none of the faded text: it answers in one pass, from the fast weights alone."
)


class TextView(View):
    """Answers and tokens."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="text", about=_ABOUT, height=height, **params)
        self._body = pn.pane.HTML("", sizing_mode="stretch_width", height=self.height, margin=0)
        self._view = self.framed(self._body)

    def draw_moment(self, picture: Picture) -> None:
        """Write the tokens and the answers."""
        theme, request = self.state.colours, picture.request
        unit = depth_symbol(picture.subject.task).unit
        asked = f"{count(request.depth, unit.rstrip('s'))} of reasoning"
        source = "own input" if request.text else f"held-out example {request.example}"
        summary = f"{html.answers_summary(picture)} {plots.token_summary(picture.tree, window=self.state.window)}"
        self.entitle("Text and answers", f"{source}, {asked}", summary)
        tokens = plots.token_text(
            picture.tree, window=self.state.window, theme=theme, highlight=html.read_on_the_way(picture, self.state.answer)
        )
        # The answers come first: with a long context the text is longer than the pane.
        self._body.object = html.scrolling(html.answers(picture, theme) + tokens, self.height, "Answers and tokens")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
