"""What every Dataset holds: dimensions, variables, units. ``analysis`` writes to this schema, ``plots`` reads from it.

xarray only, no torch: pictures never need a model.
"""

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr

from sleepkit.errors import StoreError

DIMENSIONS = {
    "seed": "root seed of a run",
    "n_passes": "N, passes over a window, reading included (N = 1 reads and never loops)",
    "depth": "reasoning depth, steps",
    "step": "training step; of a way to an answer (/reasoning of a trace): steps from its start, 0",
    "validation_step": "training step after which held-out examples were counted",
    "window": "window of the sequence",
    "sleep_pass": "pass over a window, counted from 1; 0 is before reading",
    "layer": "layer number",
    "head": "head number",
    "key": "key channel",
    "value": "value channel",
    "query": "query position in the window",
    "token": "position in the sequence",
    "position": "position in the window",
    "answer": "answer of the example",
}

_ANY = "..."  # at the front: whatever other dimensions there are

VARIABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "accuracy": {
        "n_correct": ("n_passes", "depth"),
        "n_total": ("n_passes", "depth"),
        "accuracy": ("n_passes", "depth"),
        "accuracy_low": ("n_passes", "depth"),
        "accuracy_high": ("n_passes", "depth"),
        "floor": ("depth",),
        "chance": ("depth",),
        "n_exact": ("n_passes",),
        "n_examples": ("n_passes",),
    },
    "cell": {
        "n_correct": ("n_passes", "depth"),
        "n_total": ("n_passes", "depth"),
        "accuracy": ("n_passes", "depth"),
        "floor": ("depth",),
        "chance": ("depth",),
        "loss": ("step",),
        "elapsed_s": ("step",),
    },
    "figure": {
        "n_correct": (_ANY, "n_passes", "depth"),
        "n_total": (_ANY, "n_passes", "depth"),
        "accuracy": (_ANY, "n_passes", "depth"),
        "floor": (_ANY, "depth"),
        "chance": (_ANY, "depth"),
        "wall_time_s": (_ANY,),
        "final_loss": (_ANY,),
        "tokens_per_step": (_ANY,),
    },
    "history": {"loss": ("step",), "accuracy": ("step",), "n_passes_drawn": ("step",), "tokens_per_s": ("step",)},
}


def as_attrs(values: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Turn provenance into netCDF attributes: numbers and strings stay, everything else becomes JSON."""
    plain = {}
    for name, value in values.items():
        simple = isinstance(value, str | int | float) and not isinstance(value, bool)
        plain[name] = value if simple else json.dumps(value, sort_keys=True)
    return plain


def group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """Return one group of a trace as a Dataset.

    Raises:
        StoreError: if the tree has no such group.
    """
    if name not in tree.children:
        raise StoreError(f"trace: must have the group {name!r}, got {sorted(tree.children)}")
    return tree.children[name].to_dataset()


def check(dataset: xr.Dataset, kind: str) -> xr.Dataset:
    """Return the dataset if it has the variables and dimensions of its kind.

    Raises:
        StoreError: naming the first variable that is missing or has other dimensions.
    """
    for name, dims in VARIABLES[kind].items():
        if name not in dataset:
            raise StoreError(f"dataset: must have the variable {name!r} to be of kind {kind!r}, got {sorted(map(str, dataset))}")
        if not _fits(tuple(map(str, dataset[name].dims)), dims):
            raise StoreError(f"dataset: {name!r} must have dimensions {dims}, got {dataset[name].dims}")
    return dataset


def _fits(found: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Compare dimensions; after "..." the wanted ones have to come last."""
    if wanted[0] != _ANY:
        return found == wanted
    return found[len(found) - len(wanted) + 1 :] == wanted[1:]
