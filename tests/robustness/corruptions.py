"""Damage to files: flipped bits, cuts, zeroed blocks, swapped parts, bytes put in, taken out and added at the end.

Whoever reads a damaged thing gets one line that refuses it, or what was saved: never anything else, a traceback or a wait.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.robustness.forked import Outcome, in_child, made_whole
from tests.robustness.tally import Tally
from tests.robustness.things import BUNDLE, CELL, CHECKPOINT, LIVE, MODEL, NOTEBOOK, RESULT, RUN, SESSION, SWEEP, TRACE, Thing

THINGS = (MODEL, SESSION, CHECKPOINT, RUN, RESULT, TRACE, CELL, SWEEP, LIVE, BUNDLE, NOTEBOOK)
LONGEST_LINE = 600
TIMEOUT_S = 20.0

Damage = Callable[[bytes, random.Random], bytes]


def flipped_bit(data: bytes, draw: random.Random) -> bytes:
    """Flip one bit."""
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def changed_byte(data: bytes, draw: random.Random) -> bytes:
    """Put another byte in the place of one."""
    at = draw.randrange(len(data))
    return data[:at] + bytes([(data[at] + draw.randrange(1, 256)) % 256]) + data[at + 1 :]


def changed_digit(data: bytes, draw: random.Random) -> bytes:
    """Put another digit in the place of one, which leaves every format whole."""
    digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return flipped_bit(data, draw)
    at = draw.choice(digits)
    return data[:at] + bytes([48 + (data[at] - 48 + draw.randrange(1, 10)) % 10]) + data[at + 1 :]


def cut(data: bytes, draw: random.Random) -> bytes:
    """Cut the end off, or everything."""
    return data[: draw.choice([0, draw.randrange(len(data)), len(data) - 1])]


def zeroed(data: bytes, draw: random.Random) -> bytes:
    """Fill a block with zeros, as a disk does that lost it."""
    size = draw.choice([8, 64, 512, 4096])
    at = draw.randrange(len(data)) // size * size
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def swapped(data: bytes, draw: random.Random) -> bytes:
    """Let two parts of one length change places."""
    size = max(1, min(draw.choice([4, 64, 512]), len(data) // 3))
    one, other = sorted(draw.sample(range(len(data) // size), 2))
    parts = [data[number * size : (number + 1) * size] for number in (one, other)]
    between = data[(one + 1) * size : other * size]
    return data[: one * size] + parts[1] + between + parts[0] + data[(other + 1) * size :]


def added(data: bytes, draw: random.Random) -> bytes:
    """Add bytes at the end."""
    return data + draw.choice([b"\0", b"\n", b"}", draw.randbytes(draw.randrange(1, 600))])


def put_in(data: bytes, draw: random.Random) -> bytes:
    """Put bytes in somewhere."""
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.randrange(1, 9)) + data[at:]


def taken_out(data: bytes, draw: random.Random) -> bytes:
    """Take bytes out somewhere."""
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.randrange(1, 9) :]


DAMAGES: Sequence[Damage] = (flipped_bit, changed_byte, changed_digit, cut, zeroed, swapped, added, put_in, taken_out)


def corrupt(*, n_each: int, seed: int) -> dict[str, Any]:
    """Damage every kind of thing so many times, its files and the kinds of damage in turn.

    Args:
        n_each: damages of each kind of thing.
        seed: of where and what.

    Returns:
        By the name of the thing: tries, refused, equal, other (of a text that people edit), and the faults: accepted_wrong,
        tracebacks, crashes, hangs.
    """
    told = {}
    for thing in THINGS:
        draw = random.Random(f"{seed} {thing.name}")
        with tempfile.TemporaryDirectory() as made:
            whole = Path(made)
            made_whole(in_child(lambda: thing.save(whole, 0), timeout_s=300))  # noqa: B023
            expected = in_child(lambda: thing.read(whole))  # noqa: B023
            made_whole(expected)
            told[thing.name] = _corrupt_one(thing, whole, expected, draw, n_each).as_dict()
    return told


def _corrupt_one(thing: Thing, whole: Path, expected: Outcome, draw: random.Random, n_tries: int) -> Tally:
    tally = Tally(tries=0, refused=0, equal=0, other=0, accepted_wrong=0, tracebacks=0, crashes=0, hangs=0)
    targets = sorted(path for pattern in thing.parts for path in whole.glob(pattern))
    for number in range(n_tries):
        target, damage = targets[number % len(targets)], DAMAGES[number // len(targets) % len(DAMAGES)]
        data = target.read_bytes()
        spoilt = damage(data, draw)
        if spoilt == data:
            continue
        with tempfile.TemporaryDirectory() as other:
            shutil.copytree(whole, other, dirs_exist_ok=True)
            (Path(other) / target.relative_to(whole)).write_bytes(spoilt)
            found = in_child(lambda: thing.read(Path(other)), timeout_s=TIMEOUT_S)
        tally.counts["tries"] += 1
        fault = _judged(found, expected, thing)
        where = f"{thing.name}, {target.relative_to(whole)}, {damage.__name__} (try {number})"
        if fault in ("refused", "equal", "other"):
            tally.counts[fault] += 1
        else:
            tally.fault(fault, f"{where}: {str(found.value)[:200]}")
    return tally


def _judged(found: Outcome, expected: Outcome, thing: Thing) -> str:
    if found.ending == "refused":
        return "refused" if "\n" not in found.value and len(found.value) <= LONGEST_LINE else "tracebacks"
    if found.ending == "returned":
        if found == expected or (thing.grows and expected.value.startswith(found.value)):
            return "equal"
        return "other" if thing.edited else "accepted_wrong"
    return {"raised": "tracebacks", "died": "crashes", "hung": "hangs"}[found.ending]
