"""GSM from a person's own facts, and the chain of facts behind the answer.

    k1 p0 = 3 + k0 p1 .        facts in any order, in the words of the rendering (here: symbols)
    k0 p1 = 2 .
    ? k1 p0                    the question, before or behind them

Facts that a drawn example could not hold are refused: operations, forms, constants and values out of the ranges of the settings.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sleepkit.tasks.base import PAD
from sleepkit.tasks.gsm_config import GsmConfig
from sleepkit.tasks.gsm_forms import FEWEST_ITEMS, FormName
from sleepkit.tasks.gsm_oracle import Quantity, Statement, joined, read, resolve
from sleepkit.tasks.gsm_text import prose
from sleepkit.tasks.gsm_words import Tokens, writer
from sleepkit.tasks.own_input import Step, about_the_text, circle, refuse_text, settled_depth

_PUNCTUATION = re.compile(r"([.,?=+*-])")
_ASKING = ("?", "Question:")
_FORMS: dict[tuple[str, int, bool], FormName] = {
    ("+", 0, True): "leaf",
    ("+", 1, False): "copy",
    ("+", 1, True): "plus",
    ("*", 1, True): "times",
    ("+", 2, False): "sum",
    ("-", 2, False): "difference",
    ("+", 2, True): "plus_sum",
    ("+", 3, False): "sum3",
    ("all", 0, True): "total",
}


class Own(NamedTuple):
    """What a text says.

    Attributes:
        facts: tokens of all facts.
        question: tokens of the question.
        value: the quantity asked about.
        coords: [1, 4] depth, chain, needed and all facts.
    """

    facts: Tokens
    question: Tokens
    value: int
    coords: np.ndarray


def help_text(config: GsmConfig) -> str:
    """Return the rule in one sentence, with an example."""
    names = [form.name for form in config.spelled_forms]
    facts: list[tuple[int, int, int, list[int]]] = [(0, names.index("leaf"), 1, [])]
    if "plus" in names and config.n_ops >= 3 and config.longest_core[3] is not None:
        facts.insert(0, (1, names.index("plus"), 1, [0]))
    cells = [0, config.n_kinds + 1]  # different kinds at different places
    said = np.frombuffer(writer(config.wording, config.spelled_forms)(facts, cells), dtype="<i2").tolist()
    asked = config.wording.question[cells[facts[0][0]]]
    example = prose([config.wording.vocab[token] for token in (*said, *asked)])
    return f"Write facts about quantities, each by numbers of 1 to {config.max_constant} or others, then what is asked: {example}"


def written(config: GsmConfig, words: Sequence[str]) -> str:
    """Return a printed example (padding left out) as text: a fact a line, the question last."""
    sentences = [sentence for _, sentence in _sentences(_before_mark(config, words))]
    facts = [sentence for sentence in sentences if sentence[0] not in _ASKING]
    asked = next(sentence for sentence in sentences if sentence[0] in _ASKING)
    put = prose if config.rendering == "english" else " ".join
    return "\n".join(put(sentence) for sentence in [*facts, asked])


def read_problem(config: GsmConfig, text: str, depth: int | None) -> Own:
    """Return what a text says.

    Raises:
        InvalidInputError: for an unknown word, a sentence that is none, facts that are missing, circular or out of range.
    """
    words = _PUNCTUATION.sub(r" \1 ", text).split()
    _check_words(config, words)
    number_of = {word: token for token, word in enumerate(config.wording.vocab)}
    with about_the_text():
        question, statements = read([*words, config.wording.vocab[config.wording.mark]])
    facts = tuple(number_of[word] for _, sentence in _sentences(words) if sentence[0] not in _ASKING for word in sentence)
    if len(facts) > config.facts_len:
        refuse_text(f"must take at most {config.facts_len} tokens", "the facts", str(len(facts)))
    cell_of = _cells(config)
    _check_sentences(config, statements, cell_of)
    chains = _worked_out(config, statements)
    if question.about not in chains:
        refuse_text("must be about a quantity that a fact states", "the question", " ".join(question.about))
    if config.rendering == "english" and question.modulus != config.modulus:
        rule = "must ask no modulus" if config.modulus is None else f"must ask modulo {config.modulus}"
        refuse_text(rule, "the question", f"modulo {question.modulus}")
    if chains[question.about] > config.n_ops:  # a fact is an operation at least
        refuse_text(f"must take at most {config.n_ops} operations", "the question", f"a chain of {chains[question.about]} facts")
    solution = resolve(question, statements)
    if solution.n_ops > config.n_ops or config.longest_core[solution.n_ops] is None:
        refuse_text(f"must take at most {config.n_ops} operations, and as drawn", "the question", f"{solution.n_ops} operations")
    settled_depth(depth, solution.n_ops, "the question")
    coords = np.array([[solution.n_ops, solution.chain, len(solution.values), len(statements)]])
    return Own(facts, config.wording.question[cell_of[question.about]], solution.value, coords)


def way(config: GsmConfig, words: Sequence[str], segment: Sequence[int]) -> list[Step]:
    """Return the question, then each needed fact with its value.

    Args:
        config: settings of the task.
        words: a printed example, padding left out.
        segment: [T] segments of the example, padding included.
    """
    said_at = [position for position, kind in enumerate(segment) if kind != PAD]
    question, statements = read(words)
    solution = resolve(question, statements)
    sentences = _sentences(_before_mark(config, words))
    asked_at = next(at for at, sentence in sentences if sentence[0] in _ASKING)
    fact_at = [at for at, sentence in sentences if sentence[0] not in _ASKING]
    says = {said.about: (said, said_at[at]) for said, at in zip(statements, fact_at, strict=True)}
    steps = [Step(f"? {' '.join(question.about)}", said_at[asked_at])]
    for quantity, value in solution.values.items():
        said, position = says[quantity]
        own = [str(said.number)] if said.number is not None and said.sign != "all" else []
        terms = [" ".join(term) for term in solution.reads[quantity]]
        sign = "+" if said.sign == "all" else said.sign
        equation = f" {sign} ".join([*own, *terms])
        steps.append(Step(f"{' '.join(quantity)} = {equation}" + (f" = {value}" if terms else ""), position))
    if config.modulus is not None:
        last = steps[-1]
        steps[-1] = last._replace(text=f"{last.text}, mod {config.modulus} = {solution.value % config.modulus}")
    return steps


def _before_mark(config: GsmConfig, words: Sequence[str]) -> list[str]:
    return list(words[: words.index(config.wording.vocab[config.wording.mark])])


def _sentences(words: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Cut words that the oracle has read into sentences, each with the place of its first word."""
    at, found = 0, []
    while at < len(words):
        end = at + 3 if words[at] == "?" else words.index("?" if words[at] in _ASKING else ".", at) + 1
        found.append((at, list(words[at:end])))
        at = end
    return found


