"""The affine task: a solvable group, one map after the other."""

import numpy as np
import pytest

from sleepkit import tasks
from sleepkit.tasks.permutations import elements


def test_the_answer_is_the_value_after_the_first_maps() -> None:
    task = tasks.create("affine", modulus=7, n_maps=9, n_queries=3)
    batch = task.batch("test", 0, 40)
    for row in range(40):
        tokens, targets = batch.tokens[row].tolist(), batch.targets[row].tolist()
        for number in range(3):
            mark, value = tokens[18 + 2 * number : 20 + 2 * number]
            depth = int(batch.coords["depth"][row, number])
            assert task.vocab[mark] == f"d={depth}"
            factor = 1
            for a, b in zip(tokens[: 2 * depth : 2], tokens[1 : 2 * depth : 2], strict=True):
                value, factor = (a * value + b) % 7, a * factor % 7
            assert targets[19 + 2 * number] == value
            assert int(batch.coords["factor"][row, number]) == factor


def test_every_map_has_an_inverse_and_all_are_drawn_equally_often() -> None:
    task = tasks.create("affine", modulus=5, n_maps=10)
    maps = task.batch("train", 0, 10_000).tokens[:, :20].numpy().reshape(-1, 2)
    counts = np.unique(maps @ [5, 1], return_counts=True)[1]
    assert len(counts) == 20
    assert maps[:, 0].min() == 1
    assert np.square(counts - 5000).sum() / 5000 <= 20 + 5 * np.sqrt(40)


def test_the_maps_mod_5_are_the_group_f20_of_the_permutations() -> None:
    maps = {tuple((a * x + b) % 5 for x in range(5)) for a in range(1, 5) for b in range(5)}
    assert {tuple(member) for member in elements("F20").tolist()} == maps


@pytest.mark.parametrize(("modulus", "n_queries"), [(3, 2), (5, 3)])
def test_the_value_asked_about_is_the_best_guess_for_several_questions(modulus: int, n_queries: int) -> None:
    task = tasks.create("affine", modulus=modulus, n_maps=12, n_queries=n_queries, depths=[7])
    batch = task.batch("train", 0, 40_000)
    answers, asked = batch.targets[:, 25::2], batch.tokens[:, 25::2]
    share = float((answers == asked).all(dim=1).double().mean())
    (floor,) = task.floor().exact_constant
    assert abs(share - floor) <= 5 * np.sqrt(floor / 40_000)
    assert float((answers == 1).all(dim=1).double().mean()) < floor
