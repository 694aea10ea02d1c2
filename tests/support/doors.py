"""Calling functions as users do."""

import inspect
from collections.abc import Callable
from typing import Any


def as_users_call_it(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take off the type checks that the tests switch on, so that the library's own refusal of a wrong type is seen."""
    return inspect.unwrap(function)
