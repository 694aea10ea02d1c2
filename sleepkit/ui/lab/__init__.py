"""The lab: a page over a folder of runs."""

from sleepkit.ui.lab.page import build_lab, root_asked_for
from sleepkit.ui.lab.store import RunRecord, RunStore

__all__ = ["RunRecord", "RunStore", "build_lab", "root_asked_for"]
