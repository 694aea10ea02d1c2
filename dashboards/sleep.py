"""The dashboard of sleepkit: ``panel serve dashboards/sleep.py``."""

from sleepkit.ui import build_app

build_app().servable()
