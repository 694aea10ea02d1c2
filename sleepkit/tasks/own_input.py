"""What tasks share in reading a person's own examples and in showing the way to an answer."""

import contextlib
import dataclasses
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, NoReturn

from sleepkit.errors import InvalidInputError, refuse

TEXT = "text"
SPACES = " \t\n\r"
_CHARACTERS = frozenset(SPACES + string.printable.strip())
_SHOWN = 40
_LONGEST_REFUSAL = 240


class Step(NamedTuple):
    """One step of the way to an answer.

    Attributes:
        text: where the way has come to.
        position: position of the first token that the step reads, -1 for none.
    """

    text: str
    position: int


@dataclasses.dataclass(frozen=True)
class Reasoning:
    """The ways to the answers of one example.

    Attributes:
        form: "automaton" (each step the whole ring, 0 and 1), "walk" (each step the node or state reached) or "chain" (the
            question, then equations such as "k2 p2 = 3 + k4 p1 = 5", each after those it reads).
        ways: the steps to each answer that is asked, from the start to the answer.
        asked_cell: the cell that is asked (automaton).
    """

    form: Literal["automaton", "walk", "chain"]
    ways: list[list[Step]]
    asked_cell: int | None = None


def refuse_text(rule: str, where: str, found: str) -> NoReturn:
    """Refuse own input: the rule, the place in the text, what stands there (its beginning, if it is long).

    Raises:
        InvalidInputError: always.
    """
    refuse(TEXT, f"{where} {rule}", shown(found))


def shown(found: str) -> str:
    """Return a piece of text short enough for an error message."""
    return found if len(found) <= _SHOWN else found[:_SHOWN] + "..."


def tidied(text: str, known: Iterable[str]) -> str:
    """Return a text with one space wherever white space stands, none at its ends.

    White space is spaces, tabs and line ends. Beside it a text holds what can be printed in ASCII, and what stands in the words
    of its task: no other spaces, no digits of other scripts, nothing invisible.

    Args:
        text: what a person wrote.
        known: words of the task.

    Raises:
        InvalidInputError: naming the place of the first character that is none of these.
    """
    strange = set(text) - _CHARACTERS - set().union(*known)
    if strange:
        place = next(place for place, mark in enumerate(text, start=1) if mark in strange)
        refuse_text("must be a space, a tab, a line end or printable ASCII", f"character {place}", ascii(text[place - 1])[1:-1])
    return " ".join(text.split())


def closed_up(text: str, joins: str) -> str:
    """Take the spaces away around each of some characters, and those before a closing bracket; spaces stand alone here."""
    if not joins:
        return text
    return re.sub(rf" ?([{re.escape(joins)}]) ?", r"\1", text).replace(" )", ")")


def split_at_question(text: str) -> tuple[list[str], list[str] | None]:
    """Return the words before and after the question mark; None after it if there is none.

    Raises:
        InvalidInputError: if there is more than one question mark.
    """
    words = text.replace("?", " ? ").split()
    if "?" not in words:
        return words, None
    at = words.index("?")
    if "?" in words[at + 1 :]:
        refuse_text("must stand once", "the question mark", " ".join(words[at:]))
    return words[:at], words[at + 1 :]


def settled_depth(given: int | None, named: int | None, where: str) -> int:
    """Return the depth of one question: what the text names, or else what is given beside it.

    Raises:
        InvalidInputError: if there is neither, or if they differ.
    """
    if named is None and given is None:
        refuse("depth", f"must be given where the text names none, as in {where}", given)
    if named is not None and given is not None and named != given:
        refuse("depth", f"must be None or what the text names, {named} in {where}", given)
    depth = named if named is not None else given
    assert depth is not None
    return depth


def circle(reads: Mapping[str, Sequence[str]], start: str) -> str:
    """Return a circle among things of which each reads another one of them, as "a -> b -> a"."""
    way = [start]
    while way[-1] not in way[:-1]:
        way.append(next(name for name in reads[way[-1]] if name in reads))
    return " -> ".join(way[way.index(way[-1]) :])


@contextlib.contextmanager
def about_the_text() -> Iterator[None]:
    """Let an oracle's refusal of tokens speak of the text they were read from."""
    try:
        yield
    except InvalidInputError as error:
        said = str(error).removeprefix("tokens: ")
        raise InvalidInputError(f"{TEXT}: {said[:_LONGEST_REFUSAL]}{'...' if len(said) > _LONGEST_REFUSAL else ''}") from None
