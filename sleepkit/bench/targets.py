"""What the dashboard is held against: a target, the figure that was measured, and whether it is met."""

import dataclasses
from collections.abc import Mapping
from typing import Any

COLD_S, SCRUB_S, ASKED_S, CROWD_S, GROWTH_MIB, FOLD = 5.0, 0.3, 1.0, 2.0, 50.0, 900
SERIOUS = ("serious", "critical")
_SCRUBS = {"pass": "pass", "head": "head", "layer": "layer"}
_ASKED = {"n_passes": "N", "context": "context"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One row of the table.

    Attributes:
        what: what was measured.
        target: what it is held against.
        measured: the figure.
        met: whether it is within the target.
    """

    what: str
    target: str
    measured: str
    met: bool

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return "met" if self.met else "missed"


def verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    """Return every row of the table from the results of the suite ``dashboard``; percentiles are those of the worse screen."""
    crowd, events = results["crowd"], results["events"]
    cold = max(results["cold"].values(), key=lambda found: float(found["median_s"]))
    counted = {view: sum(each["impact"] in SERIOUS for each in found) for view, found in results["axe"].items()}
    others = sum(len(found) for found in results["axe"].values()) - sum(counted.values())
    elsewhere, errors = len(results["requests_elsewhere"]), len(results["console_errors"])
    waits = [each["p95_s"] for each in (crowd["drawn"], crowd["answered"]) if each is not None]
    ends = results["second_row_ends_at"]
    return [
        Verdict(
            "`panel serve` started to all panes drawn for the first visitor, new process",
            f"< {COLD_S:g} s",
            f"median {cold['median_s']:.2f} s, slowest {max(cold['all_s']):.2f} s (n = {cold['n']})",
            cold["median_s"] < COLD_S,
        ),
        *(_timed(events, kind, f"{name} scrubbed, event to drawn, p95", SCRUB_S) for kind, name in _SCRUBS.items()),
        *(_timed(events, kind, f"{name} changed, model run, event to drawn, p95", ASKED_S) for kind, name in _ASKED.items()),
        Verdict(
            f"{crowd['n_sessions']} sessions scrubbing: errors",
            "0",
            str(len(crowd["errors"])),
            not crowd["errors"],
        ),
        Verdict(
            f"{crowd['n_sessions']} sessions scrubbing: p95, drawn in a browser and answered to the others",
            f"< {CROWD_S:g} s",
            " and ".join(f"{wait:.2f} s" for wait in waits) or "no picture came",
            bool(waits) and max(waits) < CROWD_S,
        ),
        Verdict(
            "memory of the server after they left, growth",
            f"< {GROWTH_MIB:g} MiB",
            f"{crowd['memory_growth_MiB']:.0f} MiB; {crowd['memory_growth_again_MiB']:.0f} more by a second crowd",
            crowd["memory_growth_MiB"] < GROWTH_MIB,
        ),
        Verdict("requests beyond localhost, console errors", "0", f"{elsewhere}, {errors}", elsewhere == errors == 0),
        Verdict(
            f"axe-core violations, serious or critical ({', '.join(counted)})",
            "0",
            f"{sum(counted.values())} (and {others} lesser)",
            not any(counted.values()),
        ),
        Verdict("second row of panes ends above the fold", f"<= {FOLD} px", f"{ends:.0f} px", ends <= FOLD),
    ]


def _timed(events: Mapping[str, Any], kind: str, what: str, target_s: float) -> Verdict:
    """Return the row of a kind of event: its percentile on every screen, held against the target on the worst."""
    found = {screen: each[kind] for screen, each in events.items()}
    listed = ", ".join(
        f"{screen} {each['p95_s']:.2f} s (median {each['median_s']:.2f}, n = {each['n']})" for screen, each in found.items()
    )
    return Verdict(what, f"< {target_s:g} s", listed, all(each["p95_s"] < target_s for each in found.values()))
