"""Switches that hold for the whole suite. The type checks come first: they only reach modules imported later."""

# ruff: noqa: E402 - the import hook must be in place before anything imports sleepkit.
import os

from beartype import BeartypeConf
from beartype.claw import beartype_packages

# What Triton compiles is Python in looks alone.
_conf = BeartypeConf(claw_skip_package_names=("sleepkit.kernels.device",))
beartype_packages(("sleepkit.ops", "sleepkit.kernels", "sleepkit.model", "sleepkit.sleep"), conf=_conf)

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("sleepkit", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("sleepkit")
# Triton decides when it is imported whether it interprets: those tests have a process of their own (ops/test_triton.py).
collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
# The models here are tiny: a second thread gains nothing, and on a busy machine waiting for it costs twentyfold.
torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every skipped test with its reason, whatever the command line asked for."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped, and why")
        for report in skipped:
            _, _, reason = report.longrepr
            terminalreporter.line(f"{report.nodeid}: {reason}")
