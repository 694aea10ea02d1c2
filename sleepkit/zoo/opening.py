"""The trace a model is first seen with: bundled, so that pictures need neither torch nor weights."""

import numpy as np
import xarray as xr

from sleepkit import results
from sleepkit.errors import CheckpointError, require
from sleepkit.zoo.folder import folder_of, weights_digest

_HALVED = ("/fast_weights/state", "/attention/weights", "/attention/carried")


def load_opening(name: str, n_passes: int) -> xr.DataTree:
    """Load the bundled trace of a model: example 0 of the test split at the depth where its own N gains most.

    Its fast weights and attention were rounded to float16, which is more than a picture shows, and come back as float32.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.
        n_passes: the model's own N, or 1.

    Raises:
        InvalidInputError: for an unknown name, or an N that no trace is bundled for.
        CheckpointError: if the trace is of other weights.
        StoreError: if the file is damaged.
    """
    folder = folder_of(name)
    known = sorted(int(path.stem.removeprefix("opening-n")) for path in folder.glob("opening-n*.nc"))
    require(n_passes in known, "n_passes", f"must be one that a trace of {name} is bundled for, {known}", n_passes)
    path = folder / f"opening-n{n_passes}.nc"
    tree = results.load_tree(path)
    if tree.attrs.get("weights_digest") != weights_digest(folder):
        raise CheckpointError(f"trace: must be of the weights beside it, got {str(path)!r}")
    return rounded(tree, np.float32)


def rounded(tree: xr.DataTree, dtype: type[np.floating]) -> xr.DataTree:
    """Return a trace with its large arrays in another precision, compressed when they are written."""
    groups = {node.path: node.to_dataset() for node in tree.subtree}
    for path in _HALVED:
        group, _, variable = path.rpartition("/")
        groups[group] = groups[group].assign({variable: groups[group][variable].astype(dtype)})
        groups[group][variable].encoding = {"zlib": True, "shuffle": True}
    return xr.DataTree.from_dict(groups)
