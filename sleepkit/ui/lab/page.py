"""The lab page: runs live while they train, compared by their settings, started, stopped and gone on with."""

import argparse
import os
import sys
from pathlib import Path

import panel as pn
from panel_material_ui.template.base import Page

from sleepkit.ui import query
from sleepkit.ui.address import address_bar, search_asked_for, theme_asked_for
from sleepkit.ui.lab.launch import Launcher
from sleepkit.ui.lab.session import LabSession
from sleepkit.ui.lab.state import URL_NAMES, LabState
from sleepkit.ui.lab.store import shared_store
from sleepkit.ui.page import follow_theme, framed

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
    place, state = Path(root).absolute(), LabState()
    asked = query.read(search_asked_for(), state, URL_NAMES)
    state.param.update(asked.values)
    session = LabSession(state, shared_store(place), Launcher(place, limit=limit, read_only=read_only))
    if asked.refused:
        session.refuse(query.refusal(asked.refused))
    bar = address_bar(state, URL_NAMES, on_visit=session.visit)
    body = [session.finding, session.status, session.list, session.panes, bar]
    page = framed(_TITLE, body, sidebar=session.desk, theme=theme_asked_for())
    follow_theme(page, state)
    pn.state.onload(session.start)
    return page


def root_asked_for() -> Path:
    """Return the folder of runs that ``--root`` names, else the environment's SLEEPKIT_RUNS, else "runs"."""
    parser = argparse.ArgumentParser(prog="runs.py", description="The lab page over a folder of runs.")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get(ROOT_VARIABLE) or "runs"))
    root: Path = parser.parse_args(sys.argv[1:]).root
    return root
