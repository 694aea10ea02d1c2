"""Which window, pass and layer of a trace a picture shows."""

import xarray as xr

from sleepkit.errors import require
from sleepkit.results import group


def select_layer(tree: xr.DataTree, group_name: str, variable: str, layer: int | None) -> tuple[xr.DataArray, int]:
    """Return a variable of a trace at one layer, the first one that has it if None, and the layer's number.

    Raises:
        InvalidInputError: if no layer, or not this one, has the variable.
    """
    values = group(tree, group_name)[variable]
    layers = values.layer.values.tolist()
    what = group_name.replace("_", " ")
    require(len(layers) > 0, "trace", f"must be of a model with {what}", layers)
    chosen = layers[0] if layer is None else layer
    require(chosen in layers, "layer", f"must be a layer with {what}: one of {layers}", chosen)
    return values.sel(layer=chosen), chosen


def check_pass(tree: xr.DataTree, window: int, sleep_pass: int | None, *, first: int) -> int:
    """Return the pass to show, the last one if None.

    Raises:
        InvalidInputError: if the trace has no such window, or the window no such pass from ``first`` on.
    """
    last = last_pass(tree, window)
    chosen = last if sleep_pass is None else sleep_pass
    require(first <= chosen <= last, "sleep_pass", f"must be in [{first}, {last}] for window {window}", chosen)
    return chosen


def last_pass(tree: xr.DataTree, window: int) -> int:
    """Return the number of passes made over a window.

    Raises:
        InvalidInputError: if there is no such window.
    """
    passes = group(tree, "tokens")["n_passes"].values
    require(0 <= window < len(passes), "window", f"must be in [0, {len(passes)})", window)
    return int(passes[window])


def pass_name(tree: xr.DataTree, window: int, sleep_pass: int) -> str:
    """Return what a pass is called: before the window, reading, asleep, or answering."""
    if sleep_pass == 0:
        return "before reading"
    if not bool(group(tree, "tokens")["asleep"].values[window]):
        return "after answering"
    n_passes = last_pass(tree, window)
    doing = "reading" if sleep_pass == 1 else "asleep"
    return f"after pass {sleep_pass} of {n_passes} ({doing})"


def first_kept(tree: xr.DataTree, window: int) -> int:
    """Return the oldest position in the sequence that the KV cache holds once a window is over; its stop if all is evicted.

    Raises:
        InvalidInputError: if there is no such window.
    """
    last_pass(tree, window)
    tokens = group(tree, "tokens")
    stop = int(tokens["stop"].values[window])
    if tree.attrs.get("eviction") != "sliding":
        return stop
    return max(stop - int(tree.attrs["window_len"]) + 1, int(tokens["start"].values[0]))


def eviction_words(tree: xr.DataTree, window: int) -> str:
    """Return what leaves the KV cache once a window slept on is over, e.g. "evicted, the newest 16 tokens stay"."""
    n_kept = int(group(tree, "tokens")["stop"].values[window]) - first_kept(tree, window)
    return "evicted" if n_kept == 0 else f"evicted, the newest {n_kept} tokens stay"
