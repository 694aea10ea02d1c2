"""Settings are data: frozen, complete, strict at every door, with a JSON round trip and a digest."""

import dataclasses
import functools
import hashlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from sleepkit.errors import nearest, one_line, refuse, require

SettingsClass = TypeVar("SettingsClass", bound=type)
MOST_LEVELS = 40
MOST_DIGITS = 20


class Settings:
    """Base of every settings class: type-checked on construction, then ``check()`` for the value rules.

    Attributes:
        LATER: names of settings that the first version did not have. They count in the digest where they are not at their
            defaults, so that what was made without them keeps its digest.
    """

    LATER: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check every field against its annotation, then the rules between fields.

        Raises:
            InvalidInputError: if a field has the wrong type or breaks a rule.
        """
        for name, annotation in field_types(_class(self)).items():
            object.__setattr__(self, name, coerce(getattr(self, name), annotation, name))
        self.check()

    def check(self) -> None:
        """Refuse values that break a rule; overridden by classes that have rules."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data (dicts, lists, numbers, strings)."""
        return {name: _plain(getattr(self, name)) for name in _names(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from JSON data; unknown and missing keys are errors.

        Raises:
            InvalidInputError: naming the key, the rule and the value.
        """
        require(isinstance(data, Mapping), cls.__name__, "must be a mapping of settings", data)
        return cls(**data)

    def to_json(self) -> str:
        """Return the canonical JSON text: sorted keys, two-space indent."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build from JSON text.

        Raises:
            InvalidInputError: if the text is not JSON or not these settings.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # no JSON, or an integer of thousands of digits, or as many levels
            refuse(cls.__name__, f"must be JSON ({one_line(error)})", text[:60])
        return cls.from_dict(data)

    def digest(self) -> str:
        """Return 16 hex digits that identify these settings, the same on every machine."""
        canonical = json.dumps(_counted(self), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked as a whole again."""
        return type(self)(**{**{name: getattr(self, name) for name in _names(self)}, **changes})

    def with_overrides(self, *overrides: str) -> Self:
        """Return a copy with dotted overrides applied, e.g. ``"sleep.n_passes=4"``; values are JSON or bare strings.

        All are applied before anything is checked, so that the order of different names means nothing; the last one of a name
        counts.

        Raises:
            InvalidInputError: if an override is malformed or names no setting, or the whole breaks a rule.
        """
        tree = self.to_dict()
        for path, value in sorted(parse_overrides(overrides).items(), key=lambda given: given[0].count(".")):
            _set_path(tree, self, path.split("."), value, f"override {path}")
        return self.from_dict(tree)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: SettingsClass) -> SettingsClass:
    """Make a class a frozen, keyword-only dataclass whose constructor refuses unknown and missing names."""
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__init__ = _strict_init(made.__init__, made.__name__)
    return typing.cast(SettingsClass, made)


def _strict_init(init: Callable[..., None], owner: str) -> Callable[..., None]:
    parameters = list(inspect.signature(init).parameters.values())[1:]
    known = [parameter.name for parameter in parameters]
    needed = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]

    @functools.wraps(init)
    def strict(self: object, **values: Any) -> None:
        for name, value in values.items():
            require(name in known, f"{owner}.{name}", f"unknown setting; known: {', '.join(known)}", value)
        for name in needed:
            require(name in values, f"{owner}.{name}", "is required", None)
        init(self, **values)

    return strict


def _class(instance: Settings) -> Any:
    return type(instance)


def _names(instance: Settings) -> list[str]:
    return list(field_types(_class(instance)))


@functools.cache
def field_types(cls: Any) -> dict[str, Any]:
    """Return the resolved annotation of each field of a settings class, in order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def coerce(value: Any, annotation: Any, where: str) -> Any:
    """Return ``value`` as the annotated type if JSON data could mean it (lists become tuples, ints floats).

    Raises:
        InvalidInputError: if it could not.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return _plain(value)  # as JSON would bring it back: a tuple among free options is a list
    if origin in (types.UnionType, typing.Union):
        return _coerce_union(value, arguments, where)
    if origin is typing.Literal:
        choices = ", ".join(map(repr, arguments))
        known = any(value == choice and type(value) is type(choice) for choice in arguments)
        require(known, where, f"must be one of {choices}", value)
        return value
    if origin is tuple:
        return _coerce_tuple(value, arguments, where)
    if origin is dict:
        good = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        require(good, where, "must be a mapping with string keys", value)
        return {key: coerce(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return value if isinstance(value, annotation) else annotation.from_dict(value)
    if annotation is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(number and abs(value) <= sys.float_info.max, where, "must be a finite number", value)
        return float(value)
    if annotation is int:
        require(isinstance(value, int) and not isinstance(value, bool), where, "must be an integer", value)
        return value
    if annotation is type(None):
        require(value is None, where, "must be None", value)
        return None
    require(isinstance(value, annotation), where, f"must be of type {annotation.__name__}", value)
    return value


def _coerce_union(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    for choice in choices:
        try:
            return coerce(value, choice, where)
        except ValueError:
            continue
    names = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    return refuse(where, f"must be {names}", value)


def _coerce_tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    require(isinstance(value, tuple | list), where, "must be a list", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(coerce(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    require(len(value) == len(arguments), where, f"must have {len(arguments)} items", value)
    pairs = zip(value, arguments, strict=True)
    return tuple(coerce(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(pairs))


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _counted(value: Any) -> Any:
    """Return the plain data that the digest is made of."""
    if isinstance(value, tuple | list):
        return [_counted(item) for item in value]
    if not isinstance(value, Settings):
        return _plain(value)
    given = {field.name: (getattr(value, field.name), field.default) for field in dataclasses.fields(_class(value))}
    return {name: _counted(now) for name, (now, default) in given.items() if name not in value.LATER or now != default}


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Return values by name, from texts like ``"sleep.n_passes=4"``; the last one of a name counts.

    Raises:
        InvalidInputError: if a text is malformed.
    """
    return dict(map(parse_override, overrides))


def parse_override(override: str) -> tuple[str, Any]:
    """Split ``"name=value"`` at its first "="; the value is JSON or a bare string (see ``parse_value``).

    Raises:
        InvalidInputError: if the name or the "=" is missing, or the value is none that a setting could have.
    """
    path, separator, text = override.partition("=")
    names = path.split(".")
    good = bool(separator) and all(names) and len(names) <= MOST_LEVELS
    require(good, "override", "must look like name.name=value", override)
    return path, parse_value(text, f"override {path}")


def parse_value(text: str, where: str) -> Any:
    """Return the value that somebody typed: JSON where it is JSON, the bare string otherwise.

    Raises:
        InvalidInputError: if it is JSON that no setting could hold (see ``strict_json``), or holds characters that no text has.
    """
    try:
        return strict_json(text, where)
    except json.JSONDecodeError:
        return _checked(text, where, 0)


def strict_json(text: str, where: str) -> Any:
    """Return JSON data that any setting could hold, wherever the text comes from.

    Refused are more than 40 levels, integers of more than 20 digits, numbers that are not finite, names given twice in one
    object, NUL and halves of surrogate pairs.

    Raises:
        JSONDecodeError: if the text is not JSON.
        InvalidInputError: if it is, and is refused.
    """
    try:
        data = json.loads(
            text,
            parse_int=lambda digits: _integer(digits, where),
            parse_float=lambda digits: _finite(digits, where),
            parse_constant=lambda name: refuse(where, "must be a finite number", name),
            object_pairs_hook=lambda pairs: _object(pairs, where),
        )
    except RecursionError:
        refuse(where, f"must have at most {MOST_LEVELS} levels", text)
    return _checked(data, where, 0)


def parse_integer(text: str) -> int:
    """Return the integer of a text in plain digits, with a sign or not: no spaces, underscores or digits of other scripts.

    Raises:
        InvalidInputError: if it is none, or has more than 20 digits.
    """
    require(re.fullmatch("[+-]?[0-9]+", text) is not None, "number", "must be an integer in plain digits", text)
    return _integer(text, "number")


def _integer(digits: str, where: str) -> int:
    require(len(digits) <= MOST_DIGITS, where, f"must be a number of at most {MOST_DIGITS} digits", digits)
    return int(digits)


def _finite(digits: str, where: str) -> float:
    number = float(digits)
    require(abs(number) <= sys.float_info.max, where, "must be a finite number", digits)
    return number


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    made = dict(pairs)
    require(len(made) == len(pairs), where, "must hold each name once", [name for name, _ in pairs])
    return made


def _checked(value: Any, where: str, level: int) -> Any:
    """Return JSON data as it is; refuse too many levels, and text that neither a file nor a terminal takes."""
    require(level <= MOST_LEVELS, where, f"must have at most {MOST_LEVELS} levels", value)
    if isinstance(value, str):
        good = "\0" not in value and not any("\ud800" <= mark <= "\udfff" for mark in value)
        require(good, where, "must be text without NUL and halves of surrogate pairs", value)
    elif isinstance(value, list):
        for item in value:
            _checked(item, where, level + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _checked(name, where, level + 1)
            _checked(item, where, level + 1)
    return value


def _set_path(tree: Any, target: Any, path: list[str], value: Any, where: str) -> None:
    """Set a value in plain data; ``target`` is what the data was before, and knows the names."""
    name, rest = path[0], path[1:]
    if isinstance(target, Settings):
        known = _names(target)
        unknown = f"{name!r} is no setting; known: {', '.join(known)}{nearest(name, known)}"
        require(name in known, where, unknown, value)
    require(isinstance(tree, dict), where, f"{name!r} has nothing below it", value)
    if not rest:
        tree[name] = value
        return
    below = getattr(target, name) if isinstance(target, Settings) else None
    _set_path(tree.setdefault(name, {}), below, rest, value, where)
