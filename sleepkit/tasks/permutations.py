"""Composition of permutations: state tracking at fixed memory load, with controls that differ in nothing but the group.

Permutations from a group are read and evicted; then the composition of the first d of them is asked, the first applied first.
It is asked in the form in which the permutations are written:

    images     2 1 3 4 5  5 2 1 4 3 ...   | d=3 x   d=1 x ...    where 1, 2, .. 5 go; targets: where x goes
    elements   g g g ... g                | d=3   d=1 ...        one token for a permutation; targets: the whole composition

* ``elements`` is for S5, S4 x Z5 and Z120 (or A5, A4 x Z5 and Z60): groups of the same order give the same tokens, the same
  information in the context and the same floors, and differ in the table of products alone.
* ``images`` is for S5, A5, F20, D5 and Z5, all that can take any of five points to any other: no table has to be learnt, and a
  question follows one point through d look-ups. Fewer bits are to be remembered in a smaller group.
* Products in A5 and S5 are complete for NC1 (Barrington 1989), one point's way included: no fixed number of layers follows them
  to any d unless TC0 = NC1. In the other groups, all solvable, they lie in ACC0 (Barrington and Therien 1988), within TC0.
"""

import functools
import string
from collections.abc import Sequence
from typing import Literal

import numpy as np

from sleepkit.errors import require
from sleepkit.settings import settings
from sleepkit.tasks.base import Floor
from sleepkit.tasks.drawing import Words, below
from sleepkit.tasks.own_input import Step, refuse_text
from sleepkit.tasks.questions import Asked, QuestionConfig, Sizes, at_depth, depth_words, independent_floor
from sleepkit.tasks.written import WrittenTask, expect

# Generators, each a list of cycles; points are printed 1 .. 9, a .. g.
_GENERATORS = {
    "S3": (["12"], ["123"]),
    "Z6": (["12", "345"],),
    "S4": (["12"], ["1234"]),
    "Z24": (["123", "456789ab"],),
    "Z5": (["12345"],),
    "D5": (["12345"], ["25", "34"]),
    "F20": (["12345"], ["2354"]),
    "A5": (["123"], ["12345"]),
    "A4xZ5": (["123"], ["234"], ["56789"]),
    "Z60": (["123", "4567", "89abc"],),
    "S5": (["12"], ["12345"]),
    "S4xZ5": (["12"], ["1234"], ["56789"]),
    "Z120": (["123", "45678", "9abcdefg"],),
}
_POINTS = string.digits[1:] + string.ascii_lowercase
Group = Literal["S3", "Z6", "S4", "Z24", "Z5", "D5", "F20", "A5", "A4xZ5", "Z60", "S5", "S4xZ5", "Z120"]


@settings
class PermutationsConfig(QuestionConfig):
    """Settings of the permutations task, besides those of every question task.

    Attributes:
        group: where the permutations come from.
        n_permutations: permutations in the context, and the largest depth, 1 to 1024.
        written: "images" or "elements" (see above); "images" needs a group that can take any point to any other.
    """

    group: Group = "S5"
    n_permutations: int = 8
    written: Literal["images", "elements"] = "images"

    @property
    def sizes(self) -> Sizes:
        """A token for each permutation, or for each of its images; a query is a depth, then a point if images are asked."""
        order, degree = elements(self.group).shape
        token_len, query_len = (degree, 2) if self.written == "images" else (1, 1)
        n = self.n_permutations
        return Sizes(deepest=n, context_len=n * token_len, query_len=query_len, n_contexts=order**n)

    def check(self) -> None:
        """Refuse impossible tasks."""
        require(1 <= self.n_permutations <= 1024, "n_permutations", "must be between 1 and 1024", self.n_permutations)
        members = elements(self.group)
        transitive = len(np.unique(members[:, 0])) == members.shape[1]
        rule = "must be 'elements' for a group that does not take any point to any other"
        require(self.written == "elements" or transitive, "written", f"{rule}, as {self.group}", self.written)
        super().check()


