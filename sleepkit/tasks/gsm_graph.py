"""Problems of GSM, built from the question down so that the operation count is exact, then hidden among facts nobody needs.

    budget = n_ops; open = {query}
    while open: take one out; draw its form among those from which the rest of the budget can still complete every open
                quantity; its terms are new quantities, or now and then open ones; budget -= cost

then constants are drawn and values computed from the leaves up, again until all lie in 1 .. max_value. Facts that are not
needed read any quantity stated so far, needed or not; no needed fact reads them. Names come from one pool.

A cell is place * n_kinds + kind. ``take`` gives random 32-bit words; a number below n is floor(word n / 2^32).
"""

import functools
import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sleepkit.errors import refuse
from sleepkit.seeds import stream
from sleepkit.tasks.gsm_config import GsmConfig
from sleepkit.tasks.gsm_forms import Reach

_WORDS = 8192
_CONSTANTS_TRIES = 4
_PROBES = 2000
_SUM, _PRODUCT, _DIFFERENCE = range(3)
Take = Callable[[], int]
Law = tuple[list[int], list[float]]


class Core(NamedTuple):
    """What a question needs.

    Attributes:
        steps: one for each quantity, every one before those it reads: number of the quantity (0 is asked), of its form, and
            the quantities it reads.
        constants: constant by quantity, 0 if it has none.
        values: value by quantity.
        chain: quantities on the longest path from the question down to a leaf.
    """

    steps: list[tuple[int, int, list[int]]]
    constants: list[int]
    values: list[int]
    chain: int


class Fact(NamedTuple):
    """One statement.

    Attributes:
        about: the quantity stated.
        form: number of its form in the list of forms.
        constant: its constant, 0 if it has none.
        terms: quantities it reads, in the order of the sentence; the items of a total.
    """

    about: int
    form: int
    constant: int
    terms: list[int]


class Problem(NamedTuple):
    """One problem. Quantity 0 is asked about.

    Attributes:
        facts: every fact, shuffled.
        cells: cell by quantity.
        answer: value of quantity 0.
        n_needed: facts the answer needs.
        chain: longest chain of needed facts.
    """

    facts: list[Fact]
    cells: list[int]
    answer: int
    n_needed: int
    chain: int


def words_of(source: np.random.Philox) -> Take:
    """Return a function that gives the stream's words in halves of 32 bits, one after another."""

    def chunks() -> Iterator[list[int]]:
        while True:
            yield source.random_raw(_WORDS).astype("<u8").view("<u4").tolist()

    return itertools.chain.from_iterable(chunks()).__next__


