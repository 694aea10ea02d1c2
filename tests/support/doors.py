"""Calling functions as users do."""

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from beartype import BeartypeConf, BeartypeStrategy

from sleepkit.model import door

# What beartype's import hook writes into a module that it checks.
_CHECK_OF_VARIABLES, _ITS_SETTINGS = "__die_if_unbearable_beartype__", "__claw_state_beartype__"


def as_users_call_it(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take off the type checks that the tests switch on, so that the library's own refusal of a wrong type is seen."""
    return inspect.unwrap(function)


def take_off_type_checks(patch: pytest.MonkeyPatch) -> None:
    """Take the type checks off every function, method and annotated variable, for torch.compile, which cannot trace them."""
    no_checks = BeartypeConf(strategy=BeartypeStrategy.O0)
    for name, module in list(sys.modules.items()):
        if not name.startswith("sleepkit"):
            continue
        classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
        for owner in (module, *classes):
            for attribute, value in list(vars(owner).items()):
                if isinstance(value, staticmethod) and _is_type_check(value.__func__):
                    patch.setattr(owner, attribute, staticmethod(value.__func__.__wrapped__))
                elif _is_type_check(value):
                    patch.setattr(owner, attribute, value.__wrapped__)
        if hasattr(module, _CHECK_OF_VARIABLES):
            patch.setattr(module, _CHECK_OF_VARIABLES, lambda *_, **__: None)
            patch.setattr(module, _ITS_SETTINGS, types.SimpleNamespace(module_name_to_beartype_conf={name: no_checks}))
    patch.setattr(door, "_ORIGINALS", [(owner, names, get, get(owner)) for owner, names, get, _ in door._ORIGINALS])


def _is_type_check(value: object) -> bool:
    if not isinstance(value, types.FunctionType):
        return False
    constant = hasattr(value, "_dynamo_marked_constant")  # the compiler calls such a function, and traces nothing
    return value.__code__.co_filename.startswith("<@beartype(") and not constant
