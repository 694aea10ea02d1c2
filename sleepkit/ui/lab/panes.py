"""The panes of the lab page: four figures of the runs on show, and the settings in which these differ."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import panel as pn
import plotly.graph_objects as go

from sleepkit import plots
from sleepkit.plots import RunLine, Theme, palette
from sleepkit.plots.theme import FONT
from sleepkit.ui import html
from sleepkit.ui.choice import toggle
from sleepkit.ui.figure import FigurePane
from sleepkit.ui.lab.labels import differing, flat, short, spoken
from sleepkit.ui.lab.state import LabState
from sleepkit.ui.lab.store import RunRecord

HEIGHT, _TITLE, _NARROWEST = 262, 30, 310
_PLOT = HEIGHT - _TITLE - 18
FRAME = {
    "border": "1px solid rgba(128,128,128,0.28)",
    "border-radius": "8px",
    "padding": "8px 12px",
    "box-sizing": "border-box",
    "overflow": "hidden",
}
# Seen by screen readers alone.
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"


def framed(*body: Any, title: Any, tools: Sequence[Any] = (), name: str, height: int = HEIGHT) -> pn.Column:
    """Frame a pane: a title line with tools at its right, and the body below.

    How narrow it may be is told to the browser alone: Panel would add up the ``min_width`` of a row that wraps.
    """
    head = pn.Row(title, *tools, sizing_mode="stretch_width", height=_TITLE, margin=0, styles={"align-items": "center"})
    return pn.Column(
        head,
        *body,
        height=height,
        sizing_mode="stretch_width",
        margin=0,
        css_classes=[f"sk-{name}"],
        styles={**FRAME, "flex": f"1 1 {_NARROWEST}px"},
    )


class FigureView(pn.viewable.Viewer):
    """A framed figure with its title and the same in words.

    Args:
        name: css class of the frame, after "sk-".
        tools: widgets in the title line.
    """

    def __init__(self, name: str, *, tools: Sequence[Any] = (), **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._title = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, height=_TITLE)
        self.plot = FigurePane(height=_PLOT, name=f"sleepkit-{name}", legend=True)
        self.summary = ""
        self._view = framed(self.plot, title=self._title, tools=tools, name=name)

    def draw(self, figure: go.Figure, *, title: str, detail: str, summary: str, theme: Theme, nothing: str) -> None:
        """Draw a figure; one without data says ``nothing``."""
        self.summary = summary if figure.data else nothing
        figure = figure if figure.data else html.empty_figure(nothing, theme)
        figure.update_layout(height=_PLOT, autosize=True, margin={"l": 54, "r": 10, "t": 10, "b": 42})
        self.plot.caption = f"{title}, {detail}"
        self.plot.draw(figure)
        unseen = f'<div class="sk-summary" style="{_UNSEEN}">{escape(self.summary)}</div>'
        self._title.object = html.title(title, theme, detail) + unseen

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


class Panes(pn.viewable.Viewer):
    """All panes, drawn from the selected runs.

    Args:
        state: gives what is drawn.
    """

    def __init__(self, state: LabState, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._state = state
        look: dict[str, Any] = {"margin": (0, 0, 0, 6), "width_policy": "min"}
        value = toggle(state, "value", ["loss", "accuracy"], **look)
        along = toggle(state, "along", {"steps": "step", "tokens": "tokens", "time": "time"}, **look)
        held_out = toggle(state, "held_out", {"by depth": "depth", "as it grew": "training"}, **look)
        self.curves = FigureView("curves", tools=(value, along))
        self.accuracy = FigureView("held-out", tools=(held_out,))
        self.speed, self.passes = FigureView("speed"), FigureView("passes")
        self.settings = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
        self._settings_title = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, height=_TITLE)
        scroll = pn.Column(self.settings, sizing_mode="stretch_width", height=_PLOT, margin=0, scroll=True)
        compared = framed(scroll, title=self._settings_title, name="compared")
        row = {"sizing_mode": "stretch_width", "margin": (8, 0, 0, 0), "styles": {"gap": "8px", "flex-wrap": "wrap"}}
        self._view = pn.Column(
            pn.Row(self.curves, self.accuracy, **row),
            pn.Row(self.speed, self.passes, compared, **row),
            sizing_mode="stretch_width",
            margin=0,
        )

    def draw(self, runs: Sequence[RunRecord], labels: Mapping[str, str], counts: Sequence[Mapping[int, int]]) -> None:
        """Draw the selected runs.

        Args:
            runs: those on show, in the order of choice.
            labels: what each run is called, by key.
            counts: for each of them, the number of steps by N.
        """
        state, theme, slots = self._state, self._state.colours, self._state.slots()
        lines = [RunLine(labels[run.key], run.history, run.tokens_per_step, slots[run.key]) for run in runs]
        nothing = "No run is checked in the list above." if not runs else "No steps yet."
        value, along = state.value_drawn, state.along_drawn
        self.curves.draw(
            plots.run_curves(lines, value=value, along=along, theme=theme),
            title="Loss" if value == "loss" else "Accuracy",
            detail="each row a batch of training",
            summary=plots.run_curves_summary(lines, value=value),
            theme=theme,
            nothing=nothing,
        )
        if state.held_out == "depth":
            held_out, summary = plots.run_accuracy(lines, theme=theme), plots.run_accuracy_summary(lines)
        else:
            held_out = plots.run_curves(lines, value="validation_accuracy", along=along, theme=theme)
            summary = plots.run_curves_summary(lines, value="validation_accuracy")
        self.accuracy.draw(
            held_out,
            title="Held out",
            detail="newest count by depth, 95 %" if state.held_out == "depth" else "mean over all depths",
            summary=summary,
            theme=theme,
            nothing=nothing if not runs else "Not validated yet (validate_every counts; 0 is never).",
        )
        self.speed.draw(
            plots.run_curves(lines, value="tokens_per_s", along=along, theme=theme),
            title="Speed",
            detail="tokens a second since the row before",
            summary=plots.run_curves_summary(lines, value="tokens_per_s"),
            theme=theme,
            nothing=nothing,
        )
        self.passes.draw(
            plots.run_passes(lines, counts, theme=theme),
            title="N of the steps",
            detail="every step made so far",
            summary=plots.run_passes_summary(lines, counts),
            theme=theme,
            nothing=nothing,
        )
        self._settings_title.object = html.title("Settings that differ", theme, f"{len(runs)} on show")
        self.settings.object = settings_table(runs, labels, theme)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


def settings_table(runs: Sequence[RunRecord], labels: Mapping[str, str], theme: Theme) -> str:
    """Return the settings in which runs differ, a column a run; in words if there is nothing to compare."""
    names = differing([run.settings for run in runs])
    if len(runs) < 2 or not names:
        text = "Check two runs or more to compare them." if len(runs) < 2 else "These runs agree in every setting."
        return html.note(text, theme)
    colours, tables = palette(theme), [flat(run.settings) for run in runs]
    heads = "".join(f'<th scope="col">{escape(labels[run.key])}</th>' for run in runs)
    rows = []
    for name in names:
        texts = [table.get(name, "not set") for table in tables]
        cells = "".join(f'<td title="{escape(text)}">{escape(short(text))}</td>' for text in texts)
        rows.append(f'<tr><th scope="row" title="{escape(name)}">{escape(_column(name, runs))}</th>{cells}</tr>')
    style = (
        f"<style>.sk-differing{{font:12.5px/1.4 {FONT};color:{colours.text};border-collapse:collapse;"
        f"font-variant-numeric:tabular-nums}}.sk-differing th,.sk-differing td{{border-top:1px solid {colours.grid};"
        f"padding:3px 12px 3px 0;text-align:left;vertical-align:top}}.sk-differing th{{font-weight:500;color:{colours.muted}}}"
        f".sk-differing td,.sk-differing th{{white-space:nowrap}}</style>"
    )
    return f'{style}<table class="sk-differing"><tr><th scope="col">setting</th>{heads}</tr>{"".join(rows)}</table>'


def _column(name: str, runs: Sequence[RunRecord]) -> str:
    """Return a name as it is spoken where all runs speak alike, the dotted name otherwise."""
    known = {spoken(name, run.settings) for run in runs}
    return known.pop().removesuffix(" =") if len(known) == 1 else name
