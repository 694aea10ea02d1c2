"""Settings of the Depo task: sizes, laws, and what follows from them."""

import math
from typing import Literal

import numpy as np

from sleepkit.errors import require
from sleepkit.settings import Settings, settings

_DEFAULT_GRID = (1, 2, 4, 8, 16)
_FEWEST_CYCLES = 1024
_SMALL_SPACE = 2**64


@settings
class DepoConfig(Settings):
    """Settings of the Depo task.

    Attributes:
        n_nodes: nodes of the largest cycle, 2 to 1024; evaluation always asks about cycles of this size.
        n_nodes_min: nodes of the smallest cycle training draws, 2 to n_nodes.
        n_nodes_law: how training draws the nodes n of a cycle: "inverse" with weight 1 / (n + sqrt(n_nodes)) as in the original,
            "uniform", or "fixed" (always n_nodes).
        n_hops: K, most hops a question can take, 1 to 1024; the vocabulary holds Q1 .. QK.
        train_hops: the hops k that training asks, rising; all of 1 .. K if None.
        hop_weights: how often training asks each of them, any positive sum; uniform if None.
        test_hops: the hops that evaluation asks, equally often, rising; those of 1, 2, 4, 8, 16 up to K if None.
        n_queries: questions of an example, 1 to n_nodes; a smaller cycle of n nodes is asked min(n_queries, n).
        n_symbols: V, 2 to 256, tokens a part of a name is drawn from.
        names: "fixed" (two tokens, first and last), "1-2" (one or two tokens, packed, the last shifted by V, as Depo1 of the
            original) or "single" (one token).
        window_len: L, tokens of a window; it must hold the questions with their answers.
        align_edges: put padding into each window of context so that no window edge cuts an edge of the graph in two.
        ask_mark: put the loss on [ANS] too. It never counts for an answer.
        seed: root of the random streams, in [0, 2^63).
    """

    n_nodes: int = 75
    n_nodes_min: int = 3
    n_nodes_law: Literal["inverse", "uniform", "fixed"] = "inverse"
    n_hops: int = 16
    train_hops: tuple[int, ...] | None = None
    hop_weights: tuple[float, ...] | None = None
    test_hops: tuple[int, ...] | None = None
    n_queries: int = 10
    n_symbols: int = 50
    names: Literal["fixed", "1-2", "single"] = "fixed"
    window_len: int = 75
    align_edges: bool = False
    ask_mark: bool = True
    seed: int = 0

    def check(self) -> None:
        """Refuse impossible tasks."""
        for name, least, most in (("n_nodes", 2, 1024), ("n_hops", 1, 1024), ("n_symbols", 2, 256)):
            value = getattr(self, name)
            require(least <= value <= most, name, f"must be between {least} and {most}", value)
        inside = 2 <= self.n_nodes_min <= self.n_nodes
        require(inside, "n_nodes_min", f"must be between 2 and n_nodes={self.n_nodes}", self.n_nodes_min)
        fits = 1 <= self.n_queries <= self.n_nodes
        require(fits, "n_queries", f"must be between 1 and n_nodes={self.n_nodes}", self.n_queries)
        require(0 <= self.seed < 2**63, "seed", "must be in [0, 2^63)", self.seed)
        for name in ("train_hops", "test_hops"):
            self._check_hops(name, getattr(self, name))
        weights = self.hop_weights
        if weights is not None:
            n_hops = len(self.asked_in_training)
            require(len(weights) == n_hops, "hop_weights", f"must have one weight for each of {n_hops} hops", weights)
            require(min(weights) >= 0 and sum(weights) > 0, "hop_weights", "must be >= 0 with a positive sum", weights)
        self._check_space()
        block = self.question_len
        require(self.window_len >= block, "window_len", f"must hold the question block of {block} tokens", self.window_len)
        if self.align_edges:
            require(self.names != "1-2", "align_edges", "needs edges of one length: names 'fixed' or 'single'", self.align_edges)
            require(
                self.window_len >= self.edge_len, "window_len", f"must hold an edge of {self.edge_len} tokens", self.window_len
            )

    def _check_hops(self, name: str, hops: tuple[int, ...] | None) -> None:
        if hops is None:
            return
        require(len(hops) > 0, name, "must name at least one number of hops", hops)
        require(list(hops) == sorted(set(hops)), name, "must be distinct hops in rising order", hops)
        require(1 <= hops[0] <= hops[-1] <= self.n_hops, name, f"must lie in 1..n_hops={self.n_hops}", hops)

    def _check_space(self) -> None:
        n_names, n = self.n_names, self.n_nodes
        require(n_names >= n, "n_symbols", f"must give n_nodes={n} different names, not {n_names}", self.n_symbols)
        rule = f"must allow {_FEWEST_CYCLES} different cycles of n_nodes={n}, so that some can be held out"
        require(n_cycles(n_names, n) >= _FEWEST_CYCLES, "n_symbols", rule, self.n_symbols)

    @property
    def name_len(self) -> int:
        """Most tokens of a name."""
        return 1 if self.names == "single" else 2

    @property
    def n_single(self) -> int:
        """Names of one token."""
        return 0 if self.names == "fixed" else self.n_symbols

    @property
    def n_double(self) -> int:
        """Names of two tokens."""
        return 0 if self.names == "single" else self.n_symbols**2

    @property
    def n_names(self) -> int:
        """Different names."""
        return self.n_single + self.n_double

    @property
    def first_hop_token(self) -> int:
        """Token of one hop, Q1: after padding and the parts of names."""
        return 1 + self.name_len * self.n_symbols

    @property
    def mark_token(self) -> int:
        """Token before an answer, [ANS]: the last one."""
        return self.first_hop_token + self.n_hops

    @property
    def edge_len(self) -> int:
        """Most tokens of an edge."""
        return 2 * self.name_len

    @property
    def pair_len(self) -> int:
        """Most tokens of a question with its answer: hops, name, mark, name."""
        return 2 + 2 * self.name_len

    @property
    def question_len(self) -> int:
        """Tokens of the block of questions and answers."""
        return self.n_queries * self.pair_len

    @property
    def context_len(self) -> int:
        """Tokens before the first question, padding included."""
        if not self.align_edges:
            return self.n_nodes * self.edge_len
        return -(-self.n_nodes // (self.window_len // self.edge_len)) * self.window_len

    @property
    def edge_starts(self) -> np.ndarray:
        """[n_nodes] position of each edge slot (names of one length)."""
        if not self.align_edges:
            return np.arange(self.n_nodes) * self.edge_len
        in_window = self.window_len // self.edge_len
        from_last = np.arange(self.n_nodes)[::-1]
        return self.context_len - from_last // in_window * self.window_len - (from_last % in_window + 1) * self.edge_len

    @property
    def asked_in_training(self) -> tuple[int, ...]:
        """The hops training can ask, rising, those of weight 0 included."""
        return tuple(range(1, self.n_hops + 1)) if self.train_hops is None else self.train_hops

    @property
    def grid(self) -> tuple[int, ...]:
        """The hops evaluation asks, rising."""
        return tuple(k for k in _DEFAULT_GRID if k <= self.n_hops) if self.test_hops is None else self.test_hops

    @property
    def node_weights(self) -> np.ndarray:
        """[n_nodes + 1] weight of each size of cycle in training."""
        n = np.arange(self.n_nodes + 1)
        weights = 1 / (n + math.sqrt(self.n_nodes)) if self.n_nodes_law == "inverse" else np.ones(self.n_nodes + 1)
        weights[: self.n_nodes if self.n_nodes_law == "fixed" else self.n_nodes_min] = 0.0
        return np.asarray(weights)

    @property
    def hops_law(self) -> np.ndarray:
        """[n_hops + 1] weight of each number of hops in training."""
        law = np.zeros(self.n_hops + 1)
        law[list(self.asked_in_training)] = 1.0 if self.hop_weights is None else self.hop_weights
        return law

    @property
    def split_by_content(self) -> bool:
        """Whether the full cycles are so few that training would meet those of the evaluation by chance."""
        return n_cycles(self.n_names, self.n_nodes) <= _SMALL_SPACE


def n_cycles(n_names: int, n_nodes: int) -> int:
    """Count the directed cycles of ``n_nodes`` different names."""
    return math.comb(n_names, n_nodes) * math.factorial(n_nodes - 1)
