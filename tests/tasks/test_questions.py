"""What all tasks that ask about a context of fixed length promise: pure batches, fixed memory load, depths in fair shares."""

import hashlib
import time
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.seeds import stream
from sleepkit.sleep import schedule
from sleepkit.tasks import CONTEXT, NOTHING_ASKED, QUERY, Batch
from sleepkit.tasks.questions import QuestionTask, _held, reserved_for_evaluation
from tests.support.compare import assert_same_bits

SPLITS = ("train", "validation", "test")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "affine": ("affine", {}),
    "affine-3": ("affine", {"modulus": 3, "n_maps": 12, "n_queries": 5, "depths": [1, 5, 12], "window_len": 10}),
    "circuit": ("circuit", {}),
    "circuit-sums": ("circuit", {"gates": ["xor", "xnor"], "n_inputs": 7, "n_gates": 15, "n_levels": 5, "n_queries": 1}),
    "images": ("permutations", {}),
    "elements": ("permutations", {"group": "S4xZ5", "written": "elements", "window_len": 4}),
    "pointers": ("pointer-chasing", {}),
    "pointers-12": ("pointer-chasing", {"n_nodes": 12, "n_hops": 6, "n_queries": 3, "window_len": 16}),
}
EVERY = pytest.mark.parametrize("case", CASES)


def make(case: str, **changes: Any) -> QuestionTask[Any]:
    name, options = CASES[case]
    return tasks.create(name, **{**options, **changes})


def assert_same_batch(actual: Batch, expected: Batch) -> None:
    for name in ("tokens", "targets", "segment", "answer_id"):
        assert_same_bits(getattr(actual, name), getattr(expected, name), what=name)
    assert actual.coords.keys() == expected.coords.keys()
    for name, coord in actual.coords.items():
        assert_same_bits(coord, expected.coords[name], what=name)


@EVERY
def test_every_query_ends_with_its_target_and_no_answer_is_shown(case: str) -> None:
    task = make(case)
    batch = task.batch("train", 0, 60)
    start, length, n = task.context_len, task.config.sizes.query_len, task.config.n_queries
    assert task.seq_len == batch.tokens.shape[1] == start + n * length
    assert batch.segment.unique(dim=0).tolist() == [[CONTEXT] * start + [QUERY] * (n * length)]
    ends = list(range(start + length - 1, task.seq_len, length))
    assert (batch.targets != NOTHING_ASKED).nonzero()[:, 1].view(60, n).unique(dim=0).tolist() == [ends]
    assert batch.answer_id[:, ends].unique(dim=0).tolist() == [list(range(n))]
    assert_same_bits(batch.targets[:, ends], task.solve(batch.tokens))
    assert batch.coords["question"].unique(dim=0).tolist() == [list(range(n))]


