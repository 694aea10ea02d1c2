"""The dashboard's suite without a browser: what is refused, how figures become verdicts, how pictures are made small."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from PIL import Image

from sleepkit.bench import crowd, documents, screenshots, visitor
from sleepkit.bench.browser import Complaints
from sleepkit.bench.crowd import CrowdSettings
from sleepkit.bench.dashboard import DashboardSettings
from sleepkit.bench.measure import latencies
from sleepkit.bench.targets import verdicts
from sleepkit.errors import InvalidInputError
from sleepkit.ui import build_app
from tests.support.pages import built

TIMES = {"median_s": 0.1, "p95_s": 0.2, "n": 2, "all_s": [0.1, 0.2]}
KINDS = ("pass", "head", "layer", "n_passes", "context")
GOOD: dict[str, Any] = {
    "browser": "1.2",
    "screens": {"desktop": [1440, 900], "phone": [390, 844]},
    "cold": {"desktop": TIMES, "phone": TIMES},
    "events": {screen: dict.fromkeys(KINDS, TIMES) for screen in ("desktop", "phone")},
    "crowd": {
        "n_sessions": 20,
        "drawn": TIMES,
        "answered": TIMES,
        "errors": [],
        "memory_growth_MiB": 3.0,
        "memory_growth_again_MiB": 1.0,
    },
    "requests_elsewhere": [],
    "console_errors": [],
    "axe": {"light": [{"impact": "moderate"}], "dark": []},
    "second_row_ends_at": 880.0,
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    results = copy.deepcopy(GOOD)
    place = results
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return results


def missed(results: dict[str, Any]) -> list[str]:
    return [each.what for each in verdicts(results) if not each.met]


def test_the_95th_percentile_is_one_of_the_values() -> None:
    assert latencies([float(value) for value in range(1, 21)])["p95_s"] == 19.0
    assert latencies([3.0, 1.0])["p95_s"] == 3.0
    assert latencies([3.0, 1.0])["all_s"] == [3.0, 1.0]
    with pytest.raises(InvalidInputError, match="must not be empty"):
        latencies([])


def test_results_within_every_target_are_met() -> None:
    assert missed(GOOD) == []


@pytest.mark.parametrize(
    ("path", "bad", "named"),
    [
        (("cold", "phone"), {**TIMES, "median_s": 5.0}, "panel serve"),
        (("events", "phone", "head"), {**TIMES, "p95_s": 0.3}, "head"),
        (("events", "desktop", "layer"), {**TIMES, "p95_s": 0.9}, "layer"),
        (("events", "phone", "context"), {**TIMES, "p95_s": 1.0}, "context"),
        (("crowd", "errors"), ["session 3: lost"], "errors"),
        (("crowd", "answered"), {**TIMES, "p95_s": 2.1}, "p95, drawn in a browser"),
        (("crowd", "memory_growth_MiB"), 51.0, "memory"),
        (("requests_elsewhere",), ["https://example.org/"], "requests"),
        (("console_errors",), ["oh"], "console"),
        (("axe", "dark"), [{"impact": "serious"}], "axe-core"),
        (("second_row_ends_at",), 901.0, "fold"),
    ],
)
def test_one_figure_beyond_its_target_is_missed_on_either_screen(path: tuple[str, ...], bad: Any, named: str) -> None:
    (what,) = missed(changed(*path, to=bad))
    assert named in what


def test_the_readme_has_a_row_for_each_verdict_and_none_without_a_measurement(tmp_path: Path) -> None:
    assert documents.dashboard(tmp_path) == "Dashboard: not measured."
    report = {"results": changed("second_row_ends_at", to=901.0), "processor": "a core", "n_cores": 2}
    (tmp_path / "dashboard.json").write_text(json.dumps(report))
    lines = documents.dashboard(tmp_path).splitlines()
    assert len([line for line in lines if line.endswith((" met |", " missed |"))]) == len(verdicts(GOOD))
    assert "| second row of panes ends above the fold | <= 900 px | 901 px | missed |" in lines
    assert "1440 x 900 and 390 x 844" in lines[-1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cold_starts=0", "cold_starts: must be an integer >= 1, got 0"),
        ("pages=0", "pages: must be an integer >= 1, got 0"),
        ("rest_s=-1.0", "rest_s: must be 0 or more, got -1.0"),
        ("crowd.n_sessions=0", "n_sessions: must be an integer >= 1, got 0"),
        ("crowd.leave_s=-1.0", "leave_s: must be 0 or more, got -1.0"),
    ],
)
def test_a_measurement_of_nothing_is_refused(override: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        DashboardSettings().with_overrides(override)


def test_the_suite_measures_twenty_sessions_for_a_minute_unless_told_otherwise() -> None:
    assert (CrowdSettings().n_sessions, CrowdSettings().scrub_s) == (20, 60.0)


def test_requests_to_this_machine_are_no_complaint_and_all_others_are() -> None:
    @dataclasses.dataclass
    class Quiet:
        heard: dict[str, Any] = dataclasses.field(default_factory=dict)

        def on(self, name: str, call: Any) -> None:
            self.heard[name] = call

    @dataclasses.dataclass
    class Asked:
        url: str

    page: Any = Quiet()
    complaints = Complaints(page)
    for url in ("http://localhost:5006/a", "ws://localhost:5006/ws", "data:text/plain,a", "blob:http://localhost/1"):
        page.heard["request"](Asked(url))
    page.heard["websocket"](Asked("wss://example.org/ws"))
    page.heard["request"](Asked("https://cdn.example.org/a.js"))
    assert complaints.elsewhere == ["wss://example.org/ws", "https://cdn.example.org/a.js"]


def test_a_picture_is_made_smaller_and_keeps_its_size_and_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    noise = np.random.default_rng(0).integers(0, 12, (200, 300, 3), dtype=np.uint8) * 20
    noise[:50] = (200, 30, 30)
    Image.fromarray(noise).save(path)
    before = path.stat().st_size
    screenshots.compress(path)
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((300, 200), "P")
        assert image.convert("RGB").getpixel((5, 5)) == pytest.approx((200, 30, 30), abs=2)
    assert path.stat().st_size < before


def test_a_visitor_finds_the_slider_and_the_mosaic_of_the_fast_weights_in_what_the_server_sends() -> None:
    document = Document()
    document.add_root(built(build_app).get_root())
    sent = json.loads(serialize_json(document.to_json(deferred=False)))
    found = visitor.Visitor("http://localhost/sleep")
    found._know(sent)
    assert (found._pass, found._last_pass) == (4, 4)
    assert found._slider
    figure = next(each for each in visitor._objects(sent) if each["id"] == found._figure)
    assert json.loads(figure["attributes"]["figure"])["data"][0]["type"] == "heatmap"


def test_trouble_in_a_log_is_told_by_what_went_wrong() -> None:
    log = """2026 INFO all is well
2026 ERROR something failed
Traceback (most recent call last):
  File "a.py", line 1, in f
    raise ValueError("why")

ValueError: why
2026 INFO on it goes
"""
    assert crowd.troubles(log) == ["2026 ERROR something failed", "ValueError: why"]
    assert crowd.troubles("2026 INFO all is well") == []
