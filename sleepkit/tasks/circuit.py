"""Values in a boolean circuit: a fixed number of gates, and exact control of the depth of the gate that is asked.

Inputs and gates are read and evicted, the gates in random order and under random names; then the value of a gate is asked.

    x1 0  x2 1 ... g3 and g7 x1  g5 xor x2 g3 ... | [ASK] g5   [ASK] g7 ...       targets: 0 or 1, at the name of the gate

* Gates stand in levels of equal size. One argument of a gate of level d comes from level d - 1 and the other from anywhere below,
  in random order, so that the depth of the gate is d exactly. Neither its name nor its place says which it is.
* Every gate is drawn as often as its negation, so that every value is a fair coin, and those of different gates are independent.
* A value can be certain earlier: one 0 settles ``and``. Coordinate ``certificate`` is the depth of the shallowest proof of the value:
  1, 2.9 and 4.4 in the mean at depths 1, 4 and 8 of the default circuits (8,192 drawn), and the whole depth in 100, 38 and 9 %. With
  xor and xnor alone it is the depth, but then a sum mod 2 of inputs and negations is enough.

Axes: G circuits, A questions, N nodes: inputs, then gates level by level.
"""

import math

import numpy as np

from sleepkit.errors import require
from sleepkit.settings import settings
from sleepkit.tasks.base import Floor
from sleepkit.tasks.drawing import below, orders
from sleepkit.tasks.questions import Asked, QuestionConfig, QuestionTask, Sizes, independent_floor

# Value at the arguments 11, 10, 01, 00; a gate and its negation differ in the lowest bit of their number.
_GATES = {"and": 0b1000, "nand": 0b0111, "or": 0b1110, "nor": 0b0001, "xor": 0b0110, "xnor": 0b1001}
_DECIDES = np.array([0, 0, 1, 1, -1, -1])  # the argument that settles each of them alone, if there is one
_FIRST_GATE, _FIRST_INPUT = 2, 2 + len(_GATES)


@settings
class CircuitConfig(QuestionConfig):
    """Settings of the circuit task, besides those of every question task.

    Attributes:
        n_inputs: inputs, 2 to 256.
        n_gates: gates of the circuit, at most 1024: with the inputs, the memory load.
        n_levels: levels that the gates stand in, and the largest depth; it divides n_gates.
        gates: which kinds of gates there are, each with its negation: of and, nand, or, nor, xor, xnor.
    """

    n_inputs: int = 4
    n_gates: int = 16
    n_levels: int = 8
    gates: tuple[str, ...] = tuple(_GATES)

    @property
    def sizes(self) -> Sizes:
        """Two tokens an input, four a gate; a query is a mark and a gate."""
        _, n_above, n_below = self.arguments
        n_choices = [len(self.gates) * int(above) * int(below - 1) for above, below in zip(n_above, n_below, strict=True)]
        n_contexts = 2**self.n_inputs * math.prod(n_choices)
        return Sizes(self.n_levels, context_len=2 * self.n_inputs + 4 * self.n_gates, query_len=2, n_contexts=n_contexts)

    @property
    def in_level(self) -> int:
        """Gates of one level."""
        return self.n_gates // self.n_levels

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First node of the level before each gate's, nodes of that level, nodes of all levels below the gate: [n_gates] each."""
        level = np.arange(self.n_gates) // self.in_level
        n_below = self.n_inputs + level * self.in_level
        n_above = np.where(level == 0, self.n_inputs, self.in_level)
        return n_below - n_above, n_above, n_below

    def check(self) -> None:
        """Refuse impossible tasks."""
        require(2 <= self.n_inputs <= 256, "n_inputs", "must be between 2 and 256", self.n_inputs)
        require(1 <= self.n_gates <= 1024, "n_gates", "must be between 1 and 1024", self.n_gates)
        whole = self.n_levels >= 1 and self.n_gates % self.n_levels == 0
        require(whole, "n_levels", f"must divide n_gates={self.n_gates}", self.n_levels)
        known = set(self.gates) <= set(_GATES) and len(set(self.gates)) == len(self.gates) > 0
        require(known, "gates", f"must be different ones of {', '.join(_GATES)}", self.gates)
        kinds = {list(_GATES).index(gate) for gate in self.gates}
        require({kind ^ 1 for kind in kinds} == kinds, "gates", "must name each gate with its negation", self.gates)
        super().check()


