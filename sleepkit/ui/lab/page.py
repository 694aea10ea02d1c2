"""The lab page: runs live while they train, compared by their settings, started, stopped and gone on with."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import panel as pn
from panel_material_ui.template.base import BreakpointSwitcher, Page

from sleepkit.ui.app import BAR_STYLE
from sleepkit.ui.lab.launch import Launcher
from sleepkit.ui.lab.session import LabSession
from sleepkit.ui.lab.state import URL_NAMES, LabState
from sleepkit.ui.lab.store import shared_store

ROOT_VARIABLE = "SLEEPKIT_RUNS"
_TITLE = "sleepkit: runs"


def build_lab(root: str | Path = "runs", *, read_only: bool = False, limit: int = 1) -> Page:
    """Build the lab page of one session.

    Args:
        root: the folder of all runs; it may come later.
        read_only: leave out everything that starts, stops or writes, and refuse it.
        limit: how many runs may train at a time that were started from a page of this root.

    Raises:
        InvalidInputError: if the limit is below 1.
    """
    pn.extension("plotly", notifications=False)
    place = Path(root).absolute()
    state = LabState()
    session = LabSession(state, shared_store(place), Launcher(place, limit=limit, read_only=read_only))
    if pn.state.location is not None:
        pn.state.location.sync(state, list(URL_NAMES), on_error=session.refuse_address)
    page = _page(session)
    page.param.watch(lambda event: state.param.update(theme="dark" if event.new else "light"), "dark_theme")
    pn.state.onload(session.start)
    return page


def root_asked_for() -> Path:
    """Return the folder of runs that ``--root`` names, else the environment's SLEEPKIT_RUNS, else "runs"."""
    parser = argparse.ArgumentParser(prog="runs.py", description="The lab page over a folder of runs.")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get(ROOT_VARIABLE) or "runs"))
    root: Path = parser.parse_args(sys.argv[1:]).root
    return root


def _page(session: LabSession) -> Page:
    width = BreakpointSwitcher(breakpoint="sm", small=pn.Spacer(height=0), large=pn.Spacer(height=0), height=0, margin=0)
    body = pn.Column(
        session.finding,
        session.status,
        session.list,
        session.panes,
        width,
        sizing_mode="stretch_width",
        margin=(6, 14),
        styles={"contain": "inline-size"},  # long lines and wide tables scroll where they are
    )
    page = Page(
        title=_TITLE,
        sidebar=[session.desk] if session.desk is not None else [],
        main=[body],
        sidebar_width=272,
        busy_indicator=None,  # it has no name for screen readers, and the page looks at the disk all the time
        sidebar_resizable=False,
        sidebar_open=False,
        sx=BAR_STYLE,
    )

    def open_where_there_is_room(event: Any) -> None:
        # On a phone the form lies over the panes: there it opens when asked for.
        page.sidebar_open = session.desk is not None and event.new is width.large

    width.param.watch(open_where_there_is_room, "current")
    return page