class Drawer:
    """Draws problems of one configuration."""

    def __init__(self, config: GsmConfig) -> None:
        self.config = config
        self._max_value, self._max_constant = config.max_value, config.max_constant
        self.forms, self._weights = config.spelled
        self._reach = Reach(self.forms, config.n_ops)
        self._cells = list(range(config.n_kinds * (config.n_places - config.n_totals)))  # places not yet drawn
        rules = {"times": _PRODUCT, "difference": _DIFFERENCE}
        self._specs = [(form.n_terms, form.constant, rules.get(form.name, _SUM)) for form in self.forms]
        self._core_laws: dict[tuple[int, int], Law] = {}
        self._lengths = [config.wording.length(form) for form in self.forms]
        self._leaf_len = leaf = self._lengths[[form.name for form in self.forms].index("leaf")]
        self._n_items = [form.n_terms if form.name == "total" else 0 for form in self.forms]
        # Room a form needs: a total is of no use without its items, each a leaf at least.
        self._needs = [length + n_items * leaf for length, n_items in zip(self._lengths, self._n_items, strict=True)]
        plain = [number for number, n_items in enumerate(self._n_items) if not n_items]
        self._plain_laws = [self._fitting(plain, room) for room in range(max(self._needs) + 1)]
        self._laws = [self._fitting(range(len(self.forms)), room) for room in range(max(self._needs) + 1)]

    def _fitting(self, numbers: Sequence[int], room: int) -> Law:
        return self._law([number for number in numbers if self._needs[number] <= room])

    def _law(self, numbers: list[int]) -> Law:
        edges = list(itertools.accumulate(self._weights[number] for number in numbers))
        return numbers, [edge / edges[-1] * 2**32 for edge in edges]

    def core(self, n_ops: int, take: Take) -> Core:
        """Draw what a question of ``n_ops`` operations needs."""
        while True:
            found = self._valued(self._structure(n_ops, take), take)
            if found is not None:
                return found

    def check_reach(self, counts: Sequence[int]) -> None:
        """Refuse operation counts for which hardly any choice of constants keeps every value in range.

        Raises:
            InvalidInputError: if none of 2,000 drawn structures of a count can be given values.
        """
        config = self.config
        for n_ops in counts:
            take = words_of(stream(0, "gsm reach", n_ops))
            tries = (self._valued(self._structure(n_ops, take), take) for _ in range(_PROBES))
            if all(found is None for found in tries):
                rule = f"must be within reach of values in 1..{config.max_value} with constants in 1..{config.max_constant}"
                refuse("n_ops", f"{rule} and forms={config.forms}", n_ops)

    def _structure(self, n_ops: int, take: Take) -> list[tuple[int, int, list[int]]]:
        opened, n, budget = [0], 1, n_ops
        steps = []
        share = self.config.sharing * 2**32
        while opened:
            asked = opened.pop(take() * len(opened) >> 32)
            numbers, edges = self._core_law(budget, len(opened))
            number = numbers[bisect_right(edges, take())]
            form = self.forms[number]
            terms: list[int] = []
            if share and form.name != "total":
                for _ in range(min(form.n_terms, len(opened))):
                    if take() < share:
                        term = opened[take() * len(opened) >> 32]
                        fits = self._reach.leads_on(form, budget, len(opened), len(terms) + 1)
                        terms += [term] if fits and term not in terms else []
            new = list(range(n, n + form.n_terms - len(terms)))
            steps.append((asked, number, terms + new))
            opened += new
            n += len(new)
            budget -= form.cost
        return steps

    def _core_law(self, budget: int, n_others: int) -> Law:
        law = self._core_laws.get((budget, n_others))
        if law is None:
            possible = [i for i, form in enumerate(self.forms) if self._reach.leads_on(form, budget, n_others)]
            law = self._core_laws[budget, n_others] = self._law(possible)
        return law

    def _valued(self, steps: list[tuple[int, int, list[int]]], take: Take) -> Core | None:
        """Draw constants until all values are in range, a few times."""
        most, specs = self._max_value, self._specs
        constants, values, depth = [0] * len(steps), [0] * len(steps), [0] * len(steps)
        for _ in range(_CONSTANTS_TRIES):
            for asked, number, terms in reversed(steps):
                value, constants[asked] = self._value(specs[number], terms, values, take)
                if not 1 <= value <= most:
                    break
                values[asked] = value
                depth[asked] = 1 + max([depth[term] for term in terms], default=0)
            else:
                return Core(steps, constants, values, depth[0])
        return None

    def _value(self, spec: tuple[int, bool, int], terms: list[int], values: list[int], take: Take) -> tuple[int, int]:
        """Value and constant of a fact; the terms of a difference are put in order, larger first."""
        _, has_constant, rule = spec
        constant = 1 + (take() * self._max_constant >> 32) if has_constant else 0
        if rule == _PRODUCT:
            return constant * values[terms[0]], constant
        if rule == _DIFFERENCE:
            if values[terms[0]] < values[terms[1]]:
                terms.reverse()
            return values[terms[0]] - values[terms[1]], 0
        value = constant
        for term in terms:
            value += values[term]
        return value, constant

    def problem(self, n_ops: int, take: Take) -> Problem:
        """Draw a problem of ``n_ops`` operations."""
        core = self.core(n_ops, take)
        facts = [Fact(about, number, core.constants[about], terms) for about, number, terms in core.steps]
        totals = [fact.terms for fact in facts if self._n_items[fact.form]]
        values = core.values.copy()
        self._fill(facts, totals, values, take)
        cells = self._named(len(values), totals, take)
        for last in range(len(facts) - 1, 0, -1):
            other = take() * (last + 1) >> 32
            facts[last], facts[other] = facts[other], facts[last]
        return Problem(facts, cells, values[0], len(core.steps), core.chain)

    def _fill(self, facts: list[Fact], totals: list[list[int]], values: list[int], take: Take) -> None:
        """Add facts that are not needed until no other fits."""
        lengths, n_totals = self._lengths, self.config.n_totals
        room = self.config.facts_len - sum([lengths[fact.form] for fact in facts])
        laws, cap = self._laws, len(self._laws) - 1
        while room >= self._leaf_len:
            numbers, edges = laws[min(room, cap)]
            number = numbers[bisect_right(edges, take())]
            n_items = self._n_items[number]
            if not n_items:
                room -= self._add(number, facts, values, take)
            elif len(totals) < n_totals:
                room -= lengths[number] + self._add_items(n_items, room - lengths[number], facts, values, take)
                totals.append(list(range(len(values) - n_items, len(values))))
                value = sum(values[-n_items:])
                if value <= self._max_value:
                    facts.append(Fact(len(values), number, 0, totals[-1]))
                    values.append(value)
                else:  # the items stay, without a total
                    room += lengths[number]

    def _add_items(self, n_items: int, room: int, facts: list[Fact], values: list[int], take: Take) -> int:
        """State the quantities of one place in at most ``room`` tokens; return their length."""
        used, laws = 0, self._plain_laws
        for n_later in range(n_items - 1, -1, -1):
            numbers, edges = laws[min(room - used - n_later * self._leaf_len, len(laws) - 1)]
            length = 0
            while not length:
                length = self._add(numbers[bisect_right(edges, take())], facts, values, take)
            used += length
        return used

    def _add(self, number: int, facts: list[Fact], values: list[int], take: Take) -> int:
        """State a quantity that reads any others; return the length, 0 if there is no such fact or its value is out of range."""
        spec, n_known = self._specs[number], len(values)
        n_terms = spec[0]
        if n_terms > n_known:
            return 0
        terms: list[int] = []
        while n_terms > len(terms):
            term = take() * n_known >> 32
            if term not in terms:
                terms.append(term)
        value, constant = self._value(spec, terms, values, take)
        if not 1 <= value <= self._max_value:
            return 0
        facts.append(Fact(n_known, number, constant, terms))
        values.append(value)
        return self._lengths[number]

    def _named(self, n: int, totals: list[list[int]], take: Take) -> list[int]:
        """Give every quantity a cell: the items of a total one place that no other quantity has."""
        config = self.config
        n_kinds, n_totals, places = config.n_kinds, config.n_totals, list(range(config.n_places))
        for first in range(n_totals):
            other = first + (take() * (config.n_places - first) >> 32)
            places[first], places[other] = places[other], places[first]
        cells = [-1] * n
        for place, items in zip(places, totals, strict=False):  # fewer totals than places kept for them
            kinds = list(range(n_kinds))
            for item in items:
                cells[item] = place * n_kinds + kinds.pop(take() * len(kinds) >> 32)
        left = self._cells.copy()
        for quantity, cell in enumerate(cells):
            if cell < 0:
                chosen = take() * len(left) >> 32
                cell, left[chosen] = left[chosen], left[-1]
                left.pop()
                cells[quantity] = places[n_totals + cell // n_kinds] * n_kinds + cell % n_kinds
        return cells


@functools.lru_cache(maxsize=8)
def drawer(config: GsmConfig) -> Drawer:
    """Return the drawer of a configuration, its tables made once."""
    return Drawer(config)
