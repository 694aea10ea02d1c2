"""From a model or a run to labelled arrays."""

from sleepkit.analysis.trace import trace

__all__ = ["trace"]
