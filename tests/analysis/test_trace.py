"""A trace shows what the rollout did, no more and no less."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from sleepkit import tasks
from sleepkit.analysis import trace
from sleepkit.analysis.trace import trace_batch
from sleepkit.errors import InvalidInputError, StoreError
from sleepkit.model import HybridLM
from sleepkit.results import group, load_tree, save
from sleepkit.sleep import RolloutResult, SleepConfig, rollout
from sleepkit.tasks import NOTHING_ASKED, Rule110, explore
from sleepkit.training import evaluate
from tests.support.models import small_model

N_PASSES, INDEX = 3, 5


def trace_model(**changes: Any) -> HybridLM:
    """A model with the vocabulary of the task below, unless told otherwise."""
    return small_model(**{"vocab_size": 5, "dtype": torch.float32, **changes})


@pytest.fixture(scope="module")
def task() -> Rule110:
    return tasks.create("rule110", width=6, n_strings=2, rollout_depth=[1, 2])


@pytest.fixture(scope="module", params=["attn gdn attn gdn", "gdn gdn", "attn attn"])
def model(request: pytest.FixtureRequest) -> HybridLM:
    return trace_model(layers=request.param)


@pytest.fixture(scope="module")
def tree(model: HybridLM, task: Rule110) -> xr.DataTree:
    return trace(model, task, n_passes=N_PASSES, index=INDEX)


@pytest.fixture(scope="module")
def result(model: HybridLM, task: Rule110) -> RolloutResult:
    with torch.no_grad():
        return rollout(model, task.batch("test", INDEX, 1), SleepConfig(n_passes=N_PASSES, window_len=7))


def layers_of_kind(model: HybridLM, kind: str) -> list[int]:
    return [number for number, name in enumerate(model.config.layer_kinds) if name == kind]


def test_the_state_after_the_last_pass_is_that_of_the_rollout(model: HybridLM, tree: xr.DataTree, result: RolloutResult) -> None:
    state = group(tree, "fast_weights").state
    assert state.layer.values.tolist() == layers_of_kind(model, "gdn")
    for layer in layers_of_kind(model, "gdn"):
        last = state.sel(layer=layer).isel(window=-1, sleep_pass=1)
        np.testing.assert_array_equal(last, result.state.fast_weights[layer][0])


def test_a_window_starts_from_the_state_the_one_before_ended_with(tree: xr.DataTree) -> None:
    state = group(tree, "fast_weights").state
    assert (state.isel(window=0, sleep_pass=0) == 0).all()
    np.testing.assert_array_equal(state.isel(window=1, sleep_pass=0), state.isel(window=0, sleep_pass=N_PASSES))
    np.testing.assert_array_equal(state.isel(window=2, sleep_pass=0), state.isel(window=1, sleep_pass=N_PASSES))


def test_passes_that_did_not_happen_are_unknown_and_the_others_are_not(tree: xr.DataTree) -> None:
    for data, first in ((group(tree, "fast_weights").state, 0), (group(tree, "attention").weights, 1)):
        assert data.sleep_pass.values.tolist() == list(range(first, N_PASSES + 1))
        happened = ~data.isnull().all([dim for dim in data.dims if dim not in ("window", "sleep_pass")])
        expected = [[True] * len(data.sleep_pass)] * 2 + [[n_pass <= 1 for n_pass in data.sleep_pass.values]]
        assert data.size == 0 or happened.transpose("window", "sleep_pass").values.tolist() == expected


def test_attention_is_causal_and_its_rows_sum_to_one(model: HybridLM, tree: xr.DataTree) -> None:
    weights = group(tree, "attention").weights
    assert weights.layer.values.tolist() == layers_of_kind(model, "attn")
    for window, (length, n_passes) in enumerate([(7, N_PASSES), (7, N_PASSES), (2, 1)]):
        shown = weights.isel(window=window, sleep_pass=slice(0, n_passes), query=slice(0, length)).values
        inside, outside = shown[..., :length], shown[..., length:]
        np.testing.assert_allclose(inside.sum(-1), 1.0, rtol=0, atol=8 * 2.0**-24)
        assert (np.triu(inside, 1) == 0).all()
        assert np.isnan(outside).all()
        assert np.isnan(weights.isel(window=window, query=slice(length, None)).values).all()


def test_the_windows_and_tokens_are_those_of_the_example(task: Rule110, tree: xr.DataTree) -> None:
    batch, tokens = task.batch("test", INDEX, 1), group(tree, "tokens")
    assert list(zip(tokens.start.values.tolist(), tokens.stop.values.tolist(), strict=True)) == [(0, 7), (7, 14), (14, 16)]
    assert tokens.asleep.values.tolist() == [1, 1, 0]
    assert tokens.n_passes.values.tolist() == [N_PASSES, N_PASSES, 1]
    assert tokens.window_of.values.tolist() == [0] * 7 + [1] * 7 + [2] * 2
    assert tokens.id.values.tolist() == batch.tokens[0].tolist()
    assert tokens.text.values.tolist() == [task.vocab[token] for token in batch.tokens[0].tolist()]
    assert tokens.target.values.tolist() == batch.targets[0].tolist()
    assert tokens.segment.values.tolist() == batch.segment[0].tolist()


def test_the_answers_are_those_of_the_rollout(task: Rule110, tree: xr.DataTree, result: RolloutResult) -> None:
    batch, answers = task.batch("test", INDEX, 1), group(tree, "answers")
    asked = batch.targets[0] != NOTHING_ASKED
    probability, targets = result.logits[0, asked].double().softmax(-1), batch.targets[0, asked]
    np.testing.assert_allclose(answers.probability.values, probability, atol=1e-12)
    np.testing.assert_allclose(answers.p_true, probability.gather(1, targets[:, None])[:, 0], atol=1e-12)
    assert answers.truth.values.tolist() == [task.vocab[target] for target in targets.tolist()]
    assert answers.depth.values.tolist() == batch.coords["depth"][0].tolist()


def test_right_answers_in_traces_add_up_to_those_of_evaluate(task: Rule110) -> None:
    model = trace_model(layers="attn gdn")
    counted = evaluate(model, task, n_passes=N_PASSES, n_examples=12)
    right = {1: 0, 2: 0}
    for index in range(12):
        answers = group(trace(model, task, n_passes=N_PASSES, index=index), "answers")
        for depth, value in zip(answers.depth.values.tolist(), answers.right.values.tolist(), strict=True):
            right[depth] += value
    assert counted.n_correct.values.tolist() == [[right[1], right[2]]]


def test_a_model_with_a_larger_vocabulary_than_the_task_can_be_traced(task: Rule110) -> None:
    model = trace_model(vocab_size=9)
    right = [int(group(trace(model, task, n_passes=2, index=index), "answers").right.sum()) for index in range(4)]
    assert sum(right) == int(evaluate(model, task, n_passes=2, n_examples=4).n_correct.sum())


def test_a_looped_span_attends_in_every_pass_and_the_prelude_only_in_the_first(task: Rule110) -> None:
    model = trace_model(layers="attn gdn attn gdn", loop=(1, 3))
    weights = group(trace(model, task, n_passes=N_PASSES), "attention").weights.isel(window=0)
    seen = ~weights.isnull().all(["head", "query", "position"])
    assert seen.sel(layer=0).values.tolist() == [True, False, False]
    assert seen.sel(layer=2).values.tolist() == [True] * N_PASSES


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("n_passes", {"n_passes": 0}),
        ("n_passes", {"n_passes": 1.5}),
        ("index", {"index": -1}),
        ("split", {"split": "dev"}),
        ("window_len", {"window_len": 1}),
    ],
)
def test_impossible_requests_are_refused_by_name(task: Rule110, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must "):
        trace(trace_model(), task, **options)


def test_more_than_one_example_is_refused(task: Rule110) -> None:
    with pytest.raises(InvalidInputError, match="batch: must hold one example, got 2"):
        trace_batch(trace_model(), task, task.batch("test", 0, 2), SleepConfig(window_len=7))


def test_every_pass_is_reported_and_a_report_can_cancel(task: Rule110) -> None:
    seen: list[tuple[int, int]] = []
    batch, sleep = task.batch("test", 0, 1), SleepConfig(n_passes=3, window_len=7)
    trace_batch(trace_model(), task, batch, sleep, on_pass=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 7) for done in range(1, 8)]  # two windows of three passes, and the answer

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace_batch(trace_model(), task, batch, sleep, on_pass=cancel)


def test_the_true_way_to_each_answer_is_in_the_trace_and_comes_back_from_its_file(
    tmp_path: Path, task: Rule110, tree: xr.DataTree
) -> None:
    way, answers = group(tree, "reasoning"), group(tree, "answers")
    xr.testing.assert_identical(way, explore.reasoning(task, task.batch("test", INDEX, 1)))
    for slot, (depth, truth) in enumerate(zip(answers.depth.values.tolist(), answers.truth.values.tolist(), strict=True)):
        assert str(way.text[slot, depth].item())[way.attrs["asked_cell"]] == truth
    assert (way.text == "").any() == (answers.depth[0] != answers.depth[1])
    xr.testing.assert_identical(load_tree(save(tree, tmp_path / "trace.nc")), tree)


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_has_its_ways_beside_its_answers(name: str) -> None:
    task = tasks.create(name, **({"n_ops": 2} if name == "gsm" else {}))
    batch = task.batch("test", INDEX, 1)
    model = trace_model(vocab_size=len(task.vocab), layers="gdn")
    tree = trace_batch(model, task, batch, SleepConfig(n_passes=1, window_len=task.window_len))
    assert group(tree, "reasoning").sizes["answer"] == group(tree, "answers").sizes["answer"]
    assert group(tree, "reasoning").nbytes < 100_000


def test_a_task_that_shows_no_reasoning_is_traced_without(task: Rule110) -> None:
    class Plain:
        def __getattr__(self, name: str) -> Any:
            if name in ("reasoning", "read"):
                raise AttributeError(name)
            return getattr(task, name)

    tree = trace(trace_model(), Plain(), n_passes=1)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="trace: must have the group 'reasoning'"):
        group(tree, "reasoning")
    with pytest.raises(InvalidInputError, match=r"^task: must have read, reasoning to be explored .*, got 'rule110'$"):
        explore.read(Plain(), "01", depth=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("eviction", ["hard", "sliding"])
def test_what_a_query_gives_to_earlier_windows_and_to_its_own_adds_up_to_one(task: Rule110, eviction: Any) -> None:
    attention = group(trace(trace_model(), task, n_passes=2, eviction=eviction), "attention")
    own, carried = attention.weights.sum("position"), attention.carried
    happened = ~carried.isnull()
    assert happened.sum() == 2 * 2 * (7 + 7) * 2 + 2 * 2 * 2
    np.testing.assert_allclose((own + carried).where(happened, 1.0), 1.0, atol=1e-6)
    assert (carried.isel(window=0) == 0).all()
    later = carried.isel(window=slice(1, None))
    assert (later > 0).any() if eviction == "sliding" else (later.fillna(0) == 0).all()
    assert (carried.isel(window=1, query=6) == 0).all()  # the last of L queries sees L keys of its own window


def test_a_trace_of_sliding_eviction_shows_the_rollout(task: Rule110) -> None:
    model = trace_model()
    state = group(trace(model, task, n_passes=3, index=INDEX, eviction="sliding"), "fast_weights").state
    with torch.no_grad():
        sleep = SleepConfig(n_passes=3, window_len=7, eviction="sliding")
        expected = rollout(model, task.batch("test", INDEX, 1), sleep).state
    for layer in layers_of_kind(model, "gdn"):
        last = state.sel(layer=layer).isel(window=-1, sleep_pass=1)
        np.testing.assert_allclose(last, expected.fast_weights[layer][0], atol=1e-5)
