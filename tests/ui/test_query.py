"""Settings in an address: what is written is read back, each value by the type of its setting; rubbish is refused by name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepkit.ui import query
from sleepkit.ui.lab.state import URL_NAMES as LAB_NAMES
from sleepkit.ui.lab.state import LabState
from sleepkit.ui.state import CURVES, EVICTIONS, TABS, THEMES, URL_NAMES, VIEWS, ExplorerState

EXPLORED = st.fixed_dictionaries(
    {
        "model": st.text(),
        "n_passes": st.integers(1, 16),
        "compare": st.integers(1, 16),
        "context": st.integers(1, 4096),
        "window_len": st.integers(-(10**9), 10**9),
        "eviction": st.sampled_from(EVICTIONS),
        "depth": st.integers(-(10**9), 10**9),
        "text": st.one_of(
            st.text(), st.from_regex(r"[01]{1,40}", fullmatch=True), st.sampled_from(["true", "null", "1e5", "[1]"])
        ),
        "sleep_pass": st.none() | st.integers(0, 16),
        "head": st.none() | st.integers(0, 16),
        "view": st.sampled_from(VIEWS),
        "curve": st.sampled_from(CURVES),
        "tab": st.sampled_from(TABS),
        "theme": st.sampled_from(THEMES),
    }
)


@given(values=EXPLORED)
def test_what_is_written_is_read_as_the_same_settings(values: dict[str, object]) -> None:
    before = ExplorerState(**values)
    asked = query.read(query.write(before, URL_NAMES), before, URL_NAMES)
    after = ExplorerState()
    after.param.update(asked.values)
    assert asked.refused == {}
    assert {name: getattr(after, name) for name in URL_NAMES} == {name: getattr(before, name) for name in URL_NAMES}


@given(keys=st.lists(st.text(), unique=True, max_size=5))
def test_runs_and_their_looks_come_back(keys: list[str]) -> None:
    before, after = LabState(), LabState()
    before.choose(keys)
    after.param.update(query.read(query.write(before, LAB_NAMES), after, LAB_NAMES).values)
    assert (after.selected, after.slots()) == (keys, before.slots())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n_passes", "true"),
        ("n_passes", "99"),
        ("n_passes", "4.0"),
        ("n_passes", "[4]"),
        ("n_passes", "\u0664"),
        ("n_passes", "4" * 4301),
        ("n_passes", "null"),
        ("window_len", "-"),
        ("eviction", "soft"),
        ("theme", "blue"),
        ("tab", "1"),
    ],
)
def test_rubbish_is_refused_by_name_in_one_short_line_and_the_rest_is_taken(name: str, text: str) -> None:
    asked = query.read(f"?{name}={text}&example=3", ExplorerState(), URL_NAMES)
    assert asked.values == {"example": 3}
    assert asked.refused == {name: text}
    assert query.refusal(asked.refused).startswith(f"address: must hold settings within their bounds, got {name}={text[:9]}")
    assert len(query.refusal(asked.refused)) < 200


@pytest.mark.parametrize("text", ["[1]", "a", "{}", "[" * 100_000, "NaN", str(math.inf)])
def test_a_list_of_runs_that_is_none_is_refused(text: str) -> None:
    assert query.read(f"?selected={text}", LabState(), LAB_NAMES).refused == {"selected": text}


@given(search=st.text())
def test_any_address_is_read(search: str) -> None:
    for state, names in ((ExplorerState(), URL_NAMES), (LabState(), LAB_NAMES)):
        asked = query.read(search, state, names)
        state.param.update(asked.values)
        assert set(asked.values) <= set(names)


def test_a_refusal_is_one_line_that_every_page_and_log_takes() -> None:
    said = query.refusal({"example": "1\r\n2\x1b[31m\u202e\ud800", "theme": "9" * 5000})
    assert said.isprintable()
    assert said.startswith("address: must hold settings within their bounds, got example=1")


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("?n_passes=4&n_passes=8", "n_passes=8"),
        ("?colour=red", "colour=red"),
        ("?n_passes=", "n_passes="),
        ("?%00=%00", "\\x00=\\x00"),
        ("?" + "a" * 300 + "=1", "a" * 60 + "...=1"),
    ],
)
def test_what_is_named_twice_or_is_no_setting_is_refused_in_one_line(search: str, said: str) -> None:
    asked = query.read(search, ExplorerState(), URL_NAMES)
    assert asked.values == {}
    assert query.refusal(asked.refused) == f"address: must hold settings within their bounds, got {said}"


def test_a_thousand_refused_settings_are_one_line_of_a_few() -> None:
    asked = query.read("?" + "&".join(f"x{number}=1" for number in range(1000)), ExplorerState(), URL_NAMES)
    assert query.refusal(asked.refused).endswith("got x0=1, x1=1, x2=1, x3=1, x4=1 and 995 more")


def test_what_the_server_itself_reads_is_no_setting() -> None:
    assert query.read("?bokeh-session-id=abc", ExplorerState(), URL_NAMES) == query.Asked({}, {})


def test_half_of_a_surrogate_pair_is_refused() -> None:
    assert query.read("?text=\ud800", ExplorerState(), URL_NAMES).refused == {"text": "\ud800"}
