"""Saved notes changed on purpose, with the digest that belongs to them; and things of earlier versions, which have none."""

import json
from pathlib import Path

import pytest

from sleepkit.files import seals

unsealed = pytest.mark.filterwarnings("ignore:.*holds no digest")


def change_note(path: Path, **changes: object) -> None:
    """Overwrite entries of a note; a digest that was there fits again."""
    data = json.loads(path.read_text())
    data.pop(seals.KEY, None)
    path.write_text(seals.json_text({**data, **changes}))
