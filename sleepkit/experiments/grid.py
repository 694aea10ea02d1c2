"""What a sweep runs over: names with their values, and the cells they make."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepkit import notebook
from sleepkit.errors import refuse, require, require_count, require_known
from sleepkit.experiments import presets
from sleepkit.experiments.work import Cell, NotebookCell, TrainCell, source_digest
from sleepkit.settings import Settings, parse_overrides, parse_value, settings, strict_json
from sleepkit.training import TrainSettings

_DIMENSIONS = ("sleep.n_passes", "task.options.rollout_depth")  # what every result has as a dimension of its own


@settings
class Sweep(Settings):
    """A preset or a notebook, over every combination of some values.

    Attributes:
        target: name of a preset, or name or path of a notebook.
        grid: values by name: options of the preset ("n_passes"), dotted settings ("model.width"), or parameters of the notebook.
        overrides: changes that all cells share, "NAME=VALUE" with the same names.
        n_passes: the N to count each run's answers at; only the N it is trained with if empty.
        n_examples: examples of each count.
        timeout_s: the longest that a code cell of a notebook may take, seconds.
    """

    target: str
    grid: dict[str, tuple[Any, ...]]
    overrides: tuple[str, ...] = ()
    n_passes: tuple[int, ...] = ()
    n_examples: int = 2048
    timeout_s: int = 3600

    def check(self) -> None:
        """Refuse an empty or repeated value, a name that is given twice, and impossible counts."""
        for name, values in self.grid.items():
            texts = [json.dumps(value) for value in values]
            require(0 < len(texts) == len(set(texts)), f"grid {name}", "must hold distinct values, one or more", values)
            require(name not in self.shared(), f"grid {name}", "must not be set for all cells too", self.shared().get(name))
        for name in ("n_examples", "timeout_s"):
            require_count(name, getattr(self, name))
        require(all(n >= 1 for n in self.n_passes), "n_passes", "must be integers >= 1", self.n_passes)
        require(len(set(self.n_passes)) == len(self.n_passes), "n_passes", "must hold distinct values", self.n_passes)

    def shared(self) -> dict[str, Any]:
        """Return what all cells share, by name."""
        return parse_overrides(self.overrides)

    @property
    def is_notebook(self) -> bool:
        """Whether the target is a notebook; a preset's name comes first."""
        if self.target.endswith(".ipynb"):
            return True
        require_known("target", self.target, dict.fromkeys([*presets.names(), *notebook.names()]))
        return self.target not in presets.names()

    def points(self) -> list[dict[str, Any]]:
        """Return every combination of values, the last name changing fastest."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    def cells(self) -> list[Cell]:
        """Return one cell for each point.

        Raises:
            InvalidInputError: for an unknown target, name or value, and for two points that mean the same cell.
        """
        cells = self._notebook_cells() if self.is_notebook else self._train_cells()
        places = [cell.place(Path()) for cell in cells]
        for number, place in enumerate(places):
            first = places.index(place)
            if first != number:
                refuse("grid", f"must make distinct cells, not the same as {self.points()[first]}", self.points()[number])
        return cells

    def axes(self) -> dict[str, str]:
        """Return the setting that each name of the grid stands for, dotted; for a sweep of a preset.

        Left out is what results have as a dimension anyway: N, and a reasoning depth that is one number.

        Raises:
            InvalidInputError: if two settings would give one dimension, or the N a run is trained with is to be swept while each
                run is evaluated at several.
        """
        found = {name: self._path(name) for name in self.grid}
        paths = {name: path for name, path in found.items() if path is not None}
        trained_n = [name for name, path in paths.items() if path == "sleep.n_passes"]
        require(not (trained_n and self.n_passes), "n_passes", "must be empty where the grid sweeps N", self.n_passes)
        plain = {name for name, values in self.grid.items() if all(isinstance(value, int) for value in values)}
        kept = {name: path for name, path in paths.items() if not (path in _DIMENSIONS and name in plain)}
        last = [path.rpartition(".")[2] for path in kept.values()]
        for number, name in enumerate(last):
            require(name not in last[:number] and name != "n_passes", "grid", "must give dimensions of distinct names", name)
        return kept

    def _path(self, name: str) -> str | None:
        """The setting behind a name: itself, or what an option of the preset changes; None if nothing shows which."""
        if not self._is_option(name):
            return name
        first = self.points()[0]
        values = self.grid[name]
        made = [self._settings({**first, name: value}).to_dict() for value in values]
        changed = [path for other in made[1:] for path in _differences(made[0], other) if path != "name"]
        named = [path for path in (*changed, *_leaves(made[0])) if path.rpartition(".")[2] == name]
        return min(named or changed, key=lambda path: path.count("."), default=None)

    def _is_option(self, name: str) -> bool:
        return name in presets.options_of(self.target)

    def _train_cells(self) -> list[Cell]:
        self.axes()
        cells: list[Cell] = []
        for point in self.points():
            made = self._settings(point)
            cells.append(TrainCell(settings=made, n_passes=self.n_passes or (made.sleep.n_passes,), n_examples=self.n_examples))
        return cells

    def _settings(self, point: Mapping[str, Any]) -> TrainSettings:
        """Settings of a point: one thread for each cell, unless somebody says otherwise."""
        given = {**self.shared(), **point}
        made = presets.changed(self.target, given)
        return made if made.n_threads or "n_threads" in given else made.replace(n_threads=1)

    def _notebook_cells(self) -> list[Cell]:
        require(not self.n_passes, "n_passes", "belongs to a preset, not to a notebook", self.n_passes)
        path = notebook.notebook_path(self.target)
        source = source_digest(path)
        return [
            NotebookCell(
                path=str(path.resolve()),
                source=source,
                parameters=notebook.checked_parameters(path, {**self.shared(), **point}),
                timeout_s=self.timeout_s,
            )
            for point in self.points()
        ]


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return values by name, from texts like ``"n_passes=1,2,4"``.

    Values are JSON where all of them are, so that a list can be one (``"loop=[0,2],[1,2]"``), and bare strings or JSON, parted at
    every comma, otherwise.

    Raises:
        InvalidInputError: if a text has no name or no value, or a name comes twice.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, separator, values = text.partition("=")
        require(bool(separator and name and values), "grid", "must look like name=value,value", text)
        require(name not in grid, f"grid {name}", "must be given once", text)
        try:
            grid[name] = tuple(strict_json(f"[{values}]", f"grid {name}"))
        except json.JSONDecodeError:
            grid[name] = tuple(parse_value(value, f"grid {name}") for value in values.split(","))
    return grid


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Dotted names of the values in which two nested mappings differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        return [found for name in names for found in _differences(one.get(name), other.get(name), f"{path}.{name}".lstrip("."))]
    return [] if one == other else [path]


def _leaves(tree: Any, path: str = "") -> list[str]:
    """Dotted names of all values in nested mappings."""
    if not isinstance(tree, dict):
        return [path]
    return [found for name, value in tree.items() for found in _leaves(value, f"{path}.{name}".lstrip("."))]