def _check_words(config: GsmConfig, words: Sequence[str]) -> None:
    vocab, n_cells = config.wording.vocab, config.n_kinds + config.n_places
    kinds, places = vocab[-n_cells : -config.n_places], vocab[-config.n_places :]
    unsaid = {vocab[0], vocab[config.wording.mark]}
    others = " ".join(word for word in vocab[:-n_cells] if not word.isdigit() and word not in unsaid)
    numbers = max(int(word) for word in vocab[:-n_cells] if word.isdigit())
    for number, word in enumerate(words, start=1):
        if word in unsaid or word not in vocab:
            rule = f"must be a number up to {numbers}, a kind ({kinds[0]} to {kinds[-1]}), a place ({places[0]} to {places[-1]})"
            refuse_text(f"{rule} or one of {others}", f"word {number}", word)


def _cells(config: GsmConfig) -> dict[Quantity, int]:
    """Return the cell of every quantity by its kind and place."""
    vocab = config.wording.vocab
    kinds, places = vocab[-config.n_places - config.n_kinds : -config.n_places], vocab[-config.n_places :]
    return {(kind, place): cell for cell, (place, kind) in enumerate((place, kind) for place in places for kind in kinds)}


def _check_sentences(config: GsmConfig, statements: Sequence[Statement], cells: dict[Quantity, int]) -> None:
    """Refuse facts that no drawn example holds, each taken alone."""
    stated: set[Quantity] = set()
    for number, said in enumerate(statements, start=1):
        where, name = f"fact {number}", " ".join(said.about)
        form = _FORMS.get((said.sign, len(said.terms), said.number is not None))
        if form is None or form not in config.forms:
            refuse_text(f"must have one of the forms {', '.join(config.forms)}", where, name)
        strange = [term for term in (said.about, *said.terms) if term not in cells]
        if strange:
            refuse_text("must name quantities by kind and place", where, " ".join(strange[0]))
        least, most = (FEWEST_ITEMS, config.max_items) if form == "total" else (1, config.max_constant)
        if said.number is not None and not least <= said.number <= most:
            refuse_text(f"must have a number of {least} to {most}", where, f"{name}, {said.number}")
        if len(set(said.terms)) < len(said.terms):
            refuse_text("must read different quantities", where, name)
        if said.about in stated:
            refuse_text("must state a quantity that no other states", where, name)
        stated.add(said.about)


def _worked_out(config: GsmConfig, statements: Sequence[Statement]) -> dict[Quantity, int]:
    """Return the longest chain of facts below every quantity, once each has its value.

    Raises:
        InvalidInputError: if facts read what is not stated, or each other in a circle, or have values out of range.
    """
    reads = {said.about: _read_by(said, number, statements) for number, said in enumerate(statements, start=1)}
    values: dict[Quantity, int] = {}
    chains: dict[Quantity, int] = {}
    left = list(enumerate(statements, start=1))
    while left:
        waiting = []
        for number, said in left:
            terms = reads[said.about]
            if not all(term in values for term in terms):
                waiting.append((number, said))
                continue
            own = [said.number] if said.number is not None and said.sign != "all" else []
            value = joined(said.sign, [*own, *(values[term] for term in terms)])
            if not 1 <= value <= config.max_value:
                refuse_text(
                    f"must have a value of 1 to {config.max_value}", f"fact {number}", f"{' '.join(said.about)} = {value}"
                )
            values[said.about] = value
            chains[said.about] = 1 + max((chains[term] for term in terms), default=0)
        if len(waiting) == len(left):
            named = {" ".join(said.about): [" ".join(term) for term in reads[said.about]] for _, said in waiting}
            refuse_text("must not read each other in a circle", "facts", circle(named, next(iter(named))))
        left = waiting
    return chains


def _read_by(said: Statement, number: int, statements: Sequence[Statement]) -> tuple[Quantity, ...]:
    """Return the quantities that a fact reads; those that stand at its place, if it is a total."""
    if said.sign == "all":
        items = tuple(other.about for other in statements if other.about[1] == said.place)
        if len(items) != said.number:
            refuse_text(f"must total all quantities at {said.place}, {len(items)}", f"fact {number}", str(said.number))
        return items
    stated = {other.about for other in statements}
    missing = [term for term in said.terms if term not in stated]
    if missing:
        refuse_text("must read quantities that facts state", f"fact {number}", " ".join(missing[0]))
    return said.terms
