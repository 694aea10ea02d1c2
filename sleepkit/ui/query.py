"""The query of an address as settings, and back: each value is read by the type of its setting. No Panel here."""

import collections
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import param

from sleepkit.errors import one_line

_MOST_SHOWN = 5  # refused settings in one line
_LONGEST_INTEGER = 18  # digits; more is refused before it becomes a number
_OF_THE_SERVER = "bokeh-"  # what Bokeh itself reads from an address
_LONGEST_SHOWN = 60  # characters of a refused value


class Asked(NamedTuple):
    """What an address asks for.

    Attributes:
        values: by the name of the setting, legal each by itself.
        refused: the texts that are no value of their setting.
    """

    values: dict[str, Any]
    refused: dict[str, str]


def read(search: str, state: param.Parameterized, names: Sequence[str]) -> Asked:
    """Return the settings that an address names; what it names twice, or what is no setting, is refused.

    Args:
        search: what follows the path, e.g. "?n_passes=4&window=1".
        state: knows the type and the bounds of each setting.
        names: of the settings that an address may hold.
    """
    values: dict[str, Any] = {}
    refused: dict[str, str] = {}
    pairs = parse_qsl(search.removeprefix("?"), keep_blank_values=True)
    counts = collections.Counter(name for name, _ in pairs)
    for name, text in pairs:
        if name.startswith(_OF_THE_SERVER):
            continue
        if name not in names or counts[name] > 1:
            refused[name] = text
            continue
        setting = state.param[name]
        try:
            value = _value(text, setting)
            setting._validate(value)
        except (TypeError, ValueError):
            refused[name] = text
        else:
            values[name] = value
    return Asked(values, refused)


def write(state: param.Parameterized, names: Sequence[str]) -> str:
    """Return the query that ``read`` turns into the same settings; what is empty, and is so by default, is left out."""
    values = {name: getattr(state, name) for name in names}
    left_out = {name for name, value in values.items() if _is_empty(value) and _is_empty(state.param[name].default)}
    return "?" + urlencode({name: _text(value) for name, value in values.items() if name not in left_out})


def _is_empty(value: Any) -> bool:
    return value in (None, "", [])


def refusal(refused: Mapping[str, str]) -> str:
    """Return the line about what is no value of its setting."""
    shown = [f"{_cut(name)}={_cut(text)}" for name, text in refused.items()]
    more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    said = one_line(", ".join(shown[:_MOST_SHOWN]), most=_MOST_SHOWN * 2 * _LONGEST_SHOWN)
    return f"address: must hold settings within their bounds, got {said}{more}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _value(text: str, setting: Any) -> Any:
    """Return the value that a text means for a setting.

    Raises:
        ValueError: if it means none.
    """
    if isinstance(setting, param.Integer):
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_INTEGER):
            raise ValueError(text)
        return int(text)
    if isinstance(setting, param.List):
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
    text.encode()  # half of a surrogate pair is no text that an address could hold again
    return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
