"""The true reasoning path of one question, and how sure the model is of its answer."""

from typing import Any

import panel as pn
import panel_material_ui as pmu

from sleepkit import plots
from sleepkit.ui import html
from sleepkit.ui.choice import on_choice, take
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.base import View, fit, plot_pane

_ABOUT = (
    "The steps that lead from the evicted text to the true answer of one question; the model is never shown them. "
    "The bars are the model's probabilities of its likeliest answers, at N and at the compared N."
)


class PathView(View):
    """Automaton history, graph walk or arithmetic chain of one question, with the answer's probabilities."""

    def __init__(self, state: ExplorerState, *, height: int, **params: Any) -> None:
        super().__init__(state, name="path", about=_ABOUT, height=height, **params)
        self._which = pmu.Select(label="Question", options=[0], value=0, size="small", width=96, margin=(3, 6, 0, 8))
        on_choice(self._which, lambda: state.answer, lambda answer: take(state, answer=answer))
        self._steps = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, styles={"flex": "1.2 1 220px"})
        self._plot = plot_pane(self.height, "probabilities")
        body = pn.Row(
            self._steps,
            pn.Column(self._plot, sizing_mode="stretch_width", margin=0, styles={"flex": "1 1 190px"}),
            sizing_mode="stretch_width",
            margin=0,
            styles={"flex-wrap": "wrap"},
        )
        self._view = self.framed(body, tools=(self._which,))
        self._drawn: tuple[Any, ...] | None = None

    def draw(self, picture: Picture) -> None:
        """Draw everything."""
        self._drawn = None
        self._which.param.update(options=list(range(picture.n_answers)), value=self.state.answer)
        self.draw_moment(picture)

    def draw_moment(self, picture: Picture) -> None:
        """Draw the question looked at, if it is another one."""
        state = self.state
        if self._drawn == (state.answer,):
            return
        self._drawn = (state.answer,)
        self._which.value = state.answer
        way = plots.reasoning_path(picture.tree, answer=state.answer, theme=state.colours)
        self._steps.object = html.scrolling(way, self.height, "Steps of the true reasoning path", shrinks=True)
        names = [f"N = {number}" for number, _ in picture.both]
        trees = [tree for _, tree in picture.both]
        figure = plots.probability_bars(*trees, answer=state.answer, names=names, theme=state.colours)
        self._plot.draw(fit(figure, self.height, t=24, b=36))
        said = plots.probability_summary(*trees, answer=state.answer, names=names)
        summary = f"{plots.reasoning_summary(picture.tree, answer=state.answer)} {said}"
        self.entitle("True reasoning path", f"question {state.answer}", summary)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view
