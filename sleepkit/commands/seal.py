"""The command ``sleepkit seal``: its arguments, and what it prints."""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

from sleepkit.errors import StoreError, one_line, refuse

_NOTES = ("card.json", "config.json", "probe.json", "progress.json", "session.json", "settings.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; nothing heavy is imported for that."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a saved file, or a folder with all that is in it")


def run(options: argparse.Namespace) -> int:
    """Give saved things of earlier versions the digests they lack; their content stays, and what has one is checked."""
    from sleepkit.files import write_whole

    for path in [each for given in options.paths for each in _saved_files(given)]:
        before = path.read_bytes()
        try:
            after = _sealed(path, before)
        except (OSError, ValueError) as error:
            raise StoreError(f"path: must be whole ({one_line(error)}), got {str(path)!r}") from None
        if after != before:
            write_whole(path, after)
        print(f"{path}: {'given a digest' if after != before else 'has its digest'}")
    return 0


def _saved_files(given: Path) -> Iterator[Path]:
    """Yield what can hold a digest; tensors before the notes that name them."""
    if not given.exists():
        refuse("path", "must be there", str(given))
    found = sorted(given.rglob("*")) if given.is_dir() else [given]
    for path in sorted(found, key=lambda each: each.suffix == ".json"):
        known = path.suffix in (".nc", ".safetensors") or path.name in _NOTES
        if known and path.is_file():
            yield path
        elif path == given:
            refuse("path", f"must be a folder, .nc, .safetensors or one of {', '.join(_NOTES)}", str(given))


def _sealed(path: Path, data: bytes) -> bytes:
    from sleepkit.files import tensors
    from sleepkit.results import store

    if path.suffix == ".nc":
        return store.sealed(path)
    return tensors.seal(path) if path.suffix == ".safetensors" else _sealed_note(path, data)


def _sealed_note(path: Path, data: bytes) -> bytes:
    """Return a note with a digest, and with that of the tensors of the same name beside it."""
    from sleepkit.files import seals, tensors

    known = json.loads(data)
    if not isinstance(known, dict) or seals.KEY in known:
        seals.json_data(data, known, source=path)
        return data
    beside = path.with_suffix(".safetensors")
    ties = {"tensors": tensors.stored_digest(beside)} if beside.exists() else {}
    indented = re.match(rb'\{\n( +)"', data)
    return seals.json_text({**known, **ties}, indent=len(indented[1]) if indented else None).encode()
