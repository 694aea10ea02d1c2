"""The figures of the paper: which runs make one, where its results lie, and what they say.

A figure at a size is a list of cells (settings of runs) that are gathered into one Dataset. Published results lie beside the
notebooks, in a clone and in an installed package: one small netCDF file a figure and size, with the settings, digests and
provenance of every cell.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from sleepkit import catalogue, published, results
from sleepkit.analysis.statistics import across_seeds
from sleepkit.errors import StoreError, require_known
from sleepkit.experiments import presets
from sleepkit.experiments.cell import digests, gather, join, run_cell
from sleepkit.experiments.verdicts import Verdict, a_pass_is_worth_a_layer, deeper_is_harder, more_passes_go_deeper
from sleepkit.notation import depth_symbol
from sleepkit.training import TrainSettings

RESULTS = published.folder("notebooks") / "results"
_EXAMPLES = {"smoke": 64, "cpu": 4096, "paper": 4096}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the paper.

    Attributes:
        name: as in the paper, "fig2b"; also the name of its preset.
        claim: what the paper says it shows.
        paper: the paper's numbers, in short.
        grid: by size, the options of the preset, one dict a cell.
        axes: settings that the cells differ in, besides N and depth.
        judge: from the gathered Dataset to a verdict.
    """

    name: str
    claim: str
    paper: str
    grid: Callable[[str], list[dict[str, int]]]
    judge: Callable[[xr.Dataset], Verdict]
    axes: tuple[str, ...] = ("seed",)

    @property
    def what(self) -> str:
        """What is drawn."""
        return catalogue.FIGURES[self.name]

    def cells(self, size: str) -> list[TrainSettings]:
        """Return the settings of every cell.

        Raises:
            InvalidInputError: for an unknown size.
        """
        require_known("size", size, _EXAMPLES)
        return [presets.get(self.name, size=size, **options) for options in self.grid(size)]


def names() -> list[str]:
    """Return the names ``get`` knows."""
    return sorted(_FIGURES)


def get(name: str) -> Figure:
    """Return a figure by name.

    Raises:
        InvalidInputError: for an unknown name.
    """
    require_known("figure", name, names())
    return _FIGURES[name]


def results_path(name: str, size: str) -> Path:
    """Return where the committed results of a figure lie, whether they are there or not."""
    return RESULTS / f"{name}-{size}.nc"


def load(name: str, size: str) -> xr.Dataset:
    """Read the committed results of a figure.

    Raises:
        InvalidInputError: for an unknown figure or size.
        StoreError: if the file is missing or damaged, or is of other settings than the figure's; its name is in the message.
    """
    path, wanted = results_path(name, size), [cell.digest() for cell in get(name).cells(size)]
    found = results.check(results.load(path), "figure")
    if sorted(digests(found)) != sorted(wanted):
        missing = len(set(wanted) - set(digests(found)))
        raise StoreError(
            f"path: must hold the {len(wanted)} cells of {name} at size {size} ({missing} missing), got {str(path)!r}"
        )
    return found


def run(name: str, size: str, *, root: str | Path = "runs", known: xr.Dataset | None = None, progress: bool = True) -> xr.Dataset:
    """Run the cells of a figure that are not finished, one after the other, and gather all.

    Can be interrupted and started again: finished cells are loaded, the one in the middle goes on from its checkpoint.

    Args:
        name: the figure.
        size: "smoke", "cpu" or "paper".
        root: the folder of all runs.
        known: gathered results of some of the cells, which are not run again.
        progress: show a progress bar over the cells and over each run.

    Raises:
        InvalidInputError: for an unknown figure or size.
    """
    from tqdm.auto import tqdm

    made_before = [] if known is None else digests(known)
    missing = [settings for settings in get(name).cells(size) if settings.digest() not in made_before]
    if known is not None and not missing:
        return known
    cells = tqdm(missing, disable=not progress, unit="cell", desc=f"{name} {size}")
    made = (run_cell(settings, root=root, n_examples=_EXAMPLES[size], progress=progress) for settings in cells)
    new = gather(made, axes=get(name).axes)
    return new if known is None else join(known, new)


def load_or_run(name: str, size: str, *, root: str | Path = "runs", progress: bool = True) -> xr.Dataset:
    """Read the committed results of a figure if there are any, otherwise run it.

    Raises:
        InvalidInputError: for an unknown figure or size.
        StoreError: if there is a file, but damaged or of other settings: nothing is silently computed in its place.
    """
    get(name).cells(size)
    return load(name, size) if results_path(name, size).exists() else run(name, size, root=root, progress=progress)


def publish(name: str, size: str, *, root: str | Path = "runs", progress: bool = True) -> Path:
    """Run a figure (``run``) and write its results where ``load`` finds them; return the file.

    Cells that lie there already are kept, so that a seed more costs one seed; results of other settings give way to those.

    Raises:
        InvalidInputError: for an unknown figure or size, or outside a clone.
        StoreError: if what lies there is damaged; its name is in the message.
    """
    published.require_clone("--publish", name)
    path, wanted, known = results_path(name, size), {cell.digest() for cell in get(name).cells(size)}, None
    if path.exists():
        there = results.check(results.load(path), "figure")
        known = there if set(digests(there)) <= wanted else None
    return results.save(run(name, size, root=root, known=known, progress=progress), path)


