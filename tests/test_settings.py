"""Settings: strict at every door, the same after JSON, identified by their digest."""

import dataclasses
import json
from typing import Any, Literal

import hypothesis
import hypothesis.strategies as st
import pytest

from sleepkit.errors import InvalidInputError
from sleepkit.experiments import presets
from sleepkit.model import ModelConfig
from sleepkit.settings import Settings, parse_value, settings
from sleepkit.sleep import SleepConfig
from tests.support.runs import tiny_settings


@settings
class Inner(Settings):
    """A nested group."""

    size: int = 3
    rate: float = 0.5

    def check(self) -> None:
        """Refuse a size of 13."""
        if self.size == 13:
            raise InvalidInputError("size: must not be 13, got 13")


@settings
class Outer(Settings):
    """One field of every kind that settings may have."""

    name: str
    flag: bool = False
    kind: Literal["left", "right"] = "left"
    span: Literal["all"] | tuple[int, int] = "all"
    weights: tuple[float, ...] | None = None
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


finite = st.floats(allow_nan=False, allow_infinity=False)
json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)
inner_settings = st.builds(Inner, size=st.integers().filter(lambda size: size != 13), rate=finite)
outer_settings = st.builds(
    Outer,
    name=st.text(),
    flag=st.booleans(),
    kind=st.sampled_from(["left", "right"]),
    span=st.just("all") | st.tuples(st.integers(), st.integers()),
    weights=st.none() | st.lists(finite, max_size=3).map(tuple),
    inner=inner_settings,
    inners=st.lists(inner_settings, max_size=2).map(tuple),
    options=st.dictionaries(st.text(max_size=3), json_data, max_size=3),
)


@hypothesis.given(made=outer_settings)
def test_settings_come_back_from_json_equal_and_with_the_same_digest(made: Outer) -> None:
    again = Outer.from_json(made.to_json())
    assert again == made
    assert again.digest() == made.digest()
    assert json.loads(made.to_json()) == json.loads(again.to_json())


@pytest.mark.parametrize("size", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("name", presets.names())
def test_every_preset_comes_back_from_json_equal(name: str, size: str) -> None:
    made = presets.of_size(name, size)
    assert type(made).from_json(made.to_json()) == made


def test_a_tuple_among_free_options_comes_back_from_json_equal() -> None:
    made = Outer(name="a", options={"depths": (1, 2)})
    assert Outer.from_json(made.to_json()) == made


@hypothesis.given(one=outer_settings, other=outer_settings)
def test_the_digest_is_equal_exactly_if_the_json_is(one: Outer, other: Outer) -> None:
    assert (one.digest() == other.digest()) == (one.to_json() == other.to_json())


def test_digests_stay_what_they_were() -> None:
    assert Outer(name="golden").digest() == "b61d43799e7b3b41"
    assert SleepConfig(n_passes=4, window_len=24).digest() == "b3e34e7062a8b825"
    assert ModelConfig(vocab_size=3).digest() == "00e10f8af3476fb4"


BAD_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("Outer.colour", {"colour": "red"}),
    ("name", {"name": 3}),
    ("name", {"name": None}),
    ("flag", {"flag": 1}),
    ("kind", {"kind": "up"}),
    ("kind", {"kind": ["left"]}),
    ("span", {"span": "some"}),
    ("span", {"span": [1]}),
    ("span", {"span": [1, 2.0]}),
    ("weights", {"weights": 3.0}),
    ("weights", {"weights": [1.0, float("nan")]}),
    ("weights", {"weights": [True]}),
    ("size", {"inner": {"size": True}}),
    ("size", {"inner": {"size": 2.0}}),
    ("size", {"inner": {"size": "3"}}),
    ("size", {"inner": {"size": 13}}),
    ("rate", {"inner": {"rate": float("nan")}}),
    ("rate", {"inner": {"rate": float("inf")}}),
    ("rate", {"inner": {"rate": 10**400}}),
    ("rate", {"inner": {"rate": True}}),
    ("rate", {"inner": {"rate": "0.5"}}),
    ("Inner.colour", {"inner": {"colour": "red"}}),
    ("Inner", {"inner": 3}),
    ("inners", {"inners": {"size": 3}}),
    ("options", {"options": [1]}),
    ("options", {"options": {1: 2}}),
]