@EVERY
def test_the_question_is_a_window_of_its_own_and_the_context_is_slept_on(case: str) -> None:
    task = make(case)
    *context, last = schedule(task.batch("test", 0, 3), task.window_len)
    assert [window.asleep for window in context] == [True] * (-(-task.context_len // task.window_len))
    assert (last.start, last.stop, last.asleep) == (task.context_len, task.seq_len, False)


@EVERY
def test_the_context_is_the_same_whatever_depth_is_asked(case: str) -> None:
    shallow, deep = (make(case, depths=[depth], depth_weights=None) for depth in (1, make(case).config.sizes.deepest))
    assert shallow.vocab == deep.vocab
    for split in SPLITS:
        one, other = (task.batch(split, 0, 40) for task in (shallow, deep))
        assert_same_bits(one.tokens[:, : shallow.context_len], other.tokens[:, : deep.context_len])
        assert not torch.equal(one.targets, other.targets)


@hypothesis.given(
    case=st.sampled_from(list(CASES)), split=st.sampled_from(SPLITS), index=st.integers(0, 20), size=st.integers(1, 90)
)
def test_two_batches_are_the_halves_of_one_of_twice_the_size(case: str, split: tasks.Split, index: int, size: int) -> None:
    task = make(case)
    both = task.batch(split, index, 2 * size)
    assert_same_batch(both.rows(0, size), task.batch(split, 2 * index, size))
    assert_same_batch(both.rows(size, 2 * size), task.batch(split, 2 * index + 1, size))


@EVERY
def test_batches_do_not_depend_on_the_order_of_access_or_on_global_generators(case: str) -> None:
    requests = [(split, index) for split in SPLITS for index in (0, 9, 31)]
    first = {request: make(case).batch(*request, 100) for request in requests}
    torch.manual_seed(3)
    np.random.seed(3)
    task = make(case)
    for request in reversed(requests):
        assert_same_batch(task.batch(*request, 100), first[request])


@EVERY
def test_splits_blocks_and_seeds_give_other_contexts(case: str) -> None:
    batches = [make(case).batch(split, index, 1024) for split in SPLITS for index in (0, 1)]
    batches.append(make(case, seed=1).batch("train", 0, 1024))
    length = make(case).context_len
    shown = [{row.tobytes() for row in batch.tokens[:, :length].numpy()} for batch in batches]
    assert len(set().union(*shown)) >= 0.99 * sum(map(len, shown)) >= 0.97 * 7 * 1024


@EVERY
def test_training_shows_no_content_that_evaluation_may_show(case: str) -> None:
    task = make(case)
    for split in SPLITS:
        contents = _held(task, split, stream(7, "held-out contents", split), 4096)
        assert reserved_for_evaluation(contents).tolist() == [split != "train"] * len(contents)
        assert task.possible(contents).all()


def test_in_a_small_space_training_meets_no_context_of_the_evaluation() -> None:
    """1.7 million contexts: without the split by content training would have met about 800 of these 36,864."""
    task = make("affine-3", n_maps=8, depths=None)
    shown = {}
    for split in ("train", "test"):
        tokens = task.batch(split, 0, 36_864).tokens[:, : task.context_len].numpy().astype(np.int8)
        shown[split] = {row.tobytes() for row in tokens}
    assert len(shown["train"]) >= 36_000
    assert not shown["train"] & shown["test"]


def test_one_content_in_64_is_reserved_whatever_its_columns_are() -> None:
    contents = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    reserved = reserved_for_evaluation(contents).reshape(40, 40, 40)
    deviation = np.sqrt(64000 / 64 * (63 / 64))
    assert abs(int(reserved.sum()) - 1000) <= 5 * deviation
    for axis in range(3):
        along = reserved.sum(axis=tuple({0, 1, 2} - {axis}))
        assert (abs(along - 25) <= 5 * np.sqrt(25)).all()


@EVERY
@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_asks_every_depth_equally_often_in_any_run(case: str, split: tasks.Split) -> None:
    task = make(case)
    depths = task.config.asked_depths.tolist()
    asked = task.batch(split, 0, 1100).coords["depth"]
    for start in (0, 1, 17, 1019, 1023):
        run = asked[start : start + len(depths)]
        assert [int((run == depth).sum()) for depth in depths] == [task.config.n_queries] * len(depths), start
    means = asked.double().mean(dim=0)  # no place of the block has the deep ones to itself
    assert ((means - means.mean()).abs() <= 5 * asked.double().std() / len(asked) ** 0.5).all()


@EVERY
def test_training_draws_depths_by_their_weights_and_never_one_without_weight(case: str) -> None:
    task = make(case, depths=[1, 3, 5], depth_weights=[1.0, 0.0, 3.0])
    asked = task.batch("train", 0, 4000).coords["depth"]
    shares = [float((asked == depth).double().mean()) for depth in (1, 3, 5)]
    assert shares[1] == 0
    assert abs(shares[0] - 0.25) <= 5 * np.sqrt(0.25 * 0.75 / asked.numel())
    assert shares[0] + shares[2] == pytest.approx(1)
    assert task.floor().depth.tolist() == [1, 5]
    assert task.batch("test", 0, 100).coords["depth"].unique().tolist() == [1, 5]


@EVERY
def test_floors_of_one_answer_are_those_of_the_draw(case: str) -> None:
    """All answers are equally likely in each of these tasks: the best constant is any of them."""
    task = make(case)
    batch, floor = task.batch("train", 0, 12_000), task.floor()
    asked = batch.answer_id >= 0
    answers, depths = batch.targets[asked].numpy(), batch.coords["depth"].numpy().ravel()
    for depth, constant, chance in zip(floor.depth, floor.constant, floor.chance, strict=True):
        counts = np.unique(answers[depths == depth], return_counts=True)[1]
        n = counts.sum()
        assert len(counts) == round(1 / constant)
        assert np.square(counts - n * constant).sum() / (n * constant) <= len(counts) + 5 * np.sqrt(2 * len(counts))
        assert constant <= chance <= 1 / (1 / constant - 1) or chance == constant
    np.testing.assert_allclose(floor.exact_chance, floor.chance**task.config.n_queries)


GOLDEN = {
    "affine": ("c0ac9681effa7195aa4386c3c6d65034", "ccfd662361e76a9654512e369a511fe9"),
    "affine-3": ("d0b728f33e52403ecad113f420d53792", "d4bf95f5eb0031a778bf189818dab984"),
    "circuit": ("70608408d7278969ced7be4696798086", "97396e424b936104b814435f757f0fa8"),
    "circuit-sums": ("67517623650111c1e2a461edd437e5e7", "9486b5dedff95eb381381cd25a7a0a8e"),
    "images": ("33ebddcb131d3eb95119090338dbba70", "6e44337039a79514cb3a4695ac8bad94"),
    "elements": ("20c1d5cf76499ae820ef3e36a1fd94f2", "7e99e54fc69abf5a570a00ac6f6440e7"),
    "pointers": ("d1acd8def613aff0839f97d0a1ef765c", "be4e46e7dad0c791d19d20fd471ca7fd"),
    "pointers-12": ("540df900672a3967c5d71c0ff5e5efc2", "2d5341864a817f575f03f28f8eac1ef7"),
}


@EVERY
def test_the_first_batch_is_the_one_it_always_was(case: str) -> None:
    digests = []
    for split in ("train", "test"):
        batch = make(case).batch(split, 0, 512)
        parts = [batch.tokens, batch.targets, *(batch.coords[name] for name in sorted(batch.coords))]
        content = b"".join(part.numpy().astype("<i8").tobytes() for part in parts)
        digests.append(hashlib.blake2b(content, digest_size=16).hexdigest())
    assert tuple(digests) == GOLDEN[case]


@EVERY
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("depths", {"depths": []}),
        ("depths", {"depths": [0, 1]}),
        ("depths", {"depths": [2, 1]}),
        ("depths", {"depths": [1, 1]}),
        ("depths", {"depths": [1, 1000]}),
        ("depths", {"depths": 3}),
        ("depth_weights", {"depths": [1, 2], "depth_weights": [1.0]}),
        ("depth_weights", {"depths": [1, 2], "depth_weights": [0.0, 0.0]}),
        ("depth_weights", {"depths": [1, 2], "depth_weights": [2.0, -1.0]}),
        ("n_queries", {"n_queries": 0}),
        ("n_queries", {"n_queries": 1025}),
        ("window_len", {"n_queries": 4, "window_len": 3}),
        ("window_len", {"window_len": 0}),
        ("seed", {"seed": -1}),
    ],
)
def test_impossible_questions_are_refused_by_name(case: str, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must ") as refusal:
        make(case, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("affine", {"modulus": 9}, "modulus: must be a prime between 3 and 251"),
        ("affine", {"modulus": 2}, "modulus: must be a prime"),
        ("affine", {"n_maps": 0}, "n_maps: must be between 1 and 1024"),
        ("affine", {"n_maps": 2}, "AffineConfig: must allow 1048576 different contexts, .*, got 12100"),
        ("affine", {"depths": [9]}, r"depths: must lie in 1\.\.8, got \(9,\)"),
        ("circuit", {"n_inputs": 1}, "n_inputs: must be between 2 and 256"),
        ("circuit", {"n_gates": 2000}, "n_gates: must be between 2 and 1024"),
        ("circuit", {"n_levels": 5}, "n_levels: must divide n_gates=32 with 2 gates or more in each level, got 5"),
        ("circuit", {"n_levels": 0}, "n_levels: must divide n_gates=32"),
        ("circuit", {"n_levels": 32}, "n_levels: must divide n_gates=32"),
        ("circuit", {"gates": []}, "gates: must be different ones of and, nand, or, nor, xor, xnor"),
        ("circuit", {"gates": ["and", "and"]}, "gates: must be different ones"),
        ("circuit", {"gates": ["and", "not"]}, "gates: must be different ones"),
        ("circuit", {"gates": ["and", "or"]}, "gates: must name each gate with its negation"),
        ("circuit", {"n_inputs": 2, "n_gates": 4, "n_levels": 2}, "CircuitConfig: must allow 1048576 different contexts"),
        ("permutations", {"group": "S6"}, "group: must be one of 'S3'"),
        ("permutations", {"n_permutations": 0}, "n_permutations: must be between 1 and 1024"),
        ("permutations", {"group": "Z120"}, "written: must be 'elements' for a group that .*, as Z120, got 'images'"),
        ("permutations", {"n_permutations": 2}, "PermutationsConfig: must allow 1048576 different contexts, .*, got 14400"),
        ("pointer-chasing", {"n_nodes": 1}, "n_nodes: must be between 2 and 1024"),
        ("pointer-chasing", {"n_nodes": 16, "n_hops": 9}, "n_hops: must be between 1 and 8 at n_nodes=16, got 9"),
        ("pointer-chasing", {"n_nodes": 8, "n_hops": 2}, "PointersConfig: must allow 1048576 different contexts"),
    ],
)
def test_impossible_contexts_are_refused_with_the_limit(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{message}"):
        tasks.create(name, **options)


@EVERY
def test_the_oracle_refuses_what_is_no_example_of_its_task(case: str) -> None:
    task = make(case)
    tokens = task.batch("train", 0, 2).tokens
    spoiled = [tokens[:, 1:], tokens[0], tokens - 10**6, tokens + len(task.vocab)]
    for where, value in ((task.context_len, 0), (0, len(task.vocab) - 1)):  # no question begins so, no context holds that
        spoiled.append(tokens.clone())
        spoiled[-1][:, where] = value
    for wrong in spoiled:
        with pytest.raises(InvalidInputError, match=r"^tokens: must "):
            task.solve(wrong)


@EVERY
def test_a_rendering_shows_windows_paths_answers_and_verdicts(case: str) -> None:
    task = make(case)
    batch = task.batch("test", 0, 2)
    truth = task.solve(batch.tokens)
    predicted = truth.clone()
    predicted[1, 0] = -1
    text = task.render(batch, 1, predicted)
    assert text.count("window ends: evicted") == -(-task.context_len // task.window_len)
    assert (text.count("(right)"), text.count("(wrong)")) == (task.config.n_queries - 1, 1)
    for number in range(task.config.n_queries):
        answer = task.vocab[int(truth[1, number])]
        assert f"question {number}, depth {int(batch.coords['depth'][1, number])}: " in text
        assert f"-> {answer}\n  answer: {answer}" in text or f"  {answer}\n  answer: {answer}" in text
    with pytest.raises(InvalidInputError, match=r"row: must be in \[0, 2\)"):
        task.render(batch, 2)


@pytest.mark.parametrize(("name", "request_"), [("split", ("dev", 0, 1)), ("index", ("train", -1, 1)), ("size", ("train", 0, 0))])
def test_an_impossible_batch_is_refused_by_name(name: str, request_: tuple[Any, int, int]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must be "):
        make("affine").batch(*request_)


@EVERY
def test_one_core_makes_at_least_half_a_million_tokens_a_second(case: str) -> None:
    """A loose floor that a tenfold slip would break; ``sleepkit tasks bench`` measures the speed itself."""
    task = make(case, seed=12345)
    began, n_tokens = time.process_time(), 0
    for index in range(4):
        n_tokens += task.batch("train", index, 1024).tokens.numel()
    assert n_tokens / (time.process_time() - began) >= 5e5
