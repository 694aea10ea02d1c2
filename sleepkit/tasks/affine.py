"""Affine chains mod p: a control that should not need depth.

Maps x -> a x + b mod p (a not 0) are read and evicted, two tokens each; then it is asked where the first d of them take some x.

    a b a b ... a b | d=3 x   d=1 x ...        targets: the value, at x

The depth of a question is the length d of its prefix. The maps form a solvable group, whose products lie in ACC0 (Barrington
and Therien 1988), within TC0: a number of layers that does not grow with d is enough. Compare ``permutations`` with the group S5,
asked in the same form: its products are complete for NC1 (Barrington 1989), and no fixed number is enough unless TC0 = NC1.
At p = 5 the maps are the group F20 of that task, written in another way.
"""

import re

import numpy as np

from sleepkit.errors import require
from sleepkit.settings import settings
from sleepkit.tasks.base import Floor
from sleepkit.tasks.drawing import Words, below
from sleepkit.tasks.own_input import Step, refuse_text
from sleepkit.tasks.questions import Asked, QuestionConfig, Sizes, at_depth, depth_words, independent_floor
from sleepkit.tasks.written import WrittenTask, expect

_MAP = re.compile(r"([0-9]{1,3})x\+([0-9]{1,3})")


@settings
class AffineConfig(QuestionConfig):
    """Settings of the affine task, besides those of every question task.

    Attributes:
        modulus: p, a prime, 3 to 251.
        n_maps: maps in the context, and the largest depth, 1 to 1024.
    """

    modulus: int = 11
    n_maps: int = 8

    @property
    def sizes(self) -> Sizes:
        """Two tokens a map; a query is a depth and a value."""
        n_contexts = (self.modulus * (self.modulus - 1)) ** self.n_maps
        return Sizes(deepest=self.n_maps, context_len=2 * self.n_maps, query_len=2, n_contexts=n_contexts)

    def check(self) -> None:
        """Refuse impossible tasks."""
        prime = 3 <= self.modulus <= 251 and all(self.modulus % factor for factor in range(2, self.modulus))
        require(prime, "modulus", "must be a prime between 3 and 251, so that every factor but 0 has an inverse", self.modulus)
        require(1 <= self.n_maps <= 1024, "n_maps", "must be between 1 and 1024", self.n_maps)
        super().check()


class Affine(WrittenTask[AffineConfig]):
    """Affine chains mod p: where the first d maps take a value, a control that should not need depth."""

    name = "affine"
    joins = "x+"

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: the values mod p, then the depths."""
        return [*map(str, range(self.config.modulus)), *depth_words(self.config)]

    def contents(self, source: Words, n: int) -> np.ndarray:
        """Draw a from 1 .. p - 1 and b from 0 .. p - 1 for each map: [n, 2 n_maps], as they are written."""
        p = self.config.modulus
        factors, shifts = (below(source, (n, self.config.n_maps), limit) for limit in (p - 1, p))
        return np.stack([1 + factors, shifts], axis=-1).reshape(n, -1)

    def ask(self, contents: np.ndarray, depth: np.ndarray, source: Words) -> Asked:
        """Compose the maps one after the other, and apply each question's prefix to a random value."""
        p, maps = self.config.modulus, contents.reshape(len(contents), -1, 2)
        factor, shift = np.ones_like(maps[..., 0]), np.zeros_like(maps[..., 0])
        for step in range(self.config.n_maps):
            before = (factor[:, step - 1], shift[:, step - 1]) if step else (1, 0)
            factor[:, step] = maps[:, step, 0] * before[0] % p
            shift[:, step] = (maps[:, step, 0] * before[1] + maps[:, step, 1]) % p
        start = below(source, depth.shape, p)
        prefix_factor, prefix_shift = at_depth(factor, depth), at_depth(shift, depth)
        queries = np.stack([p - 1 + depth, start], axis=-1)
        return Asked(contents, queries, (prefix_factor * start + prefix_shift) % p, {"factor": prefix_factor})

    def path(self, context: list[int], query: list[int]) -> list[int]:
        """Apply one map after the other to the value that is asked.

        Raises:
            InvalidInputError: if the tokens are no context and query of this task.
        """
        p, (depth_token, value) = self.config.modulus, query
        require(depth_token >= p, "tokens", "must start each query with a depth", depth_token)
        require(max([value, *context]) < p, "tokens", f"must hold values below {p} in context and query", max([value, *context]))
        path = [value]
        for step in range(depth_token - p + 1):
            path.append((context[2 * step] * path[-1] + context[2 * step + 1]) % p)
        return path

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        p, n_maps, n_queries = self.config.modulus, self.config.n_maps, self.config.n_queries
        maps = " ".join(f"{1 + step % (p - 1)}x+{2 * step % p}" for step in range(n_maps))
        asked = " ".join(str(number % p) for number in range(n_queries))
        return f"Write {n_maps} maps ax+b mod {p} (a not 0), then ? and {n_queries} values to apply them to: {maps} ? {asked}"

    @property
    def askable(self) -> range:
        """Values."""
        return range(self.config.modulus)

    def write_context(self, context: list[int]) -> list[str]:
        """Write each map as ax+b."""
        return [f"{factor}x+{shift}" for factor, shift in zip(context[::2], context[1::2], strict=True)]

    def read_context(self, words: list[str]) -> list[int]:
        """Return factors and shifts.

        Raises:
            InvalidInputError: for a map that is none or out of range, or a wrong number of them.
        """
        p, context = self.config.modulus, []
        for number, word in enumerate(words, start=1):
            found = _MAP.fullmatch(word)
            if not found:
                refuse_text("must look like 3x+5", f"map {number}", word)
            factor, shift = int(found[1]), int(found[2])
            if not 1 <= factor < p > shift:
                refuse_text(f"must have a factor in 1..{p - 1} and a shift in 0..{p - 1}", f"map {number}", word)
            context += [factor, shift]
        expect(self.config.n_maps, words, "maps")
        return context

    def query_coords(self, context: list[int], query: list[int], where: str) -> dict[str, int]:
        """Return the factor of the prefix."""
        del where
        factor = 1
        for one in context[: 2 * self.query_depth(context, query) : 2]:
            factor = factor * one % self.config.modulus
        return {"factor": factor}

    def steps(self, context: list[int], query: list[int]) -> list[Step]:
        """Return the value after each map."""
        words = self.vocab
        return [Step(words[value], 2 * (step - 1)) for step, value in enumerate(self.path(context, query))]

    def guesses(self, depth: np.ndarray) -> Floor:
        """A prefix is uniform among the maps, so a value is uniform whatever is asked.

        Of several at once, the best guess is the value asked about: one map keeps every value, and p - 2 in p - 1 keep one.
        """
        p, n = self.config.modulus, self.config.n_queries
        together = 1 / (p * (p - 1)) + (p - 2) / (p - 1) / p**n
        return independent_floor(depth, n, chance=1 / p, constant=1 / p, exact_constant=together)
