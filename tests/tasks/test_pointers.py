"""Pointer chasing: walks without a repetition in functions that are random."""

import numpy as np
import pytest

from sleepkit import tasks
from sleepkit.tasks.pointers import _shape

SMALL = {"n_nodes": 12, "n_hops": 6, "n_queries": 3}


def walk(leads_to: list[int], start: int) -> list[int]:
    """Nodes met before the first that was met already, which comes last."""
    path = [start]
    while path[-1] not in path[:-1]:
        path.append(leads_to[path[-1]])
    return path


def functions(tokens: np.ndarray, n: int) -> np.ndarray:
    edges = tokens[:, : 2 * n].reshape(len(tokens), n, 2)
    leads_to = np.empty((len(tokens), n), dtype=np.int64)
    np.put_along_axis(leads_to, edges[..., 0], edges[..., 1], axis=1)
    return leads_to


def test_tail_and_cycle_are_those_of_a_walk() -> None:
    leads_to = np.random.default_rng(0).integers(0, 13, (200, 13))
    tail, cycle = _shape(leads_to)
    for row in range(200):
        for node in range(13):
            path = walk(leads_to[row].tolist(), node)
            first = path.index(path[-1])
            assert (tail[row, node], cycle[row, node]) == (first, len(path) - 1 - first)


@pytest.mark.parametrize("split", ["train", "test"])
def test_k_hops_meet_k_nodes_besides_the_start_and_lead_to_the_answer(split: tasks.Split) -> None:
    task = tasks.create("pointer-chasing", **SMALL)
    batch = task.batch(split, 1, 200)
    leads_to = functions(batch.tokens.numpy(), 12).tolist()
    for row in range(200):
        for number in range(3):
            mark, start = batch.tokens[row, 24 + 2 * number : 26 + 2 * number].tolist()
            depth = int(batch.coords["depth"][row, number])
            path = walk(leads_to[row], start)
            assert task.vocab[mark] == f"d={depth}"
            assert depth <= len(path) - 2
            assert int(batch.targets[row, 25 + 2 * number]) == path[depth]
            first = path.index(path[-1])
            assert int(batch.coords["tail"][row, number]) == first
            assert int(batch.coords["cycle"][row, number]) == len(path) - 1 - first


def test_the_context_holds_every_edge_once_in_random_order() -> None:
    batch = tasks.create("pointer-chasing", **SMALL).batch("train", 0, 6000)
    sources = batch.tokens[:, :24:2].numpy()
    assert (np.sort(sources, axis=1) == np.arange(12)).all()
    for place in range(12):
        counts = np.bincount(sources[:, place], minlength=12)
        assert np.square(counts - 500).sum() / 500 <= 12 + 5 * np.sqrt(24)


def test_all_starts_that_are_long_enough_are_asked_equally_often() -> None:
    task = tasks.create("pointer-chasing", **SMALL, depths=[4])
    batch = task.batch("train", 0, 6000)
    leads_to = functions(batch.tokens.numpy(), 12)
    tail, cycle = _shape(leads_to)
    fit = (tail + cycle) > 4
    start = batch.tokens[:, 25].numpy()
    rank = np.take_along_axis(fit.cumsum(axis=1) - 1, start[:, None], axis=1)[:, 0]
    assert np.take_along_axis(fit, start[:, None], axis=1).all()
    for n_fit in (3, 5, 8):
        counts = np.bincount(rank[fit.sum(axis=1) == n_fit], minlength=n_fit)
        mean = counts.mean()
        assert mean > 30
        assert np.square(counts - mean).sum() / mean <= n_fit + 5 * np.sqrt(2 * n_fit)


def test_functions_are_uniform_where_no_walk_has_to_be_long() -> None:
    task = tasks.create("pointer-chasing", n_nodes=10, n_hops=1)
    leads_to = functions(task.batch("train", 0, 4000).tokens.numpy(), 10)
    for node in range(10):
        counts = np.bincount(leads_to[:, node], minlength=10)
        assert np.square(counts - 400).sum() / 400 <= 10 + 5 * np.sqrt(20)


def test_chance_is_a_guess_among_the_other_nodes() -> None:
    task = tasks.create("pointer-chasing", **SMALL)
    batch = task.batch("train", 0, 6000)
    steps = (batch.targets[:, 25::2] - batch.tokens[:, 25::2]).numpy() % 12
    counts = np.bincount(steps.ravel(), minlength=12)
    assert counts[0] == 0
    assert task.floor().chance.tolist() == [1 / 11] * 6
    assert np.square(counts[1:] - 18000 / 11).sum() / (18000 / 11) <= 11 + 5 * np.sqrt(22)


def test_the_sampled_part_of_the_floor_is_met_by_a_constant() -> None:
    for depth in (1, 5):
        task = tasks.create("pointer-chasing", **SMALL, depths=[depth])
        answers = task.batch("train", 0, 20_000).targets[:, 25::2]
        share = float((answers == answers[:, :1]).all(dim=1).double().mean()) / 12
        (floor,) = task.floor().exact_constant
        assert abs(share - floor) <= 5 * np.sqrt(12 * floor / 20_000) / 12 + 0.03 * floor
    assert "sampled" in task.floor().source