class Permutations(WrittenTask[PermutationsConfig]):
    """Composition of the first d permutations of S5, or of a group that is easier to follow."""

    name = "permutations"

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: points, or whole permutations as the images of 1, 2, ..; then the depths."""
        group = self.config.group
        words = _POINTS[: elements(group).shape[1]] if self.config.written == "images" else _printed(group)
        return [*words, *depth_words(self.config)]

    def contents(self, source: Words, n: int) -> np.ndarray:
        """Draw every permutation uniformly: [n, n_permutations] numbers of group elements."""
        return below(source, (n, self.config.n_permutations), len(elements(self.config.group)))

    def ask(self, contents: np.ndarray, depth: np.ndarray, source: Words) -> Asked:
        """Multiply from left to right by the table of products; ask each question's prefix, or where it takes a random point."""
        members, table = elements(self.config.group), _products(self.config.group)
        prefixes = contents.copy()
        for step in range(1, self.config.n_permutations):
            prefixes[:, step] = table[prefixes[:, step - 1], contents[:, step]]
        prefix = at_depth(prefixes, depth)
        if self.config.written == "elements":
            return Asked(contents, (len(members) - 1 + depth)[..., None], prefix, {"moved": _n_moved(members)[prefix]})
        degree = members.shape[1]
        point = below(source, depth.shape, degree)
        queries = np.stack([degree - 1 + depth, point], axis=-1)
        context = members[contents].reshape(len(contents), -1)
        return Asked(context, queries, members[prefix, point], {"moved": _n_moved(members)[prefix]})

    def path(self, context: list[int], query: list[int]) -> list[int]:
        """Follow points through one printed permutation after the other.

        Raises:
            InvalidInputError: if the tokens are no context and query of this task.
        """
        words = self.vocab
        n_words = len(words) - self.config.n_permutations
        images = self.config.written == "images"
        length = len(context) // self.config.n_permutations
        steps = query[0] - n_words + 1
        require(steps >= 1, "tokens", "must start each query with a depth", words[query[0]])
        strange = [words[token] for token in (*context, *query[1:]) if token >= n_words]
        require(not strange, "tokens", "must hold no depth but at the start of a query", strange)
        if images:
            path = [query[1]]
            for step in range(steps):
                path.append(context[step * length : (step + 1) * length][path[-1]])
            return path
        reached = list(_POINTS[: len(words[0])])
        met = []
        for token in context[:steps]:
            reached = [words[token][_POINTS.index(point)] for point in reached]
            met.append(words.index("".join(reached)))
        return met

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        config, words = self.config, _printed(self.config.group)
        rule = f"Write {config.n_permutations} permutations of {words[0]} from {config.group}, each as where these points go"
        written = " ".join(words[(1 + 7 * step) % len(words)] for step in range(config.n_permutations))
        if not self.askable:
            return f"{rule}: {written}"
        asked = " ".join(words[0][number % len(words[0])] for number in range(config.n_queries))
        return f"{rule}, then ? and {config.n_queries} points to follow: {written} ? {asked}"

    @property
    def askable(self) -> range:
        """Points, if images are asked."""
        return range(len(_printed(self.config.group)[0]) if self.config.written == "images" else 0)

    def write_context(self, context: list[int]) -> list[str]:
        """Write each permutation as the images of its points in one word."""
        length, words = self._token_len, self.vocab
        return ["".join(words[token] for token in context[at : at + length]) for at in range(0, len(context), length)]

    def read_context(self, words: list[str]) -> list[int]:
        """Return the tokens of each permutation.

        Raises:
            InvalidInputError: for a word that is no permutation of the group, or a wrong number of them.
        """
        known, context = _printed(self.config.group), list[int]()
        for number, word in enumerate(words, start=1):
            where = f"permutation {number}"
            if sorted(word) != sorted(known[0]):
                refuse_text(f"must hold each of {known[0]} once", where, word)
            if word not in known:
                refuse_text(f"must be in the group {self.config.group}", where, word)
            context += map(_POINTS.index, word) if self.askable else [known.index(word)]
        expect(self.config.n_permutations, words, "permutations")
        return context

    def query_coords(self, context: list[int], query: list[int], where: str) -> dict[str, int]:
        """Return how many points the prefix moves."""
        del where
        depth, points = self.query_depth(context, query), _printed(self.config.group)[0]
        reached = points
        for word in self.write_context(context)[:depth]:
            reached = "".join(word[points.index(point)] for point in reached)
        return {"moved": sum(one != other for one, other in zip(points, reached, strict=True))}

    def steps(self, context: list[int], query: list[int]) -> list[Step]:
        """Return where the point, or the identity, has got to after each permutation."""
        path = self.path(context, query)
        words = self.vocab
        met = path if self.askable else [0, *path]  # the identity is the first of a group
        return [Step(words[token], (step - 1) * self._token_len) for step, token in enumerate(met)]

    @property
    def _token_len(self) -> int:
        return self.context_len // self.config.n_permutations

    def guesses(self, depth: np.ndarray) -> Floor:
        """A composition is uniform in its group, so an answer is uniform whatever is asked.

        Of several at once: whole permutations asked at one depth are the same one. Of images the best guess is the point asked
        about, right as often as the composition keeps all of these points.
        """
        members, n = elements(self.config.group), self.config.n_queries
        if self.config.written == "elements":
            alike = 1 / len(members)
            return independent_floor(depth, n, chance=alike, constant=alike, exact_constant=alike)
        degree = members.shape[1]
        kept = 1 - _n_moved(members) / degree
        together = float((kept**n).mean())
        return independent_floor(depth, n, chance=1 / degree, constant=1 / degree, exact_constant=together)


@functools.cache
def elements(group: Group) -> np.ndarray:
    """Return all permutations of a group as images of its points, in lexicographic order, the identity first: [order, degree]."""
    generators = [_images(group, cycles) for cycles in _GENERATORS[group]]
    known = {tuple(range(len(generators[0])))}
    new = list(known)
    while new:
        found = {tuple(generator[point] for point in member) for member in new for generator in generators}
        new = list(found - known)
        known |= found
    return np.array(sorted(known))


@functools.cache
def _printed(group: Group) -> tuple[str, ...]:
    """Return the images of each permutation as one word."""
    return tuple("".join(_POINTS[point] for point in member) for member in elements(group))


@functools.cache
def _products(group: Group) -> np.ndarray:
    """Return the number of each product, the row applied first: [order, order]."""
    members = elements(group)
    number = {member.tobytes(): row for row, member in enumerate(members)}
    return np.array([[number[second[first].tobytes()] for second in members] for first in members])


def _images(group: Group, cycles: Sequence[str]) -> list[int]:
    """Return where a list of cycles takes every point of its group."""
    degree = max(_POINTS.index(point) + 1 for generator in _GENERATORS[group] for cycle in generator for point in cycle)
    images = list(range(degree))
    for cycle in cycles:
        for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            images[_POINTS.index(here)] = _POINTS.index(there)
    return images


def _n_moved(members: np.ndarray) -> np.ndarray:
    """Count the points that each permutation moves: [order]."""
    moved: np.ndarray = (members != np.arange(members.shape[1])).sum(axis=1)
    return moved