@pytest.mark.parametrize(("name", "values"), BAD_VALUES)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: "):
        Outer(**{"name": "a", **values})


def test_a_missing_setting_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInputError, match=r"^Outer\.name: is required"):
        Outer()


@pytest.mark.parametrize("data", [None, 3, [1], "name"])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^Outer: must be a mapping of settings"):
        Outer.from_dict(data)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"name": "a", "inner": {"rate": NaN}}', '{"name": "a", "more": 1}'])
def test_json_that_does_not_hold_these_settings_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Outer.from_json(text)


def test_settings_cannot_be_changed_in_place() -> None:
    made = Outer(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "b"  # type: ignore[misc]


def test_an_integer_where_a_number_is_due_becomes_a_float_and_a_list_a_tuple() -> None:
    made = Outer(name="a", weights=[1, 2], inner={"rate": 1})
    assert made.weights == (1.0, 2.0)
    assert isinstance(made.inner.rate, float)
    assert made.digest() == Outer(name="a", weights=(1.0, 2.0), inner=Inner(rate=1.0)).digest()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=b", Outer(name="b")),
        ("name=b=c", Outer(name="b=c")),
        ("flag=true", Outer(name="a", flag=True)),
        ("inner.size=4", Outer(name="a", inner=Inner(size=4))),
        ("inner.rate=1e-3", Outer(name="a", inner=Inner(rate=1e-3))),
        ("span=[1,2]", Outer(name="a", span=(1, 2))),
        ("weights=null", Outer(name="a")),
        ('inners=[{"size": 1}]', Outer(name="a", inners=(Inner(size=1),))),
        ("options.deep.er=5", Outer(name="a", options={"deep": {"er": 5}})),
    ],
)
def test_a_dotted_override_changes_one_setting(override: str, expected: Outer) -> None:
    original = Outer(name="a")
    assert original.with_overrides(override) == expected
    assert original == Outer(name="a")


@pytest.mark.parametrize(
    "override",
    ["", "name", "=3", ".name=3", "colour=red", "inner.colour=red", "inner=3", "name.first=b", "inner.size.x=1", "inner.size=13"],
)
def test_a_malformed_or_wrong_override_is_refused(override: str) -> None:
    with pytest.raises(InvalidInputError):
        Outer(name="a").with_overrides(override)


def test_overrides_apply_from_left_to_right() -> None:
    assert Outer(name="a").with_overrides("name=b", "inner.size=1", "name=c") == Outer(name="c", inner=Inner(size=1))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("n_passes", ["sleep.n_passes=0"]),
        ("n_passes", ["sleep.n_passes=true"]),
        ("vocab_size", ["model.vocab_size=2"]),
        ("task name", ["task.name=chess"]),
        ("Rule110Config.colour", ["task.options.colour=3"]),
        ("name", ["name=../elsewhere"]),
        ("steps", ["steps=0"]),
        ("n_passes_weights", ["n_passes_weights=[0,0]"]),
        ("curriculum", ['curriculum=[{"start_step":5,"options":{}},{"start_step":5,"options":{}}]']),
        ("curriculum", ['curriculum=[{"start_step":5,"options":{"n_strings":4}}]']),
        ("muon_lr", ["optimiser.muon_lr=0"]),
        ("decay_share", ["optimiser.decay_share=1.5"]),
        ("dtype", ["dtype=float16"]),
    ],
)
def test_training_settings_that_do_not_fit_together_are_refused(name: str, overrides: list[str]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: "):
        tiny_settings().with_overrides(*overrides)


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("0.5", 0.5), ("true", True), ("null", None), ("[1, 2]", [1, 2]), ('"4"', "4"), ("rule110", "rule110")],
)
def test_text_is_parsed_as_json_or_stays_a_bare_string(text: str, value: Any) -> None:
    parsed = parse_value(text, "-p name")
    assert parsed == value
    assert type(parsed) is type(value)
