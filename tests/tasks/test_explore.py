"""What the explorer asks of every task: one depth at a time, own examples that are checked, the way to every answer."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import Batch, Task, explore
from tests.support.compare import assert_same_bits

SPLITS = ("train", "validation", "test")
SINGLE: dict[str, Any] = {"names": "single", "n_nodes": 8, "n_symbols": 12, "n_hops": 4, "n_queries": 8, "window_len": 32}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rule110": ("rule110", {"width": 16, "rollout_depth": list(range(1, 11))}),
    "rule110-fixed": ("rule110", {"width": 64, "n_strings": 2, "rollout_depth": 12, "strings_per_window": 2}),
    "depo": ("depo", {**SINGLE, "test_hops": [1, 2, 3, 4]}),
    "depo-paper": ("depo", {}),
    "depo-1-2": ("depo", {"names": "1-2", "n_nodes": 9, "n_symbols": 3, "n_queries": 3, "window_len": 18}),
    "depo-aligned": ("depo", {"align_edges": True, "n_nodes": 40}),
    "gsm": ("gsm", {}),
    "gsm-last": ("gsm", {"n_ops": 5, "question": "last", "modulus": 23, "max_constant": 9}),
    "gsm-english": ("gsm", {"n_ops": 3, "rendering": "english", "modulus": 23, "context_len": 700, "window_len": 300}),
    "gsm-leaves": ("gsm", {"n_ops": 2, "forms": ["leaf", "copy"], "question": "last"}),
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


def make(case: str) -> Task:
    name, options = CASES[case]
    return tasks.create(name, **options)


def depth_beside(task: Task, batch: Batch) -> int | None:
    """The depth to give beside a written example: the one of all questions, None if it stands in the text."""
    depths = set(batch.coords["depth"][batch.asked].tolist())
    return None if explore.depth_in_text(task) or len(depths) > 1 else depths.pop()


def assert_same_batch(actual: Batch, expected: Batch) -> None:
    for name in ("tokens", "targets", "segment", "answer_id"):
        assert_same_bits(getattr(actual, name), getattr(expected, name), what=name)
    assert actual.coords.keys() == expected.coords.keys()
    for name, coord in actual.coords.items():
        assert_same_bits(coord, expected.coords[name], what=name)


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


def test_a_text_that_is_too_long_is_refused_before_it_is_read() -> None:
    task = make("rule110")
    with pytest.raises(InvalidInputError, match=r"^text: must have at most 20000 characters, got 20001$"):
        explore.read(task, "0" * 20_001, depth=1)


@pytest.mark.parametrize(
    ("case", "text", "depth", "message"),
    [
        ("rule110", "0110", 1, "text: string 1 must have 16 cells, not 4, got '0110'"),
        ("rule110", "01" * 8 + " 0x1", 1, "text: string 2 must hold cells 0 and 1, not 'x', got '0x1'"),
        ("rule110", " ".join(["01" * 8] * 3), 1, "text: the number of strings must be 4, got '3'"),
        ("rule110", "t=1 t=2 " + "01" * 8, None, "text: string 1 must have one depth at most, got 't=2'"),
        ("rule110", " ".join(["01" * 8] * 4) + " t=2", 1, "text: a depth must stand before a string, got 't=2'"),
        ("rule110", " ".join(["t=11 " + "01" * 8] * 4), None, "text: depths must be among 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, got"),
        ("rule110", "01" * 8, None, "depth: must be given where the text names none, as in string 1, got None"),
        ("rule110", "t=2 " + "01" * 8, 3, "depth: must be None or what the text names, 2 in string 1, got 3"),
        ("rule110", "01" * 8, 11, "depth: must be one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, got 11"),
        ("rule110-fixed", "01" * 32, 11, "depth: must be one of 12, got 11"),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_its_place_and_rule(case: str, text: str, depth: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        explore.read(make(case), text, depth=depth)
    assert str(refused.value).startswith(message)
