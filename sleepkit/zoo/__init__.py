"""Bundled small models, trained by this code, each with a card that says exactly how."""

from sleepkit.zoo.card import Card
from sleepkit.zoo.shelf import load, load_card, names, publish

__all__ = ["Card", "load", "load_card", "names", "publish"]
