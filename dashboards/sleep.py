"""The dashboard of sleepkit: ``panel serve dashboards/sleep.py``."""

from sleepkit.ui.door import open_app
from sleepkit.ui.seats import seated

seated(open_app)().servable()
