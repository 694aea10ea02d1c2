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
from xdist.remote import Producer
from xdist.scheduler import Scheduling, WorkStealingScheduling

from tests.support.long import LONG

hypothesis.settings.register_profile("sleepkit", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("sleepkit")
# Triton decides when it is imported whether it interprets: those tests have a process of their own (ops/test_triton.py).
collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
# The models here are tiny: a second thread gains nothing, and on a busy machine waiting for it costs twentyfold.
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before ``-m`` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the long form."""
    for item in items:
        if item.nodeid.startswith(LONG):
            item.add_marker(pytest.mark.long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every skipped test with its reason, whatever the command line asked for."""
    skipped = {f"{report.nodeid}: {report.longrepr[2]}" for report in terminalreporter.stats.get("skipped", [])}
    if skipped:  # what is skipped as it is collected is told by every process
        terminalreporter.section("skipped, and why")
        for line in sorted(skipped):
            terminalreporter.line(line)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Give each process (``-n``) a stretch of the suite, so that few fixtures are made twice; who is done steals."""
    return WorkStealingScheduling(config, log)
