"""Bundled small models, trained by this code, each with a card that says exactly how.

A list of names needs nothing, what a card says needs no torch: everything else is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sleepkit.zoo.folder import n_parameters, names

if TYPE_CHECKING:
    from sleepkit.zoo.card import Card
    from sleepkit.zoo.fitting import fit_probe
    from sleepkit.zoo.making import publish, write_openings
    from sleepkit.zoo.opening import load_opening
    from sleepkit.zoo.probe import NoReadingError, Probe, load_probe
    from sleepkit.zoo.record import Facts, facts
    from sleepkit.zoo.shelf import load, load_card

_NAMES = {
    "Card": "card",
    "Facts": "record",
    "NoReadingError": "probe",
    "Probe": "probe",
    "facts": "record",
    "fit_probe": "fitting",
    "load": "shelf",
    "load_card": "shelf",
    "load_opening": "opening",
    "load_probe": "probe",
    "publish": "making",
    "write_openings": "making",
}

__all__ = [
    "Card",
    "Facts",
    "NoReadingError",
    "Probe",
    "facts",
    "fit_probe",
    "load",
    "load_card",
    "load_opening",
    "load_probe",
    "n_parameters",
    "names",
    "publish",
    "write_openings",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'sleepkit.zoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sleepkit.zoo.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
