"""Results as labelled arrays: the schema and the files. No torch."""

from sleepkit.results.provenance import provenance
from sleepkit.results.schema import DIMENSIONS, as_attrs, check, group
from sleepkit.results.store import load, load_tree, save

__all__ = ["DIMENSIONS", "as_attrs", "check", "group", "load", "load_tree", "provenance", "save"]
