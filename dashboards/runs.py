"""The lab page of sleepkit: ``panel serve dashboards/runs.py``; SLEEPKIT_RUNS or ``--args --root FOLDER`` names the store."""

from sleepkit.ui.lab import build_lab, root_asked_for

build_lab(root_asked_for()).servable()
