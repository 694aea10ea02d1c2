"""The circuit task: gates in levels, fair and independent values."""

import numpy as np
import pytest

from sleepkit import tasks

SMALL = {"n_inputs": 3, "n_gates": 12, "n_levels": 4, "n_queries": 3}
TRUTH = {"and": "0001", "nand": "1110", "or": "0111", "nor": "1000", "xor": "0110", "xnor": "1001"}


class Printed:
    """A circuit as its words say it, followed from gate to gate."""

    def __init__(self, words: list[str]) -> None:
        self.inputs = dict(zip(words[:6:2], words[1:6:2], strict=True))
        self.gates = {words[start]: words[start + 1 : start + 4] for start in range(6, 54, 4)}

    def value(self, node: str) -> str:
        if node in self.inputs:
            return self.inputs[node]
        kind, one, two = self.gates[node]
        return TRUTH[kind][int(self.value(one) + self.value(two), 2)]

    def depths(self, node: str) -> set[int]:
        """Lengths of all ways down to an input."""
        if node in self.inputs:
            return {0}
        return {1 + length for argument in self.gates[node][1:] for length in self.depths(argument)}

    def cone(self, node: str) -> set[str]:
        return set() if node in self.inputs else {node}.union(*map(self.cone, self.gates[node][1:]))


@pytest.mark.parametrize("split", ["train", "test"])
def test_depth_size_and_value_are_those_of_the_printed_circuit(split: tasks.Split) -> None:
    task = tasks.create("circuit", **SMALL)
    batch = task.batch(split, 2, 100)
    for row in range(100):
        words = [task.vocab[token] for token in batch.tokens[row].tolist()]
        printed = Printed(words)
        assert len(printed.gates) == 12
        for number in range(3):
            mark, asked = words[54 + 2 * number : 56 + 2 * number]
            assert mark == "[ASK]"
            assert printed.depths(asked) == {int(batch.coords["depth"][row, number])}
            assert len(printed.cone(asked)) == int(batch.coords["size"][row, number])
            assert str(int(batch.targets[row, 55 + 2 * number])) == printed.value(asked)


def test_arguments_differ_and_each_pair_of_the_level_below_is_drawn_equally_often() -> None:
    task = tasks.create("circuit", **SMALL)
    contents = task.contents(np.random.Philox(key=1), 5000)
    one, two = contents[:, 15:27], contents[:, 27:]
    counts = np.bincount((3 * one + two).ravel(), minlength=9).reshape(3, 3)
    assert (np.diag(counts) == 0).all()
    assert np.square(counts[counts > 0] - 10_000).sum() / 10_000 <= 6 + 5 * np.sqrt(12)


def test_neither_name_nor_place_tells_the_depth() -> None:
    task = tasks.create("circuit", **SMALL)
    batch = task.batch("train", 0, 8000)
    tokens, depth, asked = batch.tokens.numpy(), batch.coords["depth"][:, 0].numpy(), batch.tokens[:, 55].numpy()
    place = (tokens[:, 6:54:4] == asked[:, None]).argmax(axis=1)
    for sign in (asked - asked.min(), place):
        counts = np.zeros((12, 4))
        np.add.at(counts, (sign, depth - 1), 1)
        expected = 8000 / 48
        assert np.square(counts - expected).sum() / expected <= 48 + 5 * np.sqrt(96)


@pytest.mark.parametrize("gates", [["and", "nand"], ["or", "nor", "xor", "xnor"], list(TRUTH)])
def test_values_of_different_gates_are_fair_and_independent_coins(gates: list[str]) -> None:
    task = tasks.create("circuit", **{**SMALL, "gates": gates, "n_queries": 2})
    batch = task.batch("train", 0, 12_000)
    one, other = batch.targets[:, 55].numpy(), batch.targets[:, 57].numpy()
    different = (batch.tokens[:, 55] != batch.tokens[:, 57]).numpy()
    counts = np.bincount((2 * one + other)[different], minlength=4)
    mean = counts.mean()
    assert mean > 2000
    assert np.square(counts - mean).sum() / mean <= 4 + 5 * np.sqrt(8)


@pytest.mark.parametrize("n_queries", [1, 2, 5])
def test_all_answers_at_once_are_as_many_coins_as_gates_asked_about(n_queries: int) -> None:
    task = tasks.create("circuit", **{**SMALL, "n_queries": n_queries, "depths": [3]})
    answers = task.batch("train", 0, 20_000).targets[:, 55::2]
    (floor,) = task.floor().exact_constant
    assert abs(float((answers == 1).all(dim=1).double().mean()) - floor) <= 5 * np.sqrt(floor / 20_000)


def test_circular_circuits_are_refused() -> None:
    task = tasks.create("circuit", **SMALL)
    tokens = task.batch("train", 0, 1).tokens.clone()
    tokens[0, 8] = tokens[0, 6]  # a gate reads itself
    with pytest.raises(ValueError, match=r"^tokens: must define gates by inputs and other gates"):
        task.solve(tokens)
