"""The two wordings of GSM: a closed vocabulary of symbols, and English of a closed vocabulary of words.

Quantities are cells: cell = place * n_kinds + kind. A sentence is put together from tuples of tokens made beforehand.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from sleepkit.tasks.gsm_forms import Form, FormName

Rendering = Literal["symbols", "english"]

_KINDS = (
    "anchors apples barrels baskets bells blankets books bottles bowls boxes bricks brooms buckets buttons candles carpets "
    "chairs clocks coins combs cups drums eggs feathers flutes forks hammers hats jars kettles keys ladders lamps lemons "
    "marbles masks nails onions ovens paddles pears pencils plates ropes shells shovels spoons stamps"
)
_PLACES = (
    "abbey attic bakery barn bazaar bridge cabin camp castle cellar chapel cottage dairy depot dock ferry forge garden "
    "garage harbour hall hut inn kiosk kitchen library lighthouse lodge market mill museum office orchard palace pantry "
    "pavilion pier shed shop stable station studio tavern theatre tower villa warehouse workshop"
)
MOST_WORDS = min(len(_KINDS.split()), len(_PLACES.split()))

# A sentence begins with its cell; {n} is a constant or a number of items, {t} a term, {p} the place of a total.
_SYMBOLS: dict[FormName, str] = {
    "leaf": "= {n} .",
    "copy": "= {t} .",
    "plus": "= {n} + {t} .",
    "times": "= {n} * {t} .",
    "sum": "= {t} + {t} .",
    "difference": "= {t} - {t} .",
    "plus_sum": "= {n} + {t} + {t} .",
    "sum3": "= {t} + {t} + {t} .",
    "total": "= all {n} {p} .",
}
_ENGLISH: dict[FormName, str] = {
    "leaf": "is {n} .",
    "copy": "equals {t} .",
    "plus": "is {n} more than {t} .",
    "times": "is {n} times {t} .",
    "sum": "is {t} plus {t} .",
    "difference": "is {t} minus {t} .",
    "plus_sum": "is {n} more than the sum of {t} and {t} .",
    "sum3": "is the sum of {t} , {t} and {t} .",
    "total": "is the total of all {n} goods in the {p} .",
}
_LARGEST_DIGIT = 9
Tokens = tuple[int, ...]


class _Language(NamedTuple):
    """Words of a rendering: sentences by form, a cell at the head of its sentence and as a term, the question, the mark."""

    sentences: dict[FormName, str]
    head: str
    term: str
    question: str
    modulo: str
    mark: str


_LANGUAGES: dict[Rendering, _Language] = {
    "symbols": _Language(_SYMBOLS, "{k} {p}", "{k} {p}", "? {t}", "", "[ANS]"),
    "english": _Language(
        _ENGLISH,
        "The number of {k} in the {p}",
        "the number of {k} in the {p}",
        "Question: what is {t} {m} ?",
        ", modulo",
        "Answer:",
    ),
}


class Wording:
    """Vocabulary of a rendering, and the tokens of sentences.

    Attributes:
        vocab: printable strings by token id: padding, numbers from 0, the words of sentences, kinds, places.
        first_number: token of the number 0.
        mark: token after which the answer stands.
        head: a cell at the head of the sentence about it, by cell.
        term: a cell where it is read, by cell.
        place_of: the place of a cell, by cell.
        question: the question about a cell, by cell.
    """

    def __init__(self, rendering: Rendering, *, n_kinds: int, n_places: int, modulus: int | None) -> None:
        language = _LANGUAGES[rendering]
        question = language.question.replace("{m}", f"{language.modulo} {modulus}" if modulus else "")
        kinds = _KINDS.split()[:n_kinds] if rendering == "english" else [f"k{i}" for i in range(n_kinds)]
        places = _PLACES.split()[:n_places] if rendering == "english" else [f"p{i}" for i in range(n_places)]
        numbers = [str(number) for number in range(1 + max(_LARGEST_DIGIT, modulus or 0))]
        texts = [*language.sentences.values(), language.head, language.term, question, language.mark]
        written = dict.fromkeys(word for text in texts for word in text.split() if word[0] != "{" and word not in numbers)
        self.vocab = ["[PAD]", *numbers, *written, *kinds, *places]
        self._ids = {word: token for token, word in enumerate(self.vocab)}
        self.first_number = self._ids["0"]
        self.mark = self._ids[language.mark]
        cells = [(kind, place) for place in places for kind in kinds]
        self.head, self.term, self.question = (
            [self._tokens(text, {"{k}": kind, "{p}": place}) for kind, place in cells]
            for text in (language.head, language.term, question.replace("{t}", language.term))
        )
        self.place_of = [self._tokens(place, {}) for _, place in cells]
        self._sentences = language.sentences

    def _tokens(self, text: str, slots: dict[str, str]) -> Tokens:
        return tuple(self._ids[slots.get(word, word)] for word in text.split())

    def length(self, form: Form) -> int:
        """Tokens of a sentence of a form."""
        opening, joins = self.parts(form)
        inner = len(self.place_of[0]) if form.name == "total" else form.n_terms * len(self.term[0])
        return len(self.head[0]) + len(opening[0]) + inner + sum(map(len, joins))

    def parts(self, form: Form) -> tuple[list[Tokens], list[Tokens]]:
        """Return what stands before the first term, by constant 0 .. 9, and what stands after each term."""
        before, *after = self._sentences[form.name].replace("{p}", "{t}").split("{t}")
        shown = range(1 + _LARGEST_DIGIT) if form.constant else [form.n_terms]
        return [self._tokens(before, {"{n}": str(number)}) for number in shown], [self._tokens(text, {}) for text in after]


class Writer:
    """Writes facts as tokens: little-endian int16 in bytes, which are put together faster than lists."""

    def __init__(self, wording: Wording, forms: Sequence[Form]) -> None:
        """Make the parts of sentences; a form is named by its number in ``forms``."""
        self._head = [encoded(tokens) for tokens in wording.head]
        self._openings, self._terms = [], []
        for form in forms:
            opening, joins = wording.parts(form)
            self._openings.append([encoded(tokens) for tokens in opening])
            read = wording.place_of if form.name == "total" else wording.term
            self._terms.append([[encoded(tokens + join) for tokens in read] for join in joins])

    def __call__(self, facts: Iterable[tuple[int, int, int, Sequence[int]]], cells: Sequence[int]) -> bytes:
        """Return the sentences of facts (quantity stated, form, constant, quantities read), given the cell of every quantity."""
        head, openings, tables = self._head, self._openings, self._terms
        parts: list[bytes] = []
        for about, form, constant, terms in facts:
            parts += head[cells[about]], openings[form][constant]
            for term, written in zip(terms, tables[form], strict=False):  # the first item of a total tells its place
                parts.append(written[cells[term]])
        return b"".join(parts)


def encoded(tokens: Tokens) -> bytes:
    """Return tokens as little-endian int16."""
    return np.array(tokens, dtype="<i2").tobytes()


@functools.lru_cache(maxsize=32)
def wording(rendering: Rendering, n_kinds: int, n_places: int, modulus: int | None) -> Wording:
    """Return the wording of a rendering for a pool of kinds and places."""
    return Wording(rendering, n_kinds=n_kinds, n_places=n_places, modulus=modulus)


@functools.lru_cache(maxsize=8)
def writer(words: Wording, forms: tuple[Form, ...]) -> Writer:
    """Return the writer of a wording, its tables made once."""
    return Writer(words, forms)
