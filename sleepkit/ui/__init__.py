"""The explorer: the same views as a Panel app in the browser and as ipywidgets in a notebook cell."""

# First of all: importing it makes every Panel widget of the process a Material one.
import panel_material_ui  # noqa: F401

from sleepkit.ui.app import build_app
from sleepkit.ui.explorer import SleepExplorer
from sleepkit.ui.state import ExplorerState

__all__ = ["ExplorerState", "SleepExplorer", "build_app"]
