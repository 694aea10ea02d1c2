"""Values in a boolean circuit: a fixed number of gates, and exact control of the depth of the gate that is asked.

Inputs and gates are read and evicted, the gates in random order and under random names; then the value of a gate is asked.

    x1 0  x2 1 ... g3 and g7 x1  g5 xor x2 g3 ... | [ASK] g5   [ASK] g7 ...       targets: 0 or 1, at the name of the gate

* Gates stand in levels of equal size, and both arguments of a gate come from the level right below it. So no value is settled
  early: one 0 settles ``and``, but to prove that 0 one goes down all d levels of a gate of depth d, whichever way one takes
  (but for gates that share both arguments by chance: xor of a gate and its negation is 1 whatever they are).
  Neither name nor place of a gate says which level it is in.
* Whoever follows j levels only, from coins in place of what is below, is right more often than a coin, as small circuits forget:
  58, 64, 69, 73, 76, 79 and 82 % for j = 1 .. 7 at depth 8 of the default circuits (20,000 drawn); with 64 gates and 8 inputs,
  58 to 73 %.
* A gate is drawn as often as its negation, so that values are fair coins, and those of different gates are independent.
* Circuit value is complete for P, and for NC1 where depth is logarithmic in size: no fixed number of layers follows it unless
  TC0 = NC1. With xor and xnor alone a sum mod 2 is enough, once it is known of what.
* Coordinate ``size`` counts the gates that a value hangs on, itself included.

Axes: G circuits, A questions, N nodes: inputs, then gates level by level; W gates of one level.
"""

import numpy as np

from sleepkit.errors import require
from sleepkit.settings import settings
from sleepkit.tasks.base import Floor
from sleepkit.tasks.circuit_input import levels_of, needed_by, read_circuit, written_lines
from sleepkit.tasks.drawing import Words, below, orders
from sleepkit.tasks.own_input import Step, refuse_text
from sleepkit.tasks.questions import Asked, QuestionConfig, Sizes, independent_floor
from sleepkit.tasks.written import WrittenTask

# Value at the arguments 11, 10, 01, 00; a gate and its negation differ in the lowest bit of their number.
_GATES = {"and": 0b1000, "nand": 0b0111, "or": 0b1110, "nor": 0b0001, "xor": 0b0110, "xnor": 0b1001}
_FIRST_GATE, _FIRST_INPUT = 2, 2 + len(_GATES)


@settings
class CircuitConfig(QuestionConfig):
    """Settings of the circuit task, besides those of every question task.

    Attributes:
        n_inputs: inputs, 2 to 256.
        n_gates: gates of the circuit, at most 1024: with the inputs, the memory load.
        n_levels: levels that the gates stand in, and the largest depth; two gates or more in each.
        gates: which kinds of gates there are, each with its negation: of and, nand, or, nor, xor, xnor.
    """

    n_inputs: int = 4
    n_gates: int = 32
    n_levels: int = 8
    gates: tuple[str, ...] = tuple(_GATES)

    @property
    def sizes(self) -> Sizes:
        """Two tokens an input, four a gate; a query is a mark and a gate."""
        n_in, n_gates, width, n_kinds = self.n_inputs, self.n_gates, self.in_level, len(self.gates)
        n_pairs = (n_in * (n_in - 1)) ** width * (width * (width - 1)) ** (n_gates - width)
        n_contexts = 2**n_in * n_kinds**n_gates * n_pairs
        return Sizes(deepest=self.n_levels, context_len=2 * n_in + 4 * n_gates, query_len=2, n_contexts=n_contexts)

    @property
    def in_level(self) -> int:
        """W, gates of one level."""
        return self.n_gates // self.n_levels

    def check(self) -> None:
        """Refuse impossible tasks."""
        require(2 <= self.n_inputs <= 256, "n_inputs", "must be between 2 and 256", self.n_inputs)
        require(2 <= self.n_gates <= 1024, "n_gates", "must be between 2 and 1024", self.n_gates)
        whole = 1 <= self.n_levels <= self.n_gates // 2 and self.n_gates % self.n_levels == 0
        require(whole, "n_levels", f"must divide n_gates={self.n_gates} with 2 gates or more in each level", self.n_levels)
        known = set(self.gates) <= set(_GATES) and len(set(self.gates)) == len(self.gates) > 0
        require(known, "gates", f"must be different ones of {', '.join(_GATES)}", self.gates)
        kinds = {list(_GATES).index(gate) for gate in self.gates}
        require({kind ^ 1 for kind in kinds} == kinds, "gates", "must name each gate with its negation", self.gates)
        super().check()


