"""The frame of every page: a slim bar, controls that open where there is room for them, nothing that has no name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import panel as pn
import param
from bokeh.document import Document
from panel.custom import JSComponent
from panel.util.parameters import edit_readonly
from panel_material_ui.template.base import Page

if TYPE_CHECKING:
    from sleepkit.plots.theme import Theme

_STYLE = {
    "& .MuiToolbar-root": {"minHeight": "44px"},
    # A title that is too long is cut, so that the switch of the theme stays on the screen.
    "& .MuiToolbar-root > div, & .MuiToolbar-root > div > a": {"minWidth": 0},
    "& .MuiAppBar-root h3": {
        "fontSize": "18px",
        "lineHeight": 1.4,
        "minWidth": 0,
        "whiteSpace": "nowrap",
        "overflow": "hidden",
        "textOverflow": "ellipsis",
    },
    # The bar's progress has no name for screen readers; each page says what is being done.
    "& .MuiAppBar-root .MuiLinearProgress-root": {"display": "none"},
    # The controls open as soon as the width is known; panes that slide while figures are drawn into them would stutter.
    "& main": {"transition": "none !important"},
    "@media (max-width: 600px)": {"& .MuiAppBar-root h3": {"fontSize": "14px"}},
}


# For the second in which the browser reads the scripts that set these; of no weight against what they set.
_DARK_FROM_THE_START = ":where(:root) { --mui-palette-background-default: #121212; --mui-palette-text-primary: #fff }"
_FIRST_COLOURS = {
    "light": [],
    "dark": [_DARK_FROM_THE_START],
    None: [f"@media (prefers-color-scheme: dark) {{ {_DARK_FROM_THE_START} }}"],
}


# Panel waits 50 ms for more before it looks at what a widget sent; what belongs together comes at once.
_PROMPT_MS = 4


class Quiet(param.Parameterized):
    """What a page's own sign of work follows in place of the whole server's.

    Following that, any event of anybody rewrote every open page, for some 10 ms each.
    """

    busy = param.Boolean(default=False, doc="Whether the sign is on.")


class Frame(Page):
    """A page that knows its address from ``ui.address`` alone.

    Panel's own location would read it too, make a number of whatever consists of digits, and fail where those are thousands.
    """

    def server_doc(self, doc: Document | None = None, title: str | None = None, location: object = None) -> Document:  # noqa: ARG002 - Panel hands it over
        """Put the page into a document, without Panel's location."""
        return super().server_doc(doc, title, location=False)


class DrawerName(JSComponent):
    """Gives the drawer it stands in a name: on a phone the drawer is a dialog, and the template gives it none."""

    _esm = """
    export function render({el}) {
      requestAnimationFrame(() => {
        let node = el
        while (node && node.getAttribute?.("role") !== "dialog") { node = node.parentNode ?? node.host }
        node?.setAttribute("aria-label", "Controls")
      })
      return document.createElement("span")
    }
    """


class Wideness(JSComponent):
    """Tells, as soon as the page stands, whether it has room for controls beside the panes, and again when that changes."""

    wide = param.Boolean(default=None, allow_None=True, doc="Whether there is room; None before it is known.")

    _esm = """
    export function render({model}) {
      const query = window.matchMedia("(min-width: 600px)")
      const tell = () => { model.wide = query.matches }
      query.addEventListener("change", tell)
      model.on("remove", () => query.removeEventListener("change", tell))
      tell()
      return document.createElement("span")
    }
    """


class SystemColours(JSComponent):
    """Tells, as soon as the page stands, whether the visitor's system prefers dark colours, and again when that changes."""

    dark = param.Boolean(default=None, allow_None=True, doc="What it preferred when the page was opened; None before.")

    _esm = """
    export function render({model}) {
      const query = window.matchMedia("(prefers-color-scheme: dark)")
      const tell = () => model.send_msg({dark: query.matches})
      query.addEventListener("change", tell)
      model.on("remove", () => query.removeEventListener("change", tell))
      model.dark = query.matches
      return document.createElement("span")
    }
    """

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self.on_change: Callable[[bool], None] = lambda _: None

    def _handle_msg(self, data: Mapping[str, Any]) -> None:
        self.on_change(bool(data["dark"]))


class Coloured(Protocol):
    """A state with the colours of a page."""

    theme: Any
    system_dark: Any
    param: Any

    @property
    def colours(self) -> "Theme":
        """The theme in use."""
        ...


