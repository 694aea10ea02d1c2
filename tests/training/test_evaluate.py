"""Evaluation counts what it says it counts."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from sleepkit import results, tasks
from sleepkit.errors import InvalidInputError
from sleepkit.model import HybridLM
from sleepkit.sleep import SleepConfig, correct_answers, rollout
from sleepkit.tasks import Rule110
from sleepkit.training import evaluate
from tests.support.models import fresh_model, small_model


@pytest.fixture
def task() -> Rule110:
    return tasks.create("rule110", width=8, n_strings=3, rollout_depth=[1, 2, 4, 8])


@pytest.fixture
def model() -> HybridLM:
    return small_model(dtype=torch.float32, layers="attn gdn")


def always_one() -> HybridLM:
    """A model that answers "1" to everything."""
    model = fresh_model(dtype=torch.float32, layers="attn gdn")

    def head(hidden: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(torch.ones(hidden.shape[:2], dtype=torch.int64), 7).float()

    model.head = head  # type: ignore[method-assign]
    return model


def test_counts_add_up_and_every_depth_is_asked_equally_often(task: Rule110, model: HybridLM) -> None:
    dataset = evaluate(model, task, n_passes=[1, 3], n_examples=100, batch_size=32)
    assert dataset.n_passes.values.tolist() == [1, 3]
    assert dataset.depth.values.tolist() == [1, 2, 4, 8]
    assert dataset.n_total.values.tolist() == [[75] * 4] * 2
    assert dataset.n_examples.values.tolist() == [100, 100]
    assert (dataset.n_correct <= dataset.n_total).all()
    np.testing.assert_allclose(dataset.accuracy, dataset.n_correct / dataset.n_total, rtol=1e-15)
    assert ((dataset.accuracy_low <= dataset.accuracy) & (dataset.accuracy <= dataset.accuracy_high)).all()
    np.testing.assert_array_equal(dataset.floor, task.floor("test").constant)
    assert results.check(dataset, "accuracy") is dataset


def test_counts_equal_those_of_the_rollout_itself(task: Rule110, model: HybridLM) -> None:
    dataset = evaluate(model, task, n_passes=2, n_examples=60)
    batch = task.batch("test", 0, 60)
    right = correct_answers(batch, rollout(model, batch, SleepConfig(n_passes=2, window_len=9)))
    depth = batch.coords["depth"]
    expected = [int(right[depth == value].sum()) for value in (1, 2, 4, 8)]
    assert dataset.n_correct.values.tolist() == [expected]
    assert dataset.n_exact.values.tolist() == [int(right.all(dim=1).sum())]


def test_sliding_eviction_counts_what_a_rollout_that_sees_the_newest_tokens_answers(task: Rule110, model: HybridLM) -> None:
    dataset = evaluate(model, task, n_passes=2, n_examples=60, window_len=6, eviction="sliding")
    batch = task.batch("test", 0, 60)
    rights = [
        correct_answers(batch, rollout(model, batch, SleepConfig(n_passes=2, window_len=6, eviction=kind))).sum()
        for kind in ("sliding", "hard")
    ]
    assert int(dataset.n_correct.sum()) == int(rights[0]) != int(rights[1])
    assert dataset.attrs["eviction"] == "sliding"


def test_the_batch_size_does_not_matter(task: Rule110, model: HybridLM) -> None:
    options: dict[str, Any] = {"n_passes": [1, 2], "n_examples": 50}
    one, other = (evaluate(model, task, batch_size=size, **options) for size in (7, 256))
    xr.testing.assert_equal(one, other)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_model_that_always_says_one_scores_exactly_the_share_of_ones(task: Rule110, split: tasks.Split) -> None:
    dataset = evaluate(always_one(), task, n_passes=[1, 4], n_examples=400, split=split)
    batch = task.batch(split, 0, 400)
    answers = task.solve(batch.tokens)
    ones = [int(answers[batch.coords["depth"] == depth].sum()) for depth in (1, 2, 4, 8)]
    assert dataset.n_correct.values.tolist() == [ones, ones]
    assert dataset.n_exact.values.tolist() == [int(answers.all(dim=1).sum())] * 2


def test_the_best_constant_answer_scores_its_floor() -> None:
    task = tasks.create("rule110", width=16, n_strings=4, rollout_depth=[1, 4, 8])
    dataset = evaluate(always_one(), task, n_passes=1, n_examples=3000)
    for depth in (1, 4, 8):
        at = dataset.sel(depth=depth, n_passes=1)
        sigma = float(np.sqrt(at.floor * (1 - at.floor) / at.n_total))
        assert abs(float(at.accuracy - at.floor)) <= 4 * sigma


def test_progress_is_told_after_every_batch_and_may_cancel(task: Rule110, model: HybridLM) -> None:
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, task, n_passes=[1, 2], n_examples=30, batch_size=10, on_batch=tell)
    assert told == [(1, 6), (2, 6), (3, 6)]


def test_a_depth_that_is_never_asked_is_not_in_the_result(model: HybridLM) -> None:
    task = tasks.create("rule110", width=8, n_strings=2, rollout_depth=[1, 2, 4], depth_weights=[1.0, 0.0, 1.0])
    assert evaluate(model, task, n_passes=1, n_examples=10).depth.values.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("n_passes", {"n_passes": 0}),
        ("n_passes", {"n_passes": [1, 1]}),
        ("n_passes", {"n_passes": []}),
        ("n_passes", {"n_passes": [True]}),
        ("n_passes", {"n_passes": [1.5]}),
        ("n_examples", {"n_examples": 0}),
        ("n_examples", {"n_examples": 2.0}),
        ("batch_size", {"batch_size": 0}),
        ("split", {"split": "dev"}),
        ("window_len", {"window_len": 2}),
    ],
)
def test_impossible_requests_are_refused_by_name(task: Rule110, model: HybridLM, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must "):
        evaluate(model, task, **options)


def test_answers_that_a_small_cycle_does_not_ask_are_not_counted() -> None:
    options = {"names": "single", "n_symbols": 12, "n_nodes": 8, "n_nodes_law": "uniform", "n_hops": 4, "n_queries": 8}
    depo = tasks.create("depo", **options)
    model = small_model(dtype=torch.float32, layers="attn gdn", vocab_size=len(depo.vocab))
    batch = depo.batch("train", 0, 40)
    assert not bool(batch.asked.all())
    data = evaluate(model, depo, n_passes=[1, 2], n_examples=40, batch_size=40, split="train")
    asked = np.bincount(batch.coords["depth"][batch.asked].numpy(), minlength=5)[1:]
    assert data.n_total.sel(n_passes=1).values.tolist() == asked.tolist()
    right = correct_answers(batch, rollout(model, batch, SleepConfig(n_passes=2, window_len=depo.window_len)))
    assert int(data.n_correct.sel(n_passes=2).sum()) == int((right & batch.asked).sum())


def test_only_the_name_counts_for_an_answer_and_the_whole_name() -> None:
    """A model that is right but for [ANS] has every answer; one wrong token of two loses the answer."""
    depo = tasks.create("depo", n_nodes=6, n_symbols=5, n_queries=2)
    batch = depo.batch("test", 0, 10)
    model = small_model(dtype=torch.float32, layers="attn gdn", vocab_size=len(depo.vocab))
    result = rollout(model, batch, SleepConfig(window_len=depo.window_len))
    window, logits = result.answered[0]
    perfect = torch.nn.functional.one_hot(batch.targets[:, window.start :].clamp(min=0), logits.shape[2]).float()
    of_mark = (batch.answer_id < 0)[:, window.start :]
    perfect[of_mark] = 0.0
    result.answered[0] = (window, perfect)
    assert bool(correct_answers(batch, result).all())
    last = int((batch.answer_id[0, window.start :] == 1).nonzero().max())
    perfect[:, last] = 0.0
    assert correct_answers(batch, result).tolist() == [[True, False]] * 10


def test_an_unknown_eviction_is_refused(task: Rule110, model: HybridLM) -> None:
    with pytest.raises(InvalidInputError, match=r"^eviction: "):
        evaluate(model, task, n_examples=4, eviction="soft")  # type: ignore[arg-type]
