"""The explorer: an application in the browser, and the same figures in a notebook cell, with Panel or with ipywidgets.

Names load on first use: the widgets need no Panel.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sleepkit import extras

if TYPE_CHECKING:
    from sleepkit.ui.app import build_app
    from sleepkit.ui.explorer import SleepExplorer
    from sleepkit.ui.state import ExplorerState
    from sleepkit.ui.widgets import SleepWidgets

_NAMES = {"ExplorerState": "state", "SleepExplorer": "explorer", "SleepWidgets": "widgets", "build_app": "app"}

__all__ = ["ExplorerState", "SleepExplorer", "SleepWidgets", "build_app"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'sleepkit.ui' has no attribute {name!r}")
    with extras.named():
        value = getattr(importlib.import_module(f"sleepkit.ui.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
