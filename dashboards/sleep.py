"""The dashboard of sleepkit: ``panel serve dashboards/sleep.py``."""

from sleepkit.ui import build_app
from sleepkit.ui.seats import seated

seated(build_app)().servable()
