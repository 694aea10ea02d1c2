"""Files of what is on show: netCDF with settings and provenance, CSV, figures as pages that need nothing else."""

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from sleepkit import results
from sleepkit.results import group
from sleepkit.ui.picture import Picture
from sleepkit.ui.state import ExplorerState
from sleepkit.ui.views.data import accuracy_rows, answer_rows


def trace_file(picture: Picture) -> io.BytesIO:
    """Return the trace on show as netCDF.

    Raises:
        StoreError: if the netCDF packages are not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return io.BytesIO(results.save(picture.tree, Path(folder) / "trace.nc").read_bytes())


def accuracy_file(picture: Picture) -> io.BytesIO:
    """Return the accuracies on show as netCDF: what was measured now, otherwise the card's.

    Raises:
        StoreError: if the netCDF packages are not installed.
    """
    data = picture.subject.accuracy if picture.measured is None else picture.measured
    with tempfile.TemporaryDirectory() as folder:
        return io.BytesIO(results.save(data, Path(folder) / "accuracy.nc").read_bytes())


def csv_file(frame: pd.DataFrame) -> io.BytesIO:
    """Return a table as CSV."""
    return io.BytesIO(frame.to_csv(index=False).encode())


def weights_rows(picture: Picture, state: ExplorerState) -> pd.DataFrame:
    """Return the fast weights on show, one row for each entry of each head."""
    states = group(picture.tree, "fast_weights")["state"]
    shown = states.sel(layer=picture.layer_shown(state), sleep_pass=picture.pass_shown(state)).isel(window=state.window)
    return shown.to_series().rename("S").reset_index()


def attention_rows(picture: Picture, state: ExplorerState) -> pd.DataFrame:
    """Return the attention on show, one row for each head, query and position."""
    weights = group(picture.tree, "attention")["weights"]
    shown = weights.sel(layer=picture.attention_layer_shown(state), sleep_pass=max(picture.pass_shown(state), 1))
    return shown.isel(window=state.window).to_series().rename("weight").dropna().reset_index()


def page_file(figure: go.Figure | None) -> io.BytesIO:
    """Return a figure as one HTML page that works offline, plotly included."""
    return io.BytesIO((figure or go.Figure()).to_html(include_plotlyjs=True, full_html=True).encode())


def exports(
    picture: Callable[[], Picture], state: ExplorerState, figures: Mapping[str, Callable[[], go.Figure | None]]
) -> dict[str, Callable[[], io.BytesIO]]:
    """Return by file name what makes each file of the picture on show.

    Args:
        picture: gives the picture on show.
        state: the place looked at.
        figures: by name, what gives the figure on show.
    """
    made: dict[str, Callable[[], io.BytesIO]] = {
        "trace.nc": lambda: trace_file(picture()),
        "accuracy.nc": lambda: accuracy_file(picture()),
        "accuracy.csv": lambda: csv_file(accuracy_rows(picture())),
        "answers.csv": lambda: csv_file(answer_rows(picture())),
        "fast-weights.csv": lambda: csv_file(weights_rows(picture(), state)),
        "attention.csv": lambda: csv_file(attention_rows(picture(), state)),
    }
    for name, figure in figures.items():
        made[f"{name}.html"] = lambda figure=figure: page_file(figure())  # type: ignore[misc]
    return made
