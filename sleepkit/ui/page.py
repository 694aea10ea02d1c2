"""The frame of every page: a slim bar, controls that open where there is room for them, nothing that has no name."""

from typing import Any

import panel as pn
import param
from panel.custom import JSComponent
from panel.util.parameters import edit_readonly
from panel_material_ui.template.base import Page

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


# Panel waits 50 ms for more before it looks at what a widget sent; what belongs together comes at once.
_PROMPT_MS = 4


class Quiet(param.Parameterized):
    """What a page's own sign of work follows in place of the whole server's.

    Following that, any event of anybody rewrote every open page, for some 10 ms each.
    """

    busy = param.Boolean(default=False, doc="Whether the sign is on.")


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


def framed(title: str, body: list[Any], *, sidebar: Any = None, dark: bool = False) -> Page:
    """Return a page.

    Args:
        title: in the bar.
        body: what stands in the main area, below each other.
        sidebar: the controls; on a phone they lie over the panes and open when asked for.
        dark: start with dark colours.
    """
    page = frame(title, with_controls=sidebar is not None, dark=dark)
    fill(page, body, sidebar=sidebar)
    return page


def frame(title: str, *, with_controls: bool, dark: bool = False) -> Page:
    """Return a page of which nothing but the bar is there yet.

    Args:
        title: in the bar.
        with_controls: whether there will be a sidebar.
        dark: start with dark colours.
    """
    wideness = Wideness(height=0, margin=0)
    # Long lines and wide tables scroll where they are.
    styles = {"contain": "inline-size"}
    page = Page(
        title=title,
        main=[pn.Column(wideness, sizing_mode="stretch_width", margin=(6, 14), styles=styles)],
        sidebar_width=272,
        dark_theme=dark,
        sidebar_resizable=False,
        sidebar_open=False,
        sx=_STYLE,
        raw_css=[_DARK_FROM_THE_START] if dark else [],
    )
    if with_controls:
        wideness.jslink(page, wide="sidebar_open")  # in the browser: the controls need not wait for the server
    with edit_readonly(page):
        page.busy = Quiet().param.busy
    return page


def fill(page: Page, body: list[Any], *, sidebar: Any = None) -> None:
    """Put what a page is about into its frame; what stood there before goes.

    Args:
        page: what ``frame`` returned.
        body: what stands in the main area, below each other.
        sidebar: the controls.
    """
    column = page.main[0]
    column.objects = [*body, column.objects[-1]]
    if sidebar is not None:
        page.sidebar = [DrawerName(height=0, margin=0), sidebar]
    widgets: list[Any] = page.select(pn.widgets.WidgetBase)
    for widget in widgets:
        widget._debounce = _PROMPT_MS
