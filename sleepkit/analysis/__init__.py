"""From a model or a run to labelled arrays."""

from sleepkit.analysis.anatomy import anatomy
from sleepkit.analysis.statistics import across_seeds, paired_difference, skill
from sleepkit.analysis.trace import trace, trace_batch
from sleepkit.results.shares import difference_interval, gain_by_depth, wilson_interval

__all__ = [
    "across_seeds",
    "anatomy",
    "difference_interval",
    "gain_by_depth",
    "paired_difference",
    "skill",
    "trace",
    "trace_batch",
    "wilson_interval",
]