class Circuit(QuestionTask[CircuitConfig]):
    """Values in a boolean circuit, asked at gates of chosen depth."""

    name = "circuit"

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: the values, all kinds of gates, inputs, gates, the mark of a question."""
        inputs, gates = (f"x{i + 1}" for i in range(self.config.n_inputs)), (f"g{i + 1}" for i in range(self.config.n_gates))
        return ["0", "1", *_GATES, *inputs, *gates, "[ASK]"]

    def contents(self, source: np.random.Philox, n: int) -> np.ndarray:
        """Draw values of inputs, kinds of gates and their arguments: [n, n_inputs + 3 n_gates]."""
        config, shape = self.config, (n, self.config.n_gates)
        first, n_above, n_below = config.arguments
        values = below(source, (n, config.n_inputs), 2)
        kinds = np.array([list(_GATES).index(gate) for gate in config.gates])[below(source, shape, len(config.gates))]
        above = first + below(source, shape, n_above)
        other = below(source, shape, n_below - 1)
        other += other >= above
        return np.concatenate([values, kinds, above, other], axis=1)

    def ask(self, contents: np.ndarray, depth: np.ndarray, source: np.random.Philox) -> Asked:
        """Give the gates names and an order; ask a random gate of each depth."""
        config, (n_rows, _) = self.config, contents.shape
        n_inputs, n_gates = config.n_inputs, config.n_gates
        values, kinds, above, other = np.split(contents, n_inputs + n_gates * np.arange(3), axis=1)
        value, certificate = _evaluate(config, values, kinds, above, other)
        inputs = np.broadcast_to(np.arange(n_inputs), values.shape)
        tokens = _FIRST_INPUT + np.concatenate([inputs, n_inputs + orders(source, n_rows, n_gates)], axis=1)
        swapped = below(source, kinds.shape, 2) == 1
        arguments = (np.where(swapped, other, above), np.where(swapped, above, other))
        left, right = (np.take_along_axis(tokens, argument, axis=1) for argument in arguments)
        lines = np.stack([tokens[:, n_inputs:], _FIRST_GATE + kinds, left, right], axis=-1)
        lines = np.take_along_axis(lines, orders(source, n_rows, n_gates)[..., None], axis=1)
        head = np.stack([tokens[:, :n_inputs], values], axis=-1)
        asked = n_inputs + (depth - 1) * config.in_level + below(source, depth.shape, config.in_level)
        name = np.take_along_axis(tokens, asked, axis=1)
        queries = np.stack([np.full_like(name, _FIRST_INPUT + n_inputs + n_gates), name], axis=-1)
        context = np.concatenate([head.reshape(n_rows, -1), lines.reshape(n_rows, -1)], axis=1)
        answers, proofs = (np.take_along_axis(part, asked, axis=1) for part in (value, certificate))
        return Asked(context, queries, answers, {"certificate": proofs})

    def path(self, context: list[int], query: list[int]) -> list[int]:
        """Evaluate whatever gates have known arguments until all have; the path goes along arguments of the level before.

        Raises:
            InvalidInputError: if the tokens are no context and query of this task.
        """
        words, n_inputs = self.vocab, self.config.n_inputs
        names, rest = [words[token] for token in context], 2 * n_inputs
        values, chains = {}, {}
        for name, bit in zip(names[:rest:2], names[1:rest:2], strict=True):
            require(name[0] == "x" and bit in ("0", "1"), "tokens", "must give each input 0 or 1", (name, bit))
            values[name], chains[name] = bit == "1", [name]
        left = [names[start : start + 4] for start in range(rest, len(names), 4)]
        while left:
            ready = [line for line in left if line[2] in values and line[3] in values]
            require(bool(ready), "tokens", "must define gates by inputs and other gates", left[0])
            for name, kind, one, two in ready:
                both, some = values[one] and values[two], values[one] or values[two]
                odd = some and not both
                meaning = {"and": both, "nand": not both, "or": some, "nor": not some, "xor": odd, "xnor": not odd}
                require(name[0] == "g" and kind in meaning, "tokens", "must give each gate a name and a kind", (name, kind))
                values[name], chains[name] = meaning[kind], [*max(chains[one], chains[two], key=len), name]
            left = [line for line in left if line not in ready]
        mark, asked = (words[token] for token in query)
        require(mark == "[ASK]" and asked[0] == "g", "tokens", "must ask for the value of a gate", (mark, asked))
        return [*map(words.index, chains[asked]), int(values[asked])]

    def guesses(self, depth: np.ndarray) -> Floor:
        """Every value is a fair coin; several at once are as many coins as there are different gates asked about."""
        n, in_level = self.config.n_queries, self.config.in_level
        different = np.zeros(n + 1)  # chance of so many different gates, question by question
        different[0] = 1.0
        for _ in range(n):
            fresh = different * np.maximum(1 - np.arange(n + 1) / in_level, 0)
            different = different - fresh + np.concatenate([[0.0], fresh[:-1]])
        together = float(different @ 0.5 ** np.arange(n + 1))
        return independent_floor(depth, n, chance=0.5, constant=0.5, exact_constant=together)


def _evaluate(
    config: CircuitConfig, values: np.ndarray, kinds: np.ndarray, above: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return value and depth of the shallowest proof of every node, level by level: [G, N], [G, N]."""
    tables, n_nodes = np.array(list(_GATES.values())), config.n_inputs + config.n_gates
    value = np.concatenate([values, np.zeros_like(kinds)], axis=1)
    proof = np.zeros((len(values), n_nodes), dtype=np.int64)
    for start in range(0, config.n_gates, config.in_level):
        level = slice(start, start + config.in_level)
        nodes = slice(config.n_inputs + start, config.n_inputs + start + config.in_level)
        kind, one, two = kinds[:, level], above[:, level], other[:, level]
        first, second = (np.take_along_axis(value, argument, axis=1) for argument in (one, two))
        value[:, nodes] = tables[kind] >> (2 * first + second) & 1
        proofs = [np.take_along_axis(proof, argument, axis=1) for argument in (one, two)]
        settles = [_DECIDES[kind] == argument for argument in (first, second)]
        alone = [np.where(settled, length, n_nodes) for settled, length in zip(settles, proofs, strict=True)]
        proof[:, nodes] = 1 + np.minimum(np.maximum(*proofs), np.minimum(*alone))
    return value, proof
