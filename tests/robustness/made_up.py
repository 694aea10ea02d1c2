"""Made-up input: what people mistype, what programs send, what nobody means well with."""

import contextlib
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.robustness.forked import in_child
from tests.robustness.tally import Tally

LONGEST_LINE = 1100
TIMEOUT_S = 30.0
GOOD = ("refused", "accepted")
BAD = ("accepted_wrong", "tracebacks", "crashes", "hangs")
_BATCH = 40

# No integer, whoever reads it.
NO_INTEGERS = (
    "",
    "x",
    "1.5",
    "1e3",
    "0x10",
    "nan",
    "-",
    "--",
    "1,",
    "[1]",
    "{",
    "1 2",
    "\u0663",
    "\uff11",
    "9" * 5000,
    "\0",
    "1\n2",
    "\ud800",
)
# Texts of every kind; a few are legal somewhere.
TEXTS = (
    *NO_INTEGERS,
    "0",
    "-1",
    "1",
    "2",
    "true",
    "null",
    '"a\\u0000b"',
    "[" * 3000,
    '{"a":' * 2000,
    "[1, 2]",
    "1e999",
    "-1e400",
    "NaN",
    "Infinity",
    "a" * 3000,
    "\x1b[31m",
    "\u202e",
    "\u00a0",
    "'; x",
    "%s%n",
    "<script>",
    "\r\n",
    "\t",
)
_FOREIGN = (0x20, 0x7E, 0xA0, 0x660, 0x2003, 0x3000, 0xFEFF, 0x1F600)


class HungError(BaseException):
    """The work took longer than a case may."""


def mutated(text: str, draw: random.Random) -> str:
    """Return a text with one to three small changes."""
    for _ in range(draw.randint(1, 3)):
        text = _changed(text, draw.randrange(len(text) + 1), draw)
    return text


def _changed(text: str, at: int, draw: random.Random) -> str:
    words = text.split(" ")
    changes: Sequence[Callable[[], str]] = (
        lambda: text[:at] + text[at + 1 :],
        lambda: text[:at] + draw.choice("0123456789abkpnQ?.>=+-*()t ,") + text[at:],
        lambda: text[:at] + draw.choice(TEXTS) + text[at:],
        lambda: text[:at] + chr(draw.choice(_FOREIGN)) + text[at:],
        lambda: " ".join(draw.sample(words, len(words))),
        lambda: " ".join([*words, *words[: draw.randint(1, len(words))]]),
        lambda: text[:at],
        lambda: text.replace(draw.choice(words) or " ", draw.choice(words) or "?"),
        lambda: text.swapcase(),
    )
    return draw.choice(changes)()


def try_all(cases: Sequence[Any], judge: Callable[[Any], tuple[str, str]]) -> dict[str, Any]:
    """Judge every case in forked processes, many to each; where one dies or hangs, each of its cases gets its own.

    Args:
        cases: whatever ``judge`` takes.
        judge: returns "refused", "accepted" or a fault, and what is to be told of it; an error that escapes is a traceback.
    """
    tally = Tally(tries=0, **dict.fromkeys((*GOOD, *BAD), 0))
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        for case, (verdict, said) in zip(batch, _judged_batch(batch, judge), strict=True):
            tally.counts["tries"] += 1
            if verdict in GOOD:
                tally.counts[verdict] += 1
            else:
                tally.fault(verdict, f"{_shown(case)}: {said[:300]}")
    return tally.as_dict()


def judged_line(said: str, *, most: int = LONGEST_LINE) -> tuple[str, str]:
    """Return that something was refused, if it was in one printable line."""
    whole = "\n" not in said.strip("\n") and said.strip("\n").isprintable() and len(said) <= most
    return ("refused", "") if whole else ("tracebacks", f"{len(said)} characters: {said[:200]!r}")


def _judged_batch(batch: Sequence[Any], judge: Callable[[Any], tuple[str, str]]) -> list[tuple[str, str]]:
    found = in_child(lambda: [_judged(case, judge) for case in batch], timeout_s=TIMEOUT_S * len(batch))
    if found.ending == "returned":
        return [(verdict, said) for verdict, said in found.value]
    if len(batch) > 1:
        return [verdict for case in batch for verdict in _judged_batch([case], judge)]
    return [({"hung": "hangs", "died": "crashes"}.get(found.ending, "tracebacks"), str(found.value))]


def _judged(case: Any, judge: Callable[[Any], tuple[str, str]]) -> tuple[str, str]:
    try:
        with _limited():
            return judge(case)
    except HungError:
        return "hangs", f"{TIMEOUT_S} s"
    except Exception as error:  # noqa: BLE001 - what escapes is what is looked for, and is told
        return "tracebacks", f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise HungError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _shown(case: Any) -> str:
    text = ascii(case)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"
