"""The panes of the explorer. Each draws a Picture at the place its state looks at."""

from sleepkit.ui.views.accuracy import AccuracyView
from sleepkit.ui.views.attention import AttentionView
from sleepkit.ui.views.base import View, fit, plot_pane
from sleepkit.ui.views.data import DataView
from sleepkit.ui.views.fast_weights import FastWeightsView
from sleepkit.ui.views.memory import MemoryView
from sleepkit.ui.views.pair import DifferenceView, SideBySideView
from sleepkit.ui.views.path import PathView
from sleepkit.ui.views.text import TextView
from sleepkit.ui.views.timeline import TimelineView

__all__ = [
    "AccuracyView",
    "AttentionView",
    "DataView",
    "DifferenceView",
    "FastWeightsView",
    "MemoryView",
    "PathView",
    "SideBySideView",
    "TextView",
    "TimelineView",
    "View",
    "fit",
    "plot_pane",
]
