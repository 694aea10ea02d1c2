"""The numbers behind the pictures: tables to read and files to take away."""

import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmu
import xarray as xr

from sleepkit.ui import html
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.base import View

_CHOICE_HEIGHT = 56
_ABOUT = (
    "The accuracies and answers on show as tables, and every array of the trace with its axes. "
    "All of it can be taken away as netCDF (with settings and provenance) or CSV."
)


class DataView(View):
    """Tables and downloads.

    Args:
        state: the settings.
        exports: by file name, what makes the file.
        height: pixels.
    """

    def __init__(self, state: ExplorerState, *, exports: dict[str, Callable[[], io.BytesIO]], height: int, **params: Any) -> None:
        super().__init__(state, name="data", about=_ABOUT, height=height, **params)
        below = self.height - _CHOICE_HEIGHT
        self._body, self._body_height = pn.pane.HTML("", sizing_mode="stretch_width", height=below, margin=0), below
        self._files = exports
        which = pmu.Select(label="File to take away", options=list(exports), size="small", width=240, margin=(8, 8, 4, 0))
        self._download = pmu.FileDownload(
            label="Download", filename=which.value, callback=exports[which.value], size="small", margin=(8, 0)
        )
        which.param.watch(self._on_which, "value")
        choice = pn.Row(which, self._download, sizing_mode="stretch_width", height=_CHOICE_HEIGHT, margin=0)
        self._view = self.framed(choice, self._body, grow=None)

    def draw(self, picture: Picture) -> None:
        """Write the tables."""
        theme = self.state.colours
        parts = [
            html.table(accuracy_rows(picture), theme, "Accuracy of one answer"),
            html.table(answer_rows(picture), theme, "Answers on show"),
            html.arrays(picture.tree, theme),
        ]
        self._body.object = html.scrolling("".join(parts), self._body_height, "Tables")
        self.entitle("Data", "what the pictures are drawn from")

    def _on_which(self, event: Any) -> None:
        self._download.param.update(filename=event.new, callback=self._files[event.new])

    def __panel__(self) -> pn.viewable.Viewable:
        return self._view


def accuracy_rows(picture: Picture) -> pd.DataFrame:
    """Return accuracies of the card and what was measured, one row for N and depth."""
    frames = []
    for source, data in (("card", picture.subject.accuracy), ("measured now", picture.measured)):
        if data is not None:
            wanted = ["accuracy", "accuracy_low", "accuracy_high", "n_correct", "n_total"]
            frame = data[wanted].to_dataframe().reset_index()
            floor = data.floor.to_series()
            frame["floor"] = frame["depth"].map(floor)
            frame.insert(0, "source", source)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def answer_rows(picture: Picture) -> pd.DataFrame:
    """Return the answers at N and at the compared N, one row for each answer."""
    frames = []
    for n_passes, tree in picture.both:
        answered: xr.Dataset = tree["answers"].to_dataset()
        frame = answered[["depth", "truth", "predicted", "right", "p_true"]].to_dataframe().reset_index(names="answer")
        frame.insert(0, "n_passes", n_passes)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
