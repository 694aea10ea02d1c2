"""The address bar of a page: it says what is shown, and Back and Forward show again what it said.

Panel's own location makes an entry of the history of every change, and does not hear of Back.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import panel as pn
import param
from panel.custom import JSComponent

from sleepkit.errors import require
from sleepkit.ui import query

_LONGEST_SEARCH = 2**17  # a text of one's own, each character written as %XX


class AddressBar(JSComponent):
    """Writes the address, and tells when the visitor goes back or forward.

    What changes after a click or a key of the visitor's is a new entry of the history; what follows from it by itself, as while a
    slider is dragged or the passes are played, or from clicks and keys a second apart at most, belongs to the same entry.

    Args:
        search: what follows the path, "?" included.
        on_visit: called with what follows the path of the entry that the visitor went to.
    """

    search = param.String(default="", doc="What follows the path.")

    _esm = Path(__file__).with_name("address.js")

    def __init__(self, search: str, *, on_visit: Callable[[str], None], **params: Any) -> None:
        super().__init__(search=search, height=0, margin=0, **params)  # type: ignore[no-untyped-call]
        self._on_visit = on_visit

    def _handle_msg(self, data: Any) -> None:
        search = data.get("search") if isinstance(data, Mapping) else None
        good = isinstance(search, str) and len(search) <= _LONGEST_SEARCH
        require(good, "message", f"must hold what follows the path, at most {_LONGEST_SEARCH} characters", data)
        self._on_visit(str(search))


def search_asked_for() -> str:
    """Return what follows the path in the address that the page is opened with; empty without a browser.

    Not from ``pn.state.location``, which makes a number of whatever consists of digits, and fails where those are thousands.
    """
    given = [(name, value) for name, values in pn.state.session_args.items() for value in values]
    return "?" + urlencode(given) if given else ""


def theme_asked_for() -> Literal["light", "dark"] | None:
    """Return the theme that the address asks for; None if it leaves that to the visitor's system."""
    asked = dict(parse_qsl(search_asked_for().removeprefix("?"))).get("theme")
    return "dark" if asked == "dark" else "light" if asked == "light" else None


def address_bar(state: param.Parameterized, names: Sequence[str], *, on_visit: Callable[[str], None]) -> AddressBar:
    """Return an address bar that follows a state.

    Args:
        state: the settings.
        names: of those that the address holds.
        on_visit: called with what follows the path when the visitor went back or forward; sets the state accordingly.
    """
    bar = AddressBar(query.write(state, names), on_visit=on_visit)
    state.param.watch(lambda *_: bar.param.update(search=query.write(state, names)), list(names), precedence=1)
    return bar