class Circuit(WrittenTask[CircuitConfig]):
    """Values in a boolean circuit, asked at gates of chosen depth."""

    name = "circuit"
    depth_in_text = True
    joins = "=,("

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: the values, all kinds of gates, inputs, gates, the mark of a question."""
        inputs, gates = (f"x{i + 1}" for i in range(self.config.n_inputs)), (f"g{i + 1}" for i in range(self.config.n_gates))
        return ["0", "1", *_GATES, *inputs, *gates, "[ASK]"]

    def contents(self, source: Words, n: int) -> np.ndarray:
        """Draw values of inputs, kinds of gates and two different arguments of each: [n, n_inputs + 3 n_gates].

        Arguments count from 0 within the level below. The order in a level and of two arguments counts as content.
        """
        config, shape = self.config, (n, self.config.n_gates)
        values = below(source, (n, config.n_inputs), 2)
        kinds = np.array([list(_GATES).index(gate) for gate in config.gates])[below(source, shape, len(config.gates))]
        n_below = np.where(np.arange(config.n_gates) < config.in_level, config.n_inputs, config.in_level)
        one, two = below(source, shape, n_below), below(source, shape, n_below - 1)
        return np.concatenate([values, kinds, one, two + (two >= one)], axis=1)

    def ask(self, contents: np.ndarray, depth: np.ndarray, source: Words) -> Asked:
        """Give the gates names and an order; ask a random gate of each depth."""
        config, n_rows = self.config, len(contents)
        n_inputs, n_gates, width = config.n_inputs, config.n_gates, config.in_level
        inputs, kinds, *arguments = np.split(contents, n_inputs + n_gates * np.arange(3), axis=1)
        level = np.arange(n_gates) // width
        one, two = (argument + np.where(level == 0, 0, n_inputs + (level - 1) * width) for argument in arguments)
        names = np.concatenate(
            [np.broadcast_to(np.arange(n_inputs), inputs.shape), n_inputs + orders(source, n_rows, n_gates)], axis=1
        )
        tokens = _FIRST_INPUT + names
        left, right = (np.take_along_axis(tokens, argument, axis=1) for argument in (one, two))
        gates = np.stack([tokens[:, n_inputs:], _FIRST_GATE + kinds, left, right], axis=-1)
        gates = np.take_along_axis(gates, orders(source, n_rows, n_gates)[..., None], axis=1)
        head = np.stack([tokens[:, :n_inputs], inputs], axis=-1)
        within = below(source, depth.shape, width)
        asked = (depth - 1) * width + within
        name = np.take_along_axis(tokens[:, n_inputs:], asked, axis=1)
        queries = np.stack([np.full_like(name, _FIRST_INPUT + n_inputs + n_gates), name], axis=-1)
        context = np.concatenate([head.reshape(n_rows, -1), gates.reshape(n_rows, -1)], axis=1)
        values = _values(config, inputs, kinds, one, two)
        return Asked(
            context, queries, np.take_along_axis(values, asked, axis=1), {"size": _cone(config, arguments, depth, within)}
        )

    def path(self, context: list[int], query: list[int]) -> list[int]:
        """Evaluate whatever gates have known arguments until all have; the path shown goes down first arguments.

        Raises:
            InvalidInputError: if the tokens are no context and query of this task.
        """
        words = self.vocab
        values, chains = self._evaluated(context)
        mark, asked = (words[token] for token in query)
        require(mark == "[ASK]" and asked[0] == "g", "tokens", "must ask for the value of a gate", (mark, asked))
        return [*map(words.index, chains[asked]), int(values[asked])]

    def _evaluated(self, context: list[int]) -> tuple[dict[str, bool], dict[str, list[str]]]:
        """Return the values of inputs and gates by name, each after those it hangs on, and chains of first arguments."""
        rest, words = 2 * self.config.n_inputs, self.vocab
        names = [words[token] for token in context]
        values: dict[str, bool] = {}
        chains: dict[str, list[str]] = {}
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
                values[name], chains[name] = meaning[kind], [*chains[one], name]
            left = [line for line in left if line not in ready]
        return values, chains

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        config, width = self.config, self.config.in_level
        written = [f"x{number + 1}={number % 2}" for number in range(config.n_inputs)]
        below_it = [f"x{number + 1}" for number in range(config.n_inputs)]
        for start in range(0, config.n_gates, width):
            level = [f"g{start + number + 1}" for number in range(width)]
            for number, name in enumerate(level):
                one, two = below_it[number % len(below_it)], below_it[(number + 1) % len(below_it)]
                written.append(f"{name}={config.gates[number % len(config.gates)]}({one},{two})")
            below_it = level
        asked = " ".join(f"g{config.n_gates - number % width}" for number in range(config.n_queries))
        rule = f"Write 0 or 1 for each of {config.n_inputs} inputs, {config.n_gates} gates that read two of the level below"
        return f"{rule}, then ? and {config.n_queries} gates: {' '.join(written)} ? {asked}"

    @property
    def askable(self) -> range:
        """Gates."""
        first = _FIRST_INPUT + self.config.n_inputs
        return range(first, first + self.config.n_gates)

    def query_head(self, depth: int) -> int:
        """Return the mark that starts every query."""
        del depth
        return self.vocab.index("[ASK]")

    def query_depth(self, context: list[int], query: list[int]) -> int:
        """Return the level of the gate that is asked."""
        return levels_of(self._lines(context))[self.vocab[query[1]]]

    def write_context(self, context: list[int]) -> list[str]:
        """Write inputs as x1=0 and gates as g1=and(x1,x2)."""
        return written_lines(self._lines(context))

    def read_context(self, words: list[str]) -> list[int]:
        """Return the tokens of inputs and gates.

        Raises:
            InvalidInputError: for words that define no circuit in levels.
        """
        config = self.config
        lines = read_circuit(words, n_inputs=config.n_inputs, n_gates=config.n_gates, kinds=config.gates)
        deepest = max(levels_of(lines).values())
        if deepest > config.n_levels:
            refuse_text(f"must be at most {config.n_levels}", "the number of levels", str(deepest))
        number_of = {word: token for token, word in enumerate(self.vocab)}
        return [number_of[word] for line in lines for word in line]

    def query_coords(self, context: list[int], query: list[int], where: str) -> dict[str, int]:
        """Return how many gates the one that is asked hangs on, itself included."""
        del where
        needed = needed_by(self._lines(context), self.vocab[query[1]])
        return {"size": sum(name[0] == "g" for name in needed)}

    def steps(self, context: list[int], query: list[int]) -> list[Step]:
        """Return the question, then every input and gate it hangs on with its value, each after those it reads."""
        lines, asked = self._lines(context), self.vocab[query[1]]
        values, _ = self._evaluated(context)
        needed, says = needed_by(lines, asked), {line[0]: line for line in lines}
        start_of = {line[0]: sum(map(len, lines[:number])) for number, line in enumerate(lines)}
        steps = [Step(f"? {asked}", -1)]
        for name in (name for name in values if name in needed):
            shown = "" if len(says[name]) == 2 else "{2} {1} {3} = ".format(*says[name])
            steps.append(Step(f"{name} = {shown}{int(values[name])}", start_of[name]))
        return steps

    def _lines(self, context: list[int]) -> list[tuple[str, ...]]:
        """Inputs (name, value), then gates (name, kind, argument, argument)."""
        rest, words = 2 * self.config.n_inputs, self.vocab
        names = [words[token] for token in context]
        inputs = [tuple(names[start : start + 2]) for start in range(0, rest, 2)]
        return inputs + [tuple(names[start : start + 4]) for start in range(rest, len(names), 4)]

    def guesses(self, depth: np.ndarray) -> Floor:
        """Every value is a fair coin; several at once are as many coins as there are different gates asked about."""
        n, width = self.config.n_queries, self.config.in_level
        different = np.zeros(n + 1)  # chance of so many different gates, question by question
        different[0] = 1.0
        for _ in range(n):
            fresh = different * np.maximum(1 - np.arange(n + 1) / width, 0)
            different = different - fresh + np.concatenate([[0.0], fresh[:-1]])
        together = float(different @ 0.5 ** np.arange(n + 1))
        return independent_floor(depth, n, chance=0.5, constant=0.5, exact_constant=together)


def _values(config: CircuitConfig, inputs: np.ndarray, kinds: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the value of every gate, level by level; arguments are numbers of nodes: [G, n_gates]."""
    tables = np.array(list(_GATES.values()))
    value = np.concatenate([inputs, np.zeros_like(kinds)], axis=1)
    for start in range(0, config.n_gates, config.in_level):
        level = slice(start, start + config.in_level)
        first, second = (np.take_along_axis(value, argument[:, level], axis=1) for argument in (one, two))
        value[:, config.n_inputs :][:, level] = tables[kinds[:, level]] >> (2 * first + second) & 1
    return value[:, config.n_inputs :]


def _cone(config: CircuitConfig, arguments: list[np.ndarray], depth: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Count the gates that the asked ones hang on, going down from level to level: [G, A]."""
    width = config.in_level
    size = np.zeros_like(depth)
    needed = np.zeros((*depth.shape, width), dtype=bool)
    for level in range(config.n_levels, 0, -1):
        needed |= (depth[..., None] == level) & (within[..., None] == np.arange(width))
        size += needed.sum(axis=-1)
        if level > 1:
            hangs = [argument[:, (level - 1) * width : level * width, None] == np.arange(width) for argument in arguments]
            needed = needed @ (hangs[0] | hangs[1])
    return size
