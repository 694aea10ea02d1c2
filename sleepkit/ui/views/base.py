"""What every pane is made of: a frame with a title line and help, and a figure that nobody else dresses."""

import functools
from typing import Any

import panel as pn
import plotly.graph_objects as go

from sleepkit import plots
from sleepkit.ui import html
from sleepkit.ui.figure import FigurePane
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState

PADDING = 8
TITLE_HEIGHT = 30
AROUND = TITLE_HEIGHT + 2 * PADDING + 2
NARROWEST = 330
_FRAME = {
    "overflow": "hidden",
    "border": "1px solid rgba(128,128,128,0.28)",
    "border-radius": "8px",
    "padding": f"{PADDING}px 12px",
    "box-sizing": "border-box",
}


def plot_pane(height: int, name: str = "sleepkit") -> FigurePane:
    """Return a pane for figures of one height; the camera in its tool bar saves a PNG of that name."""
    return FigurePane(height=height, name=name)


def fit(figure: go.Figure, height: int, **margin: int) -> go.Figure:
    """Take the title out of a figure, which its pane shows, and give the room to the plot."""
    figure.update_layout(title_text="", height=height, autosize=True, margin={"l": 44, "r": 8, "t": 18, "b": 30, **margin})
    return figure


def clicked(event: Any) -> Any:
    """Return the ``customdata`` of the point a click event hit, None if it has none."""
    return _point(event).get("customdata")


def look_at_head(state: ExplorerState, figure: go.Figure | None, event: Any) -> None:
    """Show the head alone that a click on a mosaic hit; all heads again if one is shown already."""
    point = _point(event)
    if state.head is not None:
        state.head = None
    elif figure is not None and "x" in point:
        head = plots.head_at(figure, float(point["x"]), float(point["y"]))
        if head is not None:
            state.head = head


def _point(event: Any) -> dict[str, Any]:
    return next(iter((event.new or {}).get("points") or [{}]))


class View(pn.viewable.Viewer):
    """A pane: a frame with a title, help in two sentences, tools at the right and a body.

    Args:
        state: the settings, for the theme and the place looked at.
        name: css class of the frame, after "sk-".
        about: two sentences for the help popover.
        height: pixels, frame included.
    """

    def __init__(self, state: ExplorerState, *, name: str, about: str, height: int, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self.state, self.height, self.css = state, height - AROUND, f"sk-{name}"
        self._outer = height
        self._title = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, height=TITLE_HEIGHT)
        self._help = pn.pane.HTML(
            html.help_popover(name, about, state.colours), width=24, height=TITLE_HEIGHT, margin=0, styles={"z-index": "20"}
        )

    def framed(self, *body: Any, tools: tuple[Any, ...] = (), grow: float | None = 1.0) -> pn.Column:
        """Return the frame around a body.

        Args:
            body: what stands below the title line.
            tools: widgets in the title line.
            grow: share of the row's width; None for a pane that has a row to itself.
        """
        head = pn.Row(
            self._title, *tools, self._help, sizing_mode="stretch_width", height=TITLE_HEIGHT, margin=0, styles={"z-index": "20"}
        )
        return pn.Column(
            head,
            *body,
            min_height=self._outer,
            sizing_mode="stretch_width",
            min_width=NARROWEST,
            margin=0,
            css_classes=[self.css],
            styles=_FRAME if grow is None else {**_FRAME, "flex": f"{grow} 1 {NARROWEST}px"},
        )

    def entitle(self, text: str, detail: str = "", summary: str = "") -> None:
        """Set title and detail, here and on saved pictures, and the figure in words for those who do not see it."""
        for pane in self.figure_panes:
            pane.caption = f"{text}, {detail}" if detail else text
        self._title.object = html.title(text, self.state.colours, detail, summary)

    @property
    def figure(self) -> go.Figure | None:
        """The figure on show, the first one where a view has several; None for a view of words."""
        shown: FigurePane | None = getattr(self, "_plot", None)
        return None if shown is None else shown.shown

    @property
    def captioned(self) -> go.Figure | None:
        """The same figure as it is shown outside the page, with title and settings."""
        shown: FigurePane | None = getattr(self, "_plot", None)
        return None if shown is None else shown.captioned

    @functools.cached_property
    def figure_panes(self) -> list[FigurePane]:
        """Every figure of the pane."""
        return [pane for pane in self.__panel__().select(FigurePane) if isinstance(pane, FigurePane)]

    def draw(self, picture: Picture) -> None:
        """Draw everything: the picture or the theme is new."""
        self.draw_moment(picture)

    def draw_moment(self, picture: Picture) -> None:
        """Draw what depends on the place looked at; nothing if nothing does."""
