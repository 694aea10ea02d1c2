"""Queries of addresses: a setting is taken as its type reads it, or named as refused; a link that is copied opens the same."""

import random
from typing import Any
from urllib.parse import quote, urlencode

from sleepkit.ui import query
from sleepkit.ui.lab.state import URL_NAMES as LAB_NAMES
from sleepkit.ui.lab.state import LabState
from sleepkit.ui.state import URL_NAMES, ExplorerState
from tests.robustness.made_up import TEXTS, judged_line, mutated, try_all

_PAGES = {"sleep": (ExplorerState, URL_NAMES), "runs": (LabState, LAB_NAMES)}
_LONGEST = 1500


def try_addresses(n_tries: int, *, seed: int) -> dict[str, Any]:
    """Read made-up queries of both pages."""
    told = {}
    for page in _PAGES:
        draw = random.Random(f"{seed} {page}")
        told[page] = try_all([(page, _made_up(page, draw)) for _ in range(n_tries // len(_PAGES))], _judge)
    return told


def _made_up(page: str, draw: random.Random) -> str:
    names = [*_PAGES[page][1], "model", "x", "", "n_passes[]"]
    pairs = [(draw.choice(names), draw.choice((*TEXTS, "4", "17", "hard", "light", '["a"]'))) for _ in range(draw.randint(1, 4))]
    if draw.random() < 0.5:
        return "?" + urlencode(pairs, quote_via=quote, errors="replace")
    return mutated("?" + "&".join(f"{name}={value}" for name, value in pairs), draw)


def _judge(tried: tuple[str, str]) -> tuple[str, str]:
    page, search = tried
    make, names = _PAGES[page]
    state = make()
    asked = query.read(search, state, list(names))
    state.param.update(**asked.values)
    copied = query.write(state, list(names))
    other = make()
    opened = query.read(copied, other, list(names))
    if opened.refused:
        return "accepted_wrong", f"a copied link is refused: {opened.refused}"
    other.param.update(**opened.values)
    differing = [name for name in names if getattr(other, name) != getattr(state, name)]
    if differing:
        return "accepted_wrong", f"a copied link opens another {differing}: {copied}"
    return judged_line(query.refusal(asked.refused), most=_LONGEST) if asked.refused else ("accepted", "")
