"""Settings of the GSM task: laws, sizes, and what follows from them."""

import functools
from typing import Literal

import numpy as np

from sleepkit.errors import refuse, require
from sleepkit.settings import Settings, settings
from sleepkit.tasks.gsm_forms import FEWEST_ITEMS, Form, FormName, Reach, spelled_out
from sleepkit.tasks.gsm_words import MOST_WORDS, Rendering, Wording, wording

_MOST_OPS = 32
_FEWEST_FACTS = 12


@settings
class GsmConfig(Settings):
    """Settings of the GSM task.

    Attributes:
        rendering: "symbols" (`k3 p1 = 2 * k0 p5 .`) or "english" (sentences of a closed vocabulary).
        n_ops: most operations a question can take, 1 to 32.
        train_ops: the operation counts that training asks, rising; all of 1 .. n_ops if None.
        ops_weights: how often training asks each of them, any positive sum; uniform if None.
        test_ops: the operation counts that evaluation asks, equally often, rising; all of 1 .. n_ops if None.
        forms: the forms a fact can take; "leaf" must be one.
        form_weights: how often each is drawn where it is possible, positive; equally often if None.
        sharing: how often a term of a needed fact is a quantity that another one reads too, where there is one, 0 to 1.
        max_constant: constants are drawn from 1 .. max_constant, at most 9.
        max_items: items of a total, 2 to max_items, at most 9.
        max_value: every quantity lies in 1 .. max_value, 10 to 9999.
        modulus: None asks the value, in digits; a number m of 2 to 100 asks the value mod m, one token (23 as in iGSM). It
            does not lower the best constant answer, since small values stay as they are; larger constants do.
        question: "first" (as in the paper: it is read and evicted with the facts) or "last" (in the window of the answer).
        context_len: tokens before the window of the answer; facts that are not needed fill it.
        window_len: L, tokens of a window; it must hold the block from the question (if last) to the answer.
        n_kinds: kinds of things, a quantity is a kind at a place; at most 48.
        n_places: places, at most 48.
        n_totals: places of an example that can be totalled; no other quantity stands there.
        seed: root of the random streams, in [0, 2^63).
    """

    rendering: Rendering = "symbols"
    n_ops: int = 8
    train_ops: tuple[int, ...] | None = None
    ops_weights: tuple[float, ...] | None = None
    test_ops: tuple[int, ...] | None = None
    forms: tuple[FormName, ...] = ("leaf", "copy", "plus", "times", "sum", "difference", "plus_sum", "sum3", "total")
    form_weights: tuple[float, ...] | None = None
    sharing: float = 0.25
    max_constant: int = 4
    max_items: int = 4
    max_value: int = 1000
    modulus: int | None = None
    question: Literal["first", "last"] = "first"
    context_len: int = 512
    window_len: int = 128
    n_kinds: int = 12
    n_places: int = 16
    n_totals: int = 4
    seed: int = 0

    def check(self) -> None:
        """Refuse impossible tasks."""
        for name, least, most in (
            ("n_ops", 1, _MOST_OPS),
            ("max_constant", 1, 9),
            ("max_items", FEWEST_ITEMS, 9),
            ("max_value", 10, 9999),
            ("n_kinds", 2, MOST_WORDS),
            ("n_places", 2, MOST_WORDS),
        ):
            value = getattr(self, name)
            require(least <= value <= most, name, f"must be between {least} and {most}", value)
        require(self.modulus is None or 2 <= self.modulus <= 100, "modulus", "must be None or between 2 and 100", self.modulus)
        require(0 <= self.sharing <= 1, "sharing", "must be between 0 and 1", self.sharing)
        require(0 <= self.seed < 2**63, "seed", "must be in [0, 2^63)", self.seed)
        for name in ("train_ops", "test_ops"):
            self._check_ops(name, getattr(self, name))
        self._check_weights()
        self._check_reach()
        self._check_room()
        self._check_pool()
        block = self.block_len
        require(self.window_len >= block, "window_len", f"must hold the label block of {block} tokens", self.window_len)

    def _check_ops(self, name: str, ops: tuple[int, ...] | None) -> None:
        if ops is None:
            return
        require(len(ops) > 0, name, "must name at least one operation count", ops)
        require(list(ops) == sorted(set(ops)), name, "must be distinct operation counts in rising order", ops)
        require(1 <= ops[0] <= ops[-1] <= self.n_ops, name, f"must lie in 1..n_ops={self.n_ops}", ops)

    def _check_weights(self) -> None:
        weights, n_counts = self.ops_weights, len(self.asked_in_training)
        if weights is not None:
            require(len(weights) == n_counts, "ops_weights", f"must have one weight for each of {n_counts} counts", weights)
            require(min(weights) >= 0 and sum(weights) > 0, "ops_weights", "must be >= 0 with a positive sum", weights)
        require("leaf" in self.forms, "forms", "must hold 'leaf', which ends every problem", self.forms)
        require(len(set(self.forms)) == len(self.forms), "forms", "must be distinct", self.forms)
        shares = self.form_weights
        if shares is not None:
            require(len(shares) == len(self.forms), "form_weights", f"must have one weight for each of {self.forms}", shares)
            require(min(shares) > 0, "form_weights", "must be positive: leave a form out of forms instead", shares)

    def _check_reach(self) -> None:
        longest = self.longest_core
        reached = [n_ops for n_ops, length in enumerate(longest) if n_ops and length is not None]
        for name, asked in (("train_ops", self.asked_in_training), ("test_ops", self.grid)):
            out = [n_ops for n_ops in asked if longest[n_ops] is None]
            if out:
                refuse(name, f"must be among the operation counts that forms={self.forms} reach, {reached}", out)

    def _check_room(self) -> None:
        question = self.question_len if self.question == "first" else 0
        longest = max(length or 0 for length in self.longest_core)
        rule = f"must hold {longest} tokens of needed facts and {question} of the question, {longest + question} in all"
        require(self.facts_len >= longest, "context_len", rule, self.context_len)
        wide = max(map(self.wording.length, self.spelled_forms))
        least = question + _FEWEST_FACTS * wide
        rule = f"must hold {_FEWEST_FACTS} facts of up to {wide} tokens, {least} in all, so that no two splits meet by chance"
        require(self.context_len >= least, "context_len", rule, self.context_len)

    def _check_pool(self) -> None:
        totals = "total" in self.forms
        need = (
            (self.n_ops - 1) // 3 if totals else 0
        )  # a total of two leaves is the cheapest, and another can stand in for a leaf
        rule = f"must be between {need}, what n_ops={self.n_ops} can need, and {self.n_places - 1}, below n_places"
        require(need <= self.n_totals < self.n_places, "n_totals", rule, self.n_totals)
        fits = not totals or self.max_items <= self.n_kinds
        require(fits, "max_items", f"must be at most n_kinds={self.n_kinds}", self.max_items)
        n_cells, most = self.n_kinds * (self.n_places - self.n_totals), self.most_facts
        rule = f"must give a quantity to each of up to {most} facts of context_len={self.context_len}"
        require(n_cells >= most, "n_kinds", f"{rule}, and n_kinds * (n_places - n_totals) is {n_cells}", self.n_kinds)

    @property
    def wording(self) -> Wording:
        """Vocabulary and sentences."""
        return wording(self.rendering, self.n_kinds, self.n_places, self.modulus)

    @property
    def spelled(self) -> tuple[tuple[Form, ...], tuple[float, ...]]:
        """The forms and their weights, a total once for each number of items."""
        return spelled_out(self.forms, self.form_weights or (1.0,) * len(self.forms), self.max_items)

    @property
    def spelled_forms(self) -> tuple[Form, ...]:
        """The forms, a total once for each number of items."""
        return self.spelled[0]

    @property
    def longest_core(self) -> list[int | None]:
        """[n_ops + 1] most tokens of the needed facts by operation count; None where it is out of reach."""
        return list(_longest(self.spelled_forms, self.n_ops, self.sharing > 0, self.wording))

    @property
    def question_len(self) -> int:
        """Tokens of the question."""
        return len(self.wording.question[0])

    @property
    def answer_len(self) -> int:
        """Tokens of an answer: its digits, most significant first, or one."""
        return len(str(self.max_value)) if self.modulus is None else 1

    @property
    def facts_len(self) -> int:
        """Tokens of context that facts can fill."""
        return self.context_len - (self.question_len if self.question == "first" else 0)

    @property
    def block_len(self) -> int:
        """Tokens of the window of the answer: the question if it comes last, the mark, the answer but for its last token."""
        return (self.question_len if self.question == "last" else 0) + self.answer_len

    @property
    def mark_at(self) -> int:
        """Position of the mark before the answer."""
        return self.context_len + self.block_len - self.answer_len

    @property
    def most_facts(self) -> int:
        """Most facts of an example."""
        return self.facts_len // min(map(self.wording.length, self.spelled_forms))

    @property
    def n_answers(self) -> int:
        """Answers there are to guess from."""
        return self.max_value if self.modulus is None else self.modulus

    @property
    def asked_in_training(self) -> tuple[int, ...]:
        """The operation counts training can ask, rising, those of weight 0 included."""
        return tuple(range(1, self.n_ops + 1)) if self.train_ops is None else self.train_ops

    @property
    def grid(self) -> tuple[int, ...]:
        """The operation counts evaluation asks, rising."""
        return tuple(range(1, self.n_ops + 1)) if self.test_ops is None else self.test_ops

    @property
    def ops_law(self) -> np.ndarray:
        """[n_ops + 1] weight of each operation count in training."""
        law = np.zeros(self.n_ops + 1)
        law[list(self.asked_in_training)] = 1.0 if self.ops_weights is None else self.ops_weights
        return law


@functools.lru_cache(maxsize=32)
def _longest(forms: tuple[Form, ...], n_ops: int, sharing: bool, words: Wording) -> tuple[int | None, ...]:
    return tuple(Reach(forms, n_ops).longest(words.length, sharing=sharing))
