"""What the explorer asks of every task: one depth at a time, own examples that read back, the way to every answer."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import Batch, Task, depo, depo_graphs, explore, gsm, questions, rule110
from tests.support.explored import CASES, assert_same_batch, depth_beside, make

SPLITS = ("train", "validation", "test")
EVERY = pytest.mark.parametrize("case", CASES)


def read_or_refusal(task: Task, text: str, depth: int | None) -> Batch | str:
    try:
        return explore.read(task, text, depth=depth)
    except InvalidInputError as refused:
        return str(refused)


@EVERY
@pytest.mark.parametrize("split", SPLITS)
def test_what_is_written_reads_back_as_the_same_example(case: str, split: Any) -> None:
    task = make(case)
    for index in range(40):
        example = task.batch(split, index, 1)
        assert_same_batch(explore.read(task, explore.write(task, example), depth=depth_beside(task, example)), example)


@EVERY
def test_one_depth_is_all_that_is_asked_and_the_vocabulary_stays(case: str) -> None:
    task = make(case)
    for depth in explore.known_depths(task)[-3:]:
        one = explore.at_depth(task, depth)
        assert one.vocab == task.vocab
        for split in SPLITS:
            batch = one.batch(split, 0, 40)  # type: ignore[arg-type]
            assert set(batch.coords["depth"][batch.asked].tolist()) == {depth}
            example = batch.rows(3, 4)
            assert_same_batch(explore.read(one, explore.write(one, example), depth=depth), example)


@EVERY
def test_no_depth_leaves_the_mixture(case: str) -> None:
    task = make(case)
    same = explore.at_depth(task, None)
    assert same.config == task.config


@EVERY
def test_the_last_step_of_the_reasoning_is_the_answer_of_the_oracle(case: str) -> None:
    task = make(case)
    batch = task.batch("test", 0, 200)
    solved = task.solve(batch.tokens).reshape(200, batch.n_answers, -1)
    for row in range(200):
        way = explore.reasoning(task, batch.rows(row, row + 1))
        asked = batch.asked[row]
        assert way.sizes["answer"] == int(asked.sum())
        for answer, truth in zip(way.text.values.tolist(), solved[row][asked].tolist(), strict=True):
            last = [step for step in answer if step][-1]
            words = [task.vocab[token] for token in truth if token >= 0]
            assert found_value(way.attrs, last) == (str(int("".join(words))) if task.name == "gsm" else " ".join(words))
        assert ((way.position >= -1) & (way.position < task.seq_len)).all()


def found_value(attrs: dict[str, Any], last: str) -> str:
    """The value that the last step ends with, spelled as answers are."""
    if attrs["form"] == "automaton":
        return last[attrs["asked_cell"]]
    return last if attrs["form"] == "walk" else last.rpartition("= ")[2]


@EVERY
@hypothesis.given(text=st.text(max_size=60), depth=st.none() | st.integers(-1, 40))
@hypothesis.settings(max_examples=50, deadline=None)
def test_garbage_is_refused_in_one_line(case: str, text: str, depth: int | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        explore.read(make(case), text, depth=depth)
    assert "\n" not in str(refused.value)


@EVERY
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_spoiled_example_is_refused_in_one_line_or_is_another_sound_one(case: str, data: st.DataObject) -> None:
    task = make(case)
    example = task.batch("test", data.draw(st.integers(0, 20)), 1)
    text = explore.write(task, example)
    start = data.draw(st.integers(0, len(text)))
    stop = min(start + data.draw(st.integers(0, 12)), len(text))
    piece = data.draw(st.sampled_from(["", " ", "0", "1", "?", " . ", "=", ">", text[:7], text[stop : stop + 9], task.vocab[-1]]))
    changed = text[:start] + piece + text[stop:]
    read = read_or_refusal(task, changed, depth_beside(task, example))
    if isinstance(read, str):
        assert "\n" not in read
        return
    again = explore.read(task, explore.write(task, read), depth=depth_beside(task, read))
    assert_same_batch(again, read)


@EVERY
def test_the_example_of_the_help_is_one(case: str) -> None:
    task = make(case)
    rule, _, text = explore.input_help(task).partition(": ")
    assert rule.startswith("Write ")
    depth = None if explore.depth_in_text(task) else explore.known_depths(task)[0]
    assert explore.read(task, text, depth=depth).size == 1


@pytest.mark.parametrize(
    ("case", "depth", "options", "message"),
    [
        ("rule110", 11, {}, "depth: must be 1 to 10, got 11"),
        ("rule110", True, {}, "depth: must be 1 to 10, got True"),
        ("rule110", 3, {"n_string": 2}, "Rule110Config.n_string: unknown setting; known: width"),
        (
            "rule110",
            3,
            {"rollout_depth": [3]},
            "rollout_depth: must keep the vocabulary, or no model trained on it fits, got [3]",
        ),
        ("rule110", 3, {"depth_weights": None}, "depth_weights: must be left to depth, which is 3, got None"),
        ("depo", 3, {"n_symbols": 13}, "n_symbols: must keep the vocabulary, or no model trained on it fits, got 13"),
        ("depo", 3, {"n_nodes": 4}, "n_queries: must be between 1 and n_nodes=4, got 8"),
        ("depo", None, {"n_hops": 5, "n_nodes": 9}, "n_hops: must keep the vocabulary, or no model trained on it fits, got 5"),
        ("gsm", 9, {}, "depth: must be 1 to 8, got 9"),
        ("gsm", 2, {"n_places": 17}, "n_places: must keep the vocabulary, or no model trained on it fits, got 17"),
        ("affine", 2, {"n_maps": 9}, "n_maps: must keep the vocabulary, or no model trained on it fits, got 9"),
        ("images", 2, {"group": "S3", "written": "elements"}, "group, written: must keep the vocabulary, or no model"),
    ],
)
def test_what_changes_the_vocabulary_or_is_no_depth_is_refused_by_name(
    case: str, depth: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        explore.at_depth(make(case), depth, **options)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("case", "options", "n_answers"),
    [
        ("rule110", {"n_strings": 7}, 7),
        ("depo", {"n_nodes": 5, "n_queries": 3}, 3),
        ("gsm", {"context_len": 300}, 1),
        ("affine", {"n_queries": 1, "window_len": 4}, 1),
    ],
)
def test_the_context_takes_another_size(case: str, options: dict[str, Any], n_answers: int) -> None:
    task = make(case)
    other = explore.at_depth(task, 2, **options)
    batch = other.batch("test", 0, 3)
    assert other.vocab == task.vocab
    assert batch.n_answers == n_answers
    assert set(batch.coords["depth"].flatten().tolist()) == {2}
    assert {name: getattr(other.config, name) for name in options} == options


@EVERY
def test_going_from_depth_to_depth_draws_the_contexts_of_a_task_made_anew(case: str) -> None:
    name, options = CASES[case]
    task = make(case)
    deepest = explore.known_depths(task)[-1]
    along = [explore.at_depth(task, depth).batch("test", 0, 3) for depth in explore.known_depths(task)][-1]
    for cached in (rule110._block, rule110._strings, questions._block, questions._contents, depo._block, gsm._block):
        cached.cache_clear()
    depo_graphs._evaluation_names.cache_clear()
    alone = explore.at_depth(tasks.create(name, **options), deepest).batch("test", 0, 3)
    assert_same_batch(along, alone)
