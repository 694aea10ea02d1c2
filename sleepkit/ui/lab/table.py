"""The table of runs: a native table in the browser, so that checkboxes and buttons are what they look like."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import param
from panel.custom import JSComponent

from sleepkit.errors import require
from sleepkit.plots import Theme, run_colour, run_dash
from sleepkit.ui.lab.store import RunRecord, Unreadable


class RunTable(JSComponent):
    """Rows of plain values; which are checked; what was clicked."""

    rows = param.List(default=[], doc="One mapping a run, see ``row``.")
    selected = param.List(default=[], item_type=str, bounds=(0, 1000), doc="Keys of the runs that are drawn.")
    theme: Any = param.Selector(default="light", objects=["light", "dark"])
    nothing = param.String(default="", doc="What is said where there are no rows.")

    _esm = Path(__file__).with_name("table.js")

    def __init__(self, *, on_action: Callable[[str, str], None], **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._on_action = on_action

    def _handle_msg(self, data: Any) -> None:
        good = isinstance(data, Mapping) and all(isinstance(data.get(name), str) for name in ("action", "key"))
        require(good, "message", "must name an action and the key of a run", data)
        self._on_action(data["action"], data["key"])


def row(run: RunRecord, label: str, *, slot: int | None, theme: Theme, actions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of a run.

    Args:
        run: the run.
        label: what it is called.
        slot: number of its look in the figures; None if it is not drawn.
        theme: "light" or "dark".
        actions: what can be done with it.
    """
    history, steps = run.history, run.settings.steps
    last = history.isel(step=-1) if history.sizes["step"] else None
    validated = history.isel(validation_step=-1) if history.sizes.get("validation_step", 0) else None
    right = "" if validated is None else f"{int(validated.n_correct.sum()) / max(1, int(validated.n_total.sum())):.1%}"
    return {
        "key": run.key,
        "label": label,
        "title": f"{label} (folder {run.key})",
        "status": run.status,
        "reason": run.error,
        "line": None if slot is None else {"colour": run_colour(slot, theme), "dash": run_dash(slot)},
        "share": run.n_steps / steps,
        "steps": f"{run.n_steps:,} of {steps:,}",
        "eta": duration(run.eta_s()),
        "loss": "" if last is None else f"{float(last.loss):.4f}",
        "accuracy": right,
        "speed": "" if last is None else f"{float(last.tokens_per_s):,.0f}",
        "actions": actions,
    }


def unreadable_row(found: Unreadable) -> dict[str, Any]:
    """Return the row of a folder that cannot be shown."""
    empty = dict.fromkeys(("steps", "eta", "loss", "accuracy", "speed"), "")
    return {
        "key": found.key,
        "label": found.key,
        "title": found.key,
        "status": "unreadable",
        "reason": found.reason,
        "line": None,
        "share": 0.0,
        "actions": [],
        **empty,
    }


def explorer_link(folder: Path) -> str:
    """Return the address of the explorer, beside this page, with a published model."""
    return f"sleep?model={quote(str(folder.resolve()), safe='')}"


def duration(seconds: float | None) -> str:
    """Return a time as it is spoken: "12 s", "3 min", "2 h 05 min"."""
    if seconds is None:
        return ""
    if seconds < 99.5:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
