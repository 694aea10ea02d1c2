"""Every performance figure the README quotes, measured and written as JSON."""

from sleepkit.bench.report import run_suite

__all__ = ["run_suite"]
