"""The frame of every page: a slim bar, controls that open where there is room for them, nothing that has no name."""

from typing import Any

import panel as pn
import param
from panel.custom import JSComponent
from panel.util.parameters import edit_readonly
from panel_material_ui.template.base import BreakpointSwitcher, Page

_STYLE = {
    "& .MuiToolbar-root": {"minHeight": "44px"},
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


# Panel waits 50 ms for more before it looks at what a widget sent; what belongs together comes at once.
_PROMPT_MS = 4


class Quiet(param.Parameterized):
    """What a page's own sign of work follows in place of the whole server's.

    Following that, any event of anybody rewrote every page, for some 10 ms each, and the server kept all pages for ever.
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


def framed(title: str, body: list[Any], *, sidebar: Any = None, dark: bool = False) -> Page:
    """Return a page.

    Args:
        title: in the bar.
        body: what stands in the main area, below each other.
        sidebar: the controls; on a phone they lie over the panes and open when asked for.
        dark: start with dark colours.
    """
    width = BreakpointSwitcher(breakpoint="sm", small=pn.Spacer(height=0), large=pn.Spacer(height=0), height=0, margin=0)
    # Long lines and wide tables scroll where they are.
    styles = {"contain": "inline-size"}
    page = Page(
        title=title,
        sidebar=[] if sidebar is None else [DrawerName(height=0, margin=0), sidebar],
        main=[pn.Column(*body, width, sizing_mode="stretch_width", margin=(6, 14), styles=styles)],
        sidebar_width=272,
        dark_theme=dark,
        sidebar_resizable=False,
        sidebar_open=False,
        sx=_STYLE,
    )

    def open_where_there_is_room(event: Any) -> None:
        page.sidebar_open = sidebar is not None and event.new is width.large

    width.param.watch(open_where_there_is_room, "current")
    with edit_readonly(page):
        page.busy = Quiet().param.busy
    widgets: list[Any] = page.select(pn.widgets.WidgetBase)
    for widget in widgets:
        widget._debounce = _PROMPT_MS
    return page
