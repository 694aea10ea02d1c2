"""The oracle of GSM: reads the printed words of an example and resolves its question; shares nothing with the generator."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sleepkit.errors import refuse

Quantity = tuple[str, str]  # kind, place

_NAME = r"the number of (\w+) in the (\w+)"
_TERMS = re.compile(_NAME)
_ENGLISH_HEAD = re.compile(r"The number of (\w+) in the (\w+) (?:is|equals) (.+)")
_ENGLISH = [
    ("+", re.compile(r"(\d+)")),
    ("+", re.compile(f"{_NAME}")),
    ("+", re.compile(f"(\\d+) more than {_NAME}")),
    ("*", re.compile(f"(\\d+) times {_NAME}")),
    ("+", re.compile(f"{_NAME} plus {_NAME}")),
    ("-", re.compile(f"{_NAME} minus {_NAME}")),
    ("+", re.compile(f"(\\d+) more than the sum of {_NAME} and {_NAME}")),
    ("+", re.compile(f"the sum of {_NAME} , {_NAME} and {_NAME}")),
]
_ENGLISH_TOTAL = re.compile(r"the total of all (\d+) goods in the (\w+)")
_ENGLISH_QUESTION = re.compile(r"what is the number of (\w+) in the (\w+)(?: , modulo (\d+))? \?")


class Statement(NamedTuple):
    """What one sentence says.

    Attributes:
        about: the quantity it states.
        sign: "+", "-" or "*" between its terms, or "all" for the total of a place.
        number: its constant, None if it has none; the number of items of a total.
        terms: quantities it reads by name.
        place: the place of a total, else empty.
    """

    about: Quantity
    sign: str
    number: int | None
    terms: tuple[Quantity, ...]
    place: str = ""


class Question(NamedTuple):
    """What is asked: a quantity, and the modulus if the text names one."""

    about: Quantity
    modulus: int | None


class Solution(NamedTuple):
    """What a question comes to.

    Attributes:
        value: the quantity asked about.
        n_ops: terms of all statements it needs, constants and items included.
        chain: statements on the longest path from the question down.
        values: value of every quantity it needs, itself included, each after those it reads.
        reads: the quantities that each of them reads.
    """

    value: int
    n_ops: int
    chain: int
    values: dict[Quantity, int]
    reads: dict[Quantity, tuple[Quantity, ...]]


def read(words: Sequence[str]) -> tuple[Question, list[Statement]]:
    """Return the question and the statements of a printed example, up to the mark before its answer.

    Raises:
        InvalidInputError: if the words are no example.
    """
    english = "Answer:" in words
    mark = "Answer:" if english else "[ANS]"
    if mark not in words:
        refuse("tokens", "must hold the mark before the answer", " ".join(words[-3:]))
    rest = [word for word in words[: words.index(mark)] if word != "[PAD]"]
    question: Question | None = None
    statements = []
    while rest:
        asks = rest[0] == ("Question:" if english else "?")
        if asks and question is not None:
            refuse("tokens", "must ask one question", " ".join(rest[:3]))
        if asks and not english:
            question, rest = _symbolic_question(rest[:3]), rest[3:]
            continue
        end = "?" if asks else "."
        if end not in rest:
            refuse("tokens", "must end every sentence", " ".join(rest[:12]))
        stop = rest.index(end)
        sentence, rest = rest[:stop], rest[stop + 1 :]
        if asks:
            question = _english_question(" ".join([*sentence[1:], end]))
        else:
            statements.append(_english_statement(" ".join(sentence)) if english else _symbolic_statement(sentence))
    if question is None:
        refuse("tokens", "must ask a question", " ".join(words[:12]))
    return question, statements


def _symbolic_question(words: Sequence[str]) -> Question:
    if len(words) != 3:
        refuse("tokens", "must ask about a kind at a place", " ".join(words))
    return Question(_quantity(words[1:]), None)


def _english_question(text: str) -> Question:
    found = _ENGLISH_QUESTION.fullmatch(text)
    if not found:
        refuse("tokens", "must ask about a kind at a place", text)
    return Question((found[1], found[2]), int(found[3]) if found[3] else None)


def _quantity(words: Sequence[str]) -> Quantity:
    if len(words) != 2 or not re.fullmatch(r"k\d+ p\d+", " ".join(words)):
        refuse("tokens", "must name quantities by kind and place", " ".join(words))
    return words[0], words[1]


def _english_statement(text: str) -> Statement:
    head = _ENGLISH_HEAD.fullmatch(text)
    if head:
        about, said = (head[1], head[2]), head[3]
        total = _ENGLISH_TOTAL.fullmatch(said)
        if total:
            return Statement(about, "all", int(total[1]), (), total[2])
        for sign, pattern in _ENGLISH:
            if pattern.fullmatch(said):
                number = re.match(r"\d+", said)
                terms = tuple((kind, place) for kind, place in _TERMS.findall(said))
                return Statement(about, sign, int(number[0]) if number else None, terms)
    return refuse("tokens", "must state quantities in known sentences", text)


def _symbolic_statement(words: Sequence[str]) -> Statement:
    about, rest = _quantity(words[:2]), list(words[2:])
    if not rest or rest.pop(0) != "=" or not rest:
        refuse("tokens", "must state what a quantity equals", " ".join(words))
    if rest[0] == "all":
        if len(rest) != 3 or not rest[1].isdigit():
            refuse("tokens", "must total a number of quantities of a place", " ".join(words))
        return Statement(about, "all", int(rest[1]), (), rest[2])
    number = int(rest.pop(0)) if rest[0].isdigit() else None
    terms, signs = [], []
    if number is None:
        terms.append(_quantity(rest[:2]))
        del rest[:2]
    while rest:
        signs.append(rest[0])
        terms.append(_quantity(rest[1:3]))
        del rest[:3]
    allowed = {(), ("+",), ("-",), ("*",), ("+", "+")}
    product_of_constant = (number is not None) == ("*" in signs) or "*" not in signs
    if tuple(signs) not in allowed or not product_of_constant or ("-" in signs and number is not None):
        refuse("tokens", "must join terms by +, or two by - or *", " ".join(words))
    return Statement(about, signs[0] if signs else "+", number, tuple(terms))


def resolve(question: Question, statements: Sequence[Statement]) -> Solution:
    """Return the value asked for, from the statements alone.

    Raises:
        InvalidInputError: if a quantity is needed and not stated, stated twice, or needs itself.
    """
    says: dict[Quantity, Statement] = {}
    at: dict[str, list[Quantity]] = {}
    for statement in statements:
        if statement.about in says:
            refuse("tokens", "must state each quantity once", " ".join(statement.about))
        says[statement.about] = statement
        at.setdefault(statement.about[1], []).append(statement.about)
    values: dict[Quantity, int] = {}
    chains: dict[Quantity, int] = {}
    reads: dict[Quantity, tuple[Quantity, ...]] = {}
    n_ops = 0

    def work_out(quantity: Quantity) -> None:
        nonlocal n_ops
        if quantity in values:
            return
        if quantity not in says or quantity in reads:
            refuse("tokens", "must state every quantity that is needed, by others", " ".join(quantity))
        said = says[quantity]
        total = said.sign == "all"
        reads[quantity] = terms = tuple(at.get(said.place, [])) if total else said.terms
        if total and len(terms) != said.number:
            refuse("tokens", f"must state {said.number} quantities at {said.place}", len(terms))
        for term in terms:
            work_out(term)
        own = [said.number] if said.number is not None and not total else []
        numbers = own + [values[term] for term in terms]
        n_ops += len(numbers)
        values[quantity] = joined(said.sign, numbers)
        chains[quantity] = 1 + max((chains[term] for term in terms), default=0)

    work_out(question.about)
    return Solution(values[question.about], n_ops, chains[question.about], values, reads)


def joined(sign: str, numbers: Sequence[int]) -> int:
    """Return what numbers come to: the difference or product of two, or the sum."""
    if sign == "-":
        return numbers[0] - numbers[1]
    if sign == "*":
        return numbers[0] * numbers[1]
    return sum(numbers)
