"""Every performance figure that the documents quote, measured and written as JSON."""

from sleepkit.bench.report import against_override, run_all, run_suite

__all__ = ["against_override", "run_all", "run_suite"]
