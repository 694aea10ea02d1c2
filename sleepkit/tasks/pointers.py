"""Pointer chasing: k hops in a random function, with no way back and no short cut around.

A function f from n nodes to themselves is read edge by edge in random order and evicted; then f applied k times is asked.

    x f(x)  y f(y) ... z f(z) | d=3 x   d=1 y ...        targets: the node reached, at the node asked about

* Depo's cycle can be walked backwards, and k hops along n nodes are k mod n. A random function cannot be inverted: about 37 % of
  its nodes have no edge in. Walks end in a cycle, though, so that k hops are asked only from a start on whose way no node comes
  twice: nothing less than k hops leads to the answer. Functions in which no walk is long enough are drawn again.
* Coordinates ``tail`` and ``cycle``: hops from the start to its cycle, and nodes of that cycle; k < tail + cycle.

Axes: G functions, A questions, n nodes.
"""

import functools
import itertools
import math

import numpy as np

from sleepkit.errors import require
from sleepkit.seeds import stream
from sleepkit.settings import settings
from sleepkit.tasks.base import Floor
from sleepkit.tasks.drawing import Words, below, orders
from sleepkit.tasks.own_input import Step, refuse_text
from sleepkit.tasks.questions import Asked, QuestionConfig, Sizes, depth_words
from sleepkit.tasks.written import WrittenTask, expect

_SAMPLED_FUNCTIONS = 2**14


@settings
class PointersConfig(QuestionConfig):
    """Settings of pointer chasing, besides those of every question task.

    Attributes:
        n_nodes: nodes n, 2 to 1024.
        n_hops: most hops k a question can take, 1 to 2 sqrt(n): the longest walk without a repetition has about 2.4 sqrt(n)
            nodes in the mean (Flajolet and Odlyzko 1990), and a function without one of k hops is never drawn.
    """

    n_nodes: int = 32
    n_hops: int = 8

    @property
    def sizes(self) -> Sizes:
        """Two tokens an edge; a query is a number of hops and a node."""
        n = self.n_nodes
        one_walk = math.factorial(n) * (n - 1)  # functions with a walk through all nodes: long enough for any number of hops
        return Sizes(deepest=self.n_hops, context_len=2 * n, query_len=2, n_contexts=one_walk)

    def check(self) -> None:
        """Refuse impossible tasks."""
        require(2 <= self.n_nodes <= 1024, "n_nodes", "must be between 2 and 1024", self.n_nodes)
        most = int(2 * self.n_nodes**0.5)
        require(1 <= self.n_hops <= most, "n_hops", f"must be between 1 and {most} at n_nodes={self.n_nodes}", self.n_hops)
        super().check()