def table(name: str, data: xr.Dataset) -> str:
    """Return accuracy by N and depth as a Markdown table, percent with 95 % intervals, the floor and the paper's words below."""
    letter, depths = depth_symbol(data.attrs["task"]).paper, data.depth.values.tolist()
    lines = ["| N | " + " | ".join(f"{letter} = {depth}" for depth in depths) + " |", "|---" * (len(depths) + 1) + "|"]
    for what, part in _parts(data):
        accuracy = across_seeds(part)
        for n_passes in accuracy.n_passes.values.tolist():
            row = 100 * accuracy.sel(n_passes=n_passes)[["accuracy", "accuracy_low", "accuracy_high"]].to_array().values
            if np.isfinite(row).any():
                cells = " | ".join(f"{mean:.1f} ({low:.1f}-{high:.1f})" for mean, low, high in row.T)
                lines.append(f"| {n_passes}{what} | {cells} |")
    for_nothing = (
        f"| {what} | " + " | ".join(f"{100 * value:.1f}" for value in data[what].values) + " |" for what in ("floor", "chance")
    )
    return "\n".join([*lines, *for_nothing, "", f"The paper: {get(name).paper}."])


def _parts(data: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Split a figure by the settings its cells differ in, besides N, depth and seed; each part with a name for its rows."""
    others = [str(dim) for dim in data.accuracy.dims if dim not in ("seed", "n_passes", "depth")]
    if not others:
        return [("", data)]
    (other,) = others
    return [(f", {_short(value)}", data.sel({other: value})) for value in data[other].values.tolist()]


def _short(value: object) -> str:
    return f"{len(value.split())} layers" if isinstance(value, str) else str(value)


def cost(data: xr.Dataset) -> str:
    """Say what the runs of a figure took: how many, tokens and time of each, and on what."""
    seconds = data.wall_time_s.values[np.isfinite(data.wall_time_s.values)]
    notes = json.loads(data.attrs["cells"])
    where = sorted({f"{note['processor']}, torch {note['version_torch']}" for note in notes})
    steps = [note["settings"]["steps"] for note in notes]
    tokens = max(steps) * float(data.tokens_per_step.max()) / 1e6
    return (
        f"{len(notes)} runs of {tokens:.3g} million tokens, {seconds.min() / 60:.1f} to {seconds.max() / 60:.1f} minutes each, "
        f"{seconds.sum() / 3600:.1f} hours in all ({'; '.join(where)}; {notes[0]['settings']['n_threads'] or 'all'} thread)."
    )


def _passes_and_seeds(size: str) -> list[dict[str, int]]:
    counts, seeds = {"smoke": ((1, 2), (0, 1)), "cpu": ((1, 2, 4), (0, 1, 2)), "paper": ((1, 2, 3, 4), (0,))}[size]
    return [{"n_passes": n, "seed": seed} for seed in seeds for n in counts]


def _passes(size: str) -> list[dict[str, int]]:
    return [{"n_passes": n, "seed": 0} for n in ((1, 2) if size == "smoke" else (1, 2, 4))]


def _hops(size: str) -> list[dict[str, int]]:
    seeds = (0, 1, 2, 3, 4) if size == "cpu" else (0,)
    return [cell | {"seed": seed} for seed in seeds for cell in _passes(size)]


def _layers_and_passes(size: str) -> list[dict[str, int]]:
    pairs = {
        "smoke": ((2, 1), (2, 2), (4, 1)),
        "cpu": ((2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (8, 1)),
        "paper": ((4, 1), (4, 2), (4, 4), (8, 1), (8, 2), (16, 1)),
    }[size]
    return [{"n_layers": n_layers, "n_passes": n, "seed": 0} for n_layers, n in pairs]


def _depths(size: str) -> list[dict[str, int]]:
    depths = {"smoke": (1, 4), "cpu": (1, 2, 3, 4, 6, 8), "paper": (4, 8, 10, 12, 14, 16)}[size]
    seeds = (0, 1, 2) if size == "cpu" else (0,)
    return [{"rollout_depth": depth, "seed": seed} for seed in seeds for depth in depths]


_FIGURES = {
    figure.name: figure
    for figure in (
        Figure(
            name="fig2a",
            claim="Without sleep, at a fixed memory load and token budget, accuracy falls as the reasoning depth t grows.",
            paper="falls as t grows; t = 4 and 8 converge early, the deepest stay low",
            grid=_depths,
            judge=deeper_is_harder,
        ),
        Figure(
            name="fig2b",
            claim="At equal tokens, more passes over each window answer deeper questions: every further N does better.",
            paper="t = 32, all four labels: N = 1 about 10 % (best constant 9.95 %), N = 2 about 20 %, N = 3 and 4 above 30 %",
            grid=_passes_and_seeds,
            judge=more_passes_go_deeper,
        ),
        Figure(
            name="fig3",
            claim="N = 1 hardly moves at 4 hops and more, N = 2 stalls at 8 and more, only N = 4 begins to learn 16.",
            paper="N = 1 stuck at k >= 4, N = 2 at k >= 8, N = 4 begins to learn k = 16 (test loss)",
            grid=_hops,
            judge=more_passes_go_deeper,
        ),
        Figure(
            name="fig4",
            claim="More passes answer more questions right, the more so the more operations they take.",
            paper="Jet-Nemotron 2B, N = 1 to 6: 6 ops .742 to .812, 8 ops .351 to .388; Ouro 1.4B, N = 1 to 4: .419 to .615",
            grid=_passes,
            judge=more_passes_go_deeper,
        ),
        Figure(
            name="fig5",
            claim="With a sliding window, too, more passes answer more questions right.",
            paper="N = 1 to 4: 2 ops .596 to .905, 4 ops .839 to .926, 6 ops .251 to .320, 8 ops .116 to .137",
            grid=_passes,
            judge=more_passes_go_deeper,
        ),
        Figure(
            name="passes-or-layers",
            claim="A pass asleep is worth about as much as a layer: accuracy follows the number of blocks applied, N x layers.",
            paper="not in the paper, which compares N at one number of layers",
            grid=_layers_and_passes,
            judge=a_pass_is_worth_a_layer,
            axes=("model.layers", "seed"),
        ),
    )
}