def framed(title: str, body: list[Any], *, sidebar: Any = None, theme: "Theme | None" = None) -> Page:
    """Return a page.

    Args:
        title: in the bar.
        body: what stands in the main area, below each other.
        sidebar: the controls; on a phone they lie over the panes and open when asked for.
        theme: as for ``frame``.
    """
    page = frame(title, with_controls=sidebar is not None, theme=theme)
    fill(page, body, sidebar=sidebar)
    return page


def frame(title: str, *, with_controls: bool, theme: "Theme | None" = None) -> Page:
    """Return a page of which nothing but the bar is there yet.

    Args:
        title: in the bar.
        with_controls: whether there will be a sidebar.
        theme: the colours it starts with; those that the visitor's system prefers if None.
    """
    wideness, system = Wideness(height=0, margin=0), SystemColours(height=0, margin=0)
    # Long lines and wide tables scroll where they are.
    styles = {"contain": "inline-size"}
    page = Frame(
        title=title,
        site_url="./",  # the root of the pages, below whatever path a proxy may have taken off
        main=[pn.Column(wideness, system, sizing_mode="stretch_width", margin=(6, 14), styles=styles)],
        sidebar_width=272,
        dark_theme=theme == "dark",
        sidebar_resizable=False,
        sidebar_open=False,
        sx=_STYLE,
        raw_css=_FIRST_COLOURS[theme],
    )
    if with_controls:
        wideness.jslink(page, wide="sidebar_open")  # in the browser: the controls need not wait for the server
    if theme is None:
        system.jslink(page, dark="dark_theme")
    with edit_readonly(page):
        page.busy = Quiet().param.busy
    return page


class Folded:
    """A part of a page that is shown empty and gets its own parts one by one: each costs a server a tenth of a second."""

    _column: pn.Column
    _parts: list[list[Any]]

    def fold(self, column: pn.Column, parts: Sequence[list[Any]]) -> None:
        """Keep parts until their column is on the page.

        Args:
            column: what they stand in.
            parts: from above; a list is one step.
        """
        self._column, self._parts = column, list(parts)

    def unfold(self) -> Iterator[None]:
        """Put the parts into the column, a step at a time."""
        while self._parts:
            self._column.extend(self._parts.pop(0))
            yield


def fill(page: Page, body: list[Any], *, sidebar: Any = None) -> None:
    """Put what a page is about into its frame; what stood there before goes.

    Args:
        page: what ``frame`` returned.
        body: what stands in the main area, below each other.
        sidebar: the controls.
    """
    for _ in filling(page, body, sidebar=sidebar):
        pass


def filling(page: Page, body: list[Any], *, sidebar: Any = None) -> Iterator[None]:
    """Do what ``fill`` does in steps, between which a server can answer others.

    Args:
        page: what ``frame`` returned.
        body: what stands in the main area, below each other; what is folded unfolds there, one part a step.
        sidebar: the controls, likewise.
    """
    column, shown = page.main[0], list[Any]()
    kept = [each for each in column.objects if isinstance(each, Wideness | SystemColours)]
    for part in body:
        shown.append(part)
        column.objects = [*shown, *kept]
        yield
        if isinstance(part, Folded):
            yield from part.unfold()
    if sidebar is not None:
        page.sidebar = [DrawerName(height=0, margin=0), sidebar]
        yield
        if isinstance(sidebar, Folded):
            yield from sidebar.unfold()
    widgets: list[Any] = page.select(pn.widgets.WidgetBase)
    for widget in widgets:
        widget._debounce = _PROMPT_MS


def follow_theme(page: Page, state: Coloured) -> None:
    """Tie the colours of a page to its state: those that the visitor chose, until then those that the system prefers."""
    system: SystemColours = page.main[0].select(SystemColours)[0]

    def on_switch(event: Any) -> None:
        if state.theme is None and system.dark is None:  # the browser followed the system before we heard of that
            state.system_dark = event.new
        elif event.new != (state.colours == "dark"):
            state.theme = "dark" if event.new else "light"

    def on_system(dark: bool) -> None:
        state.system_dark = dark

    def on_state(*_: Any) -> None:
        page.dark_theme = state.colours == "dark"

    if system.dark is not None:
        on_system(system.dark)
    on_state()
    page.param.watch(on_switch, "dark_theme")
    system.param.watch(lambda event: on_system(event.new), "dark")
    system.on_change = on_system
    state.param.watch(on_state, ["theme", "system_dark"])
