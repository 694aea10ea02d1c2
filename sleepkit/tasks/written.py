"""Own examples and reasoning of the tasks on ``questions``: what they share; a task says how its context is written.

A text is a context, then what is asked about: a word for each question, behind its depth where depths differ.

    3x+5 7x+0 ... ? 4 1 0 10
    3x+5 7x+0 ... ? d=3 4 d=1 1 d=3 0 d=2 10
"""

import abc
import re
from typing import Any

import numpy as np

from sleepkit.tasks.base import Batch
from sleepkit.tasks.own_input import Reasoning, Step, closed_up, refuse_text, settled_depth, split_at_question
from sleepkit.tasks.questions import Asked, ConfigType, QuestionTask, laid_out

_DEPTH = re.compile("d=([0-9]{1,4})")


class WrittenTask(QuestionTask[ConfigType]):
    """Base of the question tasks that can be explored; a task gives what is abstract here.

    Attributes:
        depth_in_text: whether a context settles how deep each question is.
        joins: characters of written contexts around which spaces mean nothing.
    """

    depth_in_text = False
    joins = ""

    @property
    @abc.abstractmethod
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""

    @property
    @abc.abstractmethod
    def askable(self) -> range:
        """Tokens that a question can be about; empty if its depth says all."""

    @abc.abstractmethod
    def write_context(self, context: list[int]) -> list[str]:
        """Write a context [C] down, word by word."""

    @abc.abstractmethod
    def read_context(self, words: list[str]) -> list[int]:
        """Return the context [C] that words describe; refuse whatever is none."""

    @abc.abstractmethod
    def query_coords(self, context: list[int], query: list[int], where: str) -> dict[str, int]:
        """Return the coordinates of a query beside its depth and place; refuse what is never asked, by its place ``where``."""

    @abc.abstractmethod
    def steps(self, context: list[int], query: list[int]) -> list[Step]:
        """Return the way to an answer; what the first step reads is the query."""

    def query_depth(self, context: list[int], query: list[int]) -> int:
        """Return the depth of a query; where it does not say so itself, ``context`` does."""
        del context
        return query[0] - self.query_head(1) + 1

    def query_head(self, depth: int) -> int:
        """Return the token that starts a query."""
        return self.vocab.index(f"d={depth}")

    @property
    def known_depths(self) -> tuple[int, ...]:
        """The depths that can be asked, rising."""
        return tuple(range(1, self.config.sizes.deepest + 1))

    def depth_options(self, depth: int) -> dict[str, Any]:
        """Return the settings under which every question asks one depth."""
        return {"depths": (depth,), "depth_weights": None}

    def write(self, example: Batch) -> str:
        """Return an example (a batch of one) as text: the context, a question mark, the questions unless a depth says all."""
        row, words = example.tokens[0].tolist(), self.vocab
        queries = self._queries(row)
        shows_depth = not self.depth_in_text and len(set(example.coords["depth"][0].tolist())) > 1
        asked = [words[token] for query in queries for token in query[0 if shows_depth else 1 :]]
        return " ".join([*self.write_context(row[: self.context_len]), *(["?", *asked] if asked else [])])

    def read(self, text: str, depth: int | None) -> Batch:
        """Return the example that a context and ``n_queries`` questions make.

        Raises:
            InvalidInputError: for a context that is none, a question about nothing, a wrong number of them, a missing depth.
        """
        before, after = split_at_question(closed_up(text, self.joins))
        context = self.read_context(before)
        queries = self._read_queries(context, after or [], depth)
        coords = [self.query_coords(context, query, _question(number)) for number, query in enumerate(queries)]
        asked = Asked(
            context=np.array([context]),
            queries=np.array([queries]),
            answers=np.array([[self.path(context, query)[-1] for query in queries]]),
            coords={name: np.array([[coord[name] for coord in coords]]) for name in coords[0]},
        )
        return laid_out(asked, np.array([[self.query_depth(context, query) for query in queries]]))

    def reasoning(self, example: Batch) -> Reasoning:
        """Return the way from each question to its answer."""
        row = example.tokens[0].tolist()
        context, ways = row[: self.context_len], []
        for number, query in enumerate(self._queries(row)):
            first, *rest = self.steps(context, query)
            ways.append([first._replace(position=self.context_len + number * len(query)), *rest])
        return Reasoning("chain" if self.depth_in_text else "walk", ways)

    def _read_queries(self, context: list[int], words: list[str], depth: int | None) -> list[list[int]]:
        n_queries, alone = self.config.n_queries, not self.askable
        if alone and not words and depth is not None:
            return [[self.query_head(depth)]] * n_queries
        queries: list[list[int]] = []
        rest = list(words)
        while rest:
            where, named = _question(len(queries)), None
            head = None if self.depth_in_text else _DEPTH.fullmatch(rest[0])
            if head:
                named = int(rest.pop(0)[2:])
                if named not in self.known_depths:
                    refuse_text(f"must have a depth of 1 to {self.known_depths[-1]}", where, head[0])
            about = [] if alone else [self._asked_about(rest.pop(0) if rest else "", where)]
            if alone and not head:
                refuse_text("must be a depth, as d=1", where, rest[0])
            if self.depth_in_text:
                query = [self.query_head(1), *about]
                settled_depth(depth, self.query_depth(context, query), where)
            else:
                query = [self.query_head(settled_depth(depth, named, where)), *about]
            queries.append(query)
        if len(queries) != n_queries:
            refuse_text(f"must be {n_queries}, after a question mark", "the number of questions", str(len(queries)))
        return queries

    def _asked_about(self, word: str, where: str) -> int:
        words = self.vocab[self.askable.start : self.askable.stop]
        if word not in words:
            refuse_text(f"must be about one of {words[0]} to {words[-1]}", where, word)
        return self.askable[words.index(word)]


def expect(n_words: int, words: list[str], what: str) -> None:
    """Refuse a context that does not have so many words.

    Raises:
        InvalidInputError: naming what the words stand for.
    """
    if len(words) != n_words:
        refuse_text(f"must be {n_words}", f"the number of {what}", str(len(words)))


def _question(number: int) -> str:
    return f"question {number + 1}"
