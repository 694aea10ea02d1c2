"""The permutations task: groups that are what their names say, and compositions that hang on every factor."""

import itertools

import numpy as np
import pytest

from sleepkit import tasks
from sleepkit.tasks.permutations import _GENERATORS, elements

ORDERS = {"S3": 6, "Z6": 6, "S4": 24, "Z24": 24, "Z5": 5, "D5": 10, "F20": 20, "A5": 60, "A4xZ5": 60, "Z60": 60}
ORDERS |= {"S5": 120, "S4xZ5": 120, "Z120": 120}
GROUPS = pytest.mark.parametrize("group", ORDERS)


def compose(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(second[point] for point in first)


def generated(members: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """Everything that members of a finite group make."""
    group = set(members)
    while True:
        larger = group | {compose(one, other) for one in group for other in members}
        if larger == group:
            return group
        group = larger


@GROUPS
def test_a_group_is_closed_and_has_its_order(group: str) -> None:
    members = {tuple(member) for member in elements(group).tolist()}
    assert len(members) == ORDERS[group] == len(elements(group))
    degree = elements(group).shape[1]
    assert elements(group)[0].tolist() == list(range(degree))
    assert all(sorted(member) == list(range(degree)) for member in members)
    assert {compose(one, other) for one in members for other in members} == members
    commutes = all(compose(one, other) == compose(other, one) for one in members for other in members)
    assert commutes == group.startswith("Z")


def test_every_group_on_offer_is_tested() -> None:
    assert set(ORDERS) == set(_GENERATORS)


@GROUPS
def test_only_s5_and_a5_are_not_solvable(group: str) -> None:
    """A group is solvable if taking commutators again and again leads down to the identity."""
    members = {tuple(member) for member in elements(group).tolist()}
    while True:
        inverse = {one: next(other for other in members if compose(one, other) == tuple(sorted(one))) for one in members}
        pairs = itertools.product(members, members)
        commutators = {compose(compose(inverse[a], inverse[b]), compose(a, b)) for a, b in pairs}
        derived = generated(commutators)
        if derived == members:
            break
        members = derived
    assert (len(members) > 1) == (group in ("S5", "A5"))


def test_one_element_makes_the_whole_of_a_cyclic_group() -> None:
    for group in ("Z5", "Z6", "Z24", "Z60", "Z120"):
        assert max(len(generated({tuple(member)})) for member in elements(group).tolist()) == ORDERS[group]


@pytest.mark.parametrize("written", ["images", "elements"])
def test_the_first_permutation_is_applied_first(written: str) -> None:
    task = tasks.create("permutations", n_permutations=6, n_queries=2, written=written)
    batch = task.batch("test", 0, 60)
    length = 5 if written == "images" else 1
    query_len = 2 if written == "images" else 1
    for row in range(60):
        words = [task.vocab[token] for token in batch.tokens[row].tolist()]
        printed = "".join(words[: 6 * length])
        factors = [printed[start : start + 5] for start in range(0, 30, 5)]
        for number in range(2):
            query = words[6 * length + query_len * number :][:query_len]
            depth = int(batch.coords["depth"][row, number])
            assert query[0] == f"d={depth}"
            whole = "12345"
            for factor in factors[:depth]:
                whole = "".join(factor[int(point) - 1] for point in whole)
            answer = task.vocab[int(batch.targets[row, 6 * length + query_len * (number + 1) - 1])]
            assert answer == (whole[int(query[1]) - 1] if written == "images" else whole)
            assert int(batch.coords["moved"][row, number]) == sum(one != other for one, other in zip(whole, "12345", strict=True))


def test_groups_of_one_order_differ_in_nothing_but_the_table_of_products() -> None:
    made = [tasks.create("permutations", group=group, written="elements") for group in ("S5", "S4xZ5", "Z120")]
    shown = [task.batch("train", 0, 50) for task in made]
    for task, batch in zip(made[1:], shown[1:], strict=True):
        assert len(task.vocab) == len(made[0].vocab)
        assert (batch.tokens == shown[0].tokens).all()
        assert (batch.targets != shown[0].targets).any()
        assert task.floor().constant.tolist() == made[0].floor().constant.tolist()
        alone = batch.coords["depth"] == 1
        answers, expected = (part.targets[:, 8:][alone] for part in (batch, shown[0]))
        assert (answers == expected).all()


@pytest.mark.parametrize(("group", "n_queries"), [("S5", 2), ("F20", 3), ("Z5", 2), ("D5", 1)])
def test_the_point_asked_about_is_the_best_guess_for_several_images(group: str, n_queries: int) -> None:
    task = tasks.create("permutations", group=group, n_permutations=10, n_queries=n_queries, depths=[4])
    batch = task.batch("train", 0, 40_000)
    answers, asked = batch.targets[:, 51::2], batch.tokens[:, 51::2]
    share = float((answers == asked).all(dim=1).double().mean())
    (floor,) = task.floor().exact_constant
    assert abs(share - floor) <= 5 * np.sqrt(floor / 40_000)
    assert floor >= 0.2**n_queries * (1 - 1e-12)


def test_whole_permutations_asked_at_one_depth_are_the_same_one() -> None:
    task = tasks.create("permutations", group="S3", written="elements", n_queries=3, depths=[4])
    answers = task.batch("train", 0, 500).targets[:, 8:]
    assert (answers == answers[:, :1]).all()
    assert task.floor().exact_constant.tolist() == [1 / 6]