class Pointers(WrittenTask[PointersConfig]):
    """Pointer chasing: k hops in a random function that was read edge by edge."""

    name = "pointer-chasing"
    joins = ">"

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: the nodes, then the numbers of hops."""
        return [*(f"n{node}" for node in range(self.config.n_nodes)), *depth_words(self.config)]

    def contents(self, source: Words, n: int) -> np.ndarray:
        """Draw where each node leads: [n, n_nodes]."""
        return below(source, (n, self.config.n_nodes), self.config.n_nodes)

    def possible(self, contents: np.ndarray) -> np.ndarray:
        """Mark the functions in which some walk of n_hops hops meets no node twice, whichever depths are asked."""
        tail, cycle = _shape(contents)
        marked: np.ndarray = (tail + cycle > self.config.n_hops).any(axis=1)
        return marked

    def ask(self, contents: np.ndarray, depth: np.ndarray, source: Words) -> Asked:
        """Write the edges in random order; start each question from a random node whose walk is long enough."""
        n_rows, n = contents.shape
        order = orders(source, n_rows, n)
        edges = np.stack([order, np.take_along_axis(contents, order, axis=1)], axis=-1)
        tail, cycle = _shape(contents)
        fit = (tail + cycle)[:, None] > depth[..., None]
        rank = below(source, depth.shape, fit.sum(axis=2))
        start = (fit.cumsum(axis=2) > rank[..., None]).argmax(axis=2)
        reached = start
        for step in range(self.config.n_hops):
            reached = np.where(step < depth, np.take_along_axis(contents, reached, axis=1), reached)
        coords = {name: np.take_along_axis(part, start, axis=1) for name, part in (("tail", tail), ("cycle", cycle))}
        return Asked(edges.reshape(n_rows, -1), np.stack([n - 1 + depth, start], axis=-1), reached, coords)

    def path(self, context: list[int], query: list[int]) -> list[int]:
        """Hop from edge to edge.

        Raises:
            InvalidInputError: if the tokens are no context and query of this task.
        """
        n = self.config.n_nodes
        leads_to = dict(zip(context[::2], context[1::2], strict=True))
        whole = sorted(leads_to) == list(range(n)) and max(leads_to.values()) < n
        require(whole, "tokens", "must lead from each node once, to a node", context)
        require(query[0] >= n > query[1], "tokens", "must ask for a number of hops from a node", query)
        path = [query[1]]
        for _ in range(query[0] - n + 1):
            path.append(leads_to[path[-1]])
        return path

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        n, n_queries = self.config.n_nodes, self.config.n_queries
        edges = " ".join(f"n{node}>n{(node + 1) % n}" for node in range(n))
        asked = " ".join(f"n{number % n}" for number in range(n_queries))
        return f"Write where each of {n} nodes leads, then ? and {n_queries} nodes to start from: {edges} ? {asked}"

    @property
    def askable(self) -> range:
        """Nodes."""
        return range(self.config.n_nodes)

    def write_context(self, context: list[int]) -> list[str]:
        """Write each edge as node>node."""
        words = self.vocab
        return [f"{words[start]}>{words[end]}" for start, end in zip(context[::2], context[1::2], strict=True)]

    def read_context(self, words: list[str]) -> list[int]:
        """Return the nodes of each edge.

        Raises:
            InvalidInputError: for an edge that is none, a node that leads to two or to none.
        """
        nodes = self.vocab[: self.config.n_nodes]
        number_of = {node: number for number, node in enumerate(nodes)}
        leads_to: dict[int, int] = {}
        for number, word in enumerate(words, start=1):
            start, _, end = word.partition(">")
            if start not in number_of or end not in number_of:
                refuse_text(f"must lead from one of {nodes[0]} to {nodes[-1]} to another, as n0>n1", f"edge {number}", word)
            if number_of[start] in leads_to:
                refuse_text("must be the only one from its node", f"edge {number}", word)
            leads_to[number_of[start]] = number_of[end]
        expect(self.config.n_nodes, words, "edges")
        return list(itertools.chain.from_iterable(leads_to.items()))

    def query_coords(self, context: list[int], query: list[int], where: str) -> dict[str, int]:
        """Return hops to the cycle and its length.

        Raises:
            InvalidInputError: if the walk meets a node twice, which is never asked.
        """
        met = self.path(context, query)
        if len(set(met)) < len(met):
            walk = " ".join(self.vocab[node] for node in met)
            refuse_text(f"must start where {len(met) - 1} hops meet no node twice", where, walk)
        leads_to = dict(zip(context[::2], context[1::2], strict=True))
        walk_of: list[int] = [query[1]]
        while leads_to[walk_of[-1]] not in walk_of:
            walk_of.append(leads_to[walk_of[-1]])
        tail = walk_of.index(leads_to[walk_of[-1]])
        return {"tail": tail, "cycle": len(walk_of) - tail}

    def steps(self, context: list[int], query: list[int]) -> list[Step]:
        """Return the node after each hop, with the edge that leads there."""
        words, met = self.vocab, self.path(context, query)
        edge_of = {start: 2 * number for number, start in enumerate(context[::2])}
        return [Step(words[met[0]], -1), *(Step(words[end], edge_of[start]) for start, end in itertools.pairwise(met))]

    def guesses(self, depth: np.ndarray) -> Floor:
        """All nodes are alike, so each but the start is reached equally often: chance is a guess among those.

        A constant can be the start itself. Two walks of as many hops often end in one node; how often all of an example
        do is sampled, over functions drawn as training draws them.
        """
        n, n_queries = self.config.n_nodes, self.config.n_queries
        chance = np.full(len(depth), 1 / (n - 1))
        together = _same_end(self.config)[depth - 1] / n
        source = "exact; all answers at once for the constant: sampled"
        return Floor(depth, chance, np.full(len(depth), 1 / n), chance**n_queries, together, source)


def _shape(leads_to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hops from every node to its cycle, and the nodes of that cycle: [G, n] -> [G, n], [G, n]."""
    n_rows, n = leads_to.shape
    base = np.arange(n_rows)[:, None] * n
    hop = (leads_to + base).ravel()
    far = hop
    for _ in range(n.bit_length()):
        far = far[far]  # at least n hops: on a cycle
    on_cycle = np.zeros(n_rows * n, dtype=bool)
    on_cycle[far] = True
    tail, here = np.zeros(n_rows * n, dtype=np.int64), np.arange(n_rows * n)
    walking = np.flatnonzero(~on_cycle)
    while len(walking):
        tail[walking] += 1
        here[walking] = hop[here[walking]]
        walking = walking[~on_cycle[here[walking]]]
    cycle = np.zeros(n_rows * n, dtype=np.int64)
    around = np.flatnonzero(on_cycle)
    there = around
    length = 0
    while len(around):
        there, length = hop[there], length + 1
        closed = there == around
        cycle[around[closed]] = length
        around, there = around[~closed], there[~closed]
    return tail.reshape(n_rows, n), cycle[here].reshape(n_rows, n)


@functools.lru_cache(maxsize=8)
def _same_end(config: PointersConfig) -> np.ndarray:
    """Share of examples in which all questions of k hops end in one node, for k = 1 .. n_hops, by the mean over functions."""
    task = Pointers(config)
    functions = task.contents(stream(0, "pointer-chasing floor", config.n_nodes), _SAMPLED_FUNCTIONS)
    functions = functions[task.possible(functions)]
    n_rows, n = functions.shape
    tail, cycle = _shape(functions)
    row, here, shares = np.arange(n_rows)[:, None] * n, np.broadcast_to(np.arange(n), functions.shape), []
    for k in range(1, config.n_hops + 1):
        here = np.take_along_axis(functions, here, axis=1)
        fit = tail + cycle > k
        ends = np.bincount((row + here)[fit], minlength=n_rows * n).reshape(n_rows, n)
        some = fit.any(axis=1)
        shares.append(float(((ends[some] / fit[some].sum(axis=1, keepdims=True)) ** config.n_queries).sum(axis=1).mean()))
    return np.array(shares)
