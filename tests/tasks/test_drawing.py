"""A few examples of a block are drawn without the others, and are the same ones."""

import numpy as np
import pytest
import torch

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.tasks.base import Batch, cuts
from sleepkit.tasks.drawing import RowsOf, below, first_words, skip

CASES = {
    "rule110": {"n_strings": 3, "rollout_depth": (1, 2, 4)},
    "rule110 at weights": {"n_strings": 2, "rollout_depth": (1, 2, 4, 8, 16), "depth_weights": (1.0, 0.0, 2.0, 1.0, 3.0)},
    "depo": {"n_nodes": 9, "n_nodes_min": 4, "n_queries": 3, "n_symbols": 12, "names": "single", "window_len": 24},
    "depo with names of two lengths": {"n_nodes": 11, "n_queries": 3, "n_symbols": 12, "names": "1-2", "window_len": 40},
    "depo in a small space": {"n_nodes": 7, "n_queries": 3, "n_symbols": 7, "names": "1-2", "window_len": 40},
    "gsm": {},
    "affine": {},
    "circuit": {},
    "permutations": {},
    "pointer-chasing": {},
}
# Blocks have 256 to 4096 examples.
PLACES = (0, 1, 5, 31, 255, 256, 1023, 1024, 2047, 2048, 4095, 4096)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_example_drawn_alone_is_the_one_of_whole_blocks(case: str, split: tasks.Split) -> None:
    task = tasks.create(case.split()[0], **CASES[case])
    whole = task.batch(split, 0, 4224)
    for place in PLACES:
        assert same(task.batch(split, place, 1), whole.rows(place, place + 1)), place
    assert same(task.batch(split, 4, 7), whole.rows(28, 35))


@pytest.mark.parametrize("n_words", [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("n_before", [0, 1, 2, 3, 4, 7])
def test_words_skipped_are_words_drawn(n_before: int, n_words: int) -> None:
    drawn, skipped = np.random.Philox(key=7), np.random.Philox(key=7)
    for source in (drawn, skipped):
        source.random_raw(n_before)
    drawn.random_raw(n_words)
    skip(skipped, n_words)
    assert (drawn.random_raw(9) == skipped.random_raw(9)).all()


def test_rows_of_a_draw_are_the_rows_of_the_whole_draw() -> None:
    whole, part = np.random.Philox(key=3), np.random.Philox(key=3)
    rows = RowsOf(part, 2, 5, 8)
    for n_columns in (3, 1, 6):
        assert (below(rows, (3, n_columns), 100) == below(whole, (8, n_columns), 100)[2:5]).all()
    assert (first_words(part, 2, 6) == whole.random_raw(6)[:2]).all()
    assert (part.random_raw(4) == whole.random_raw(4)).all()


def test_rows_that_differ_in_length_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="random_raw: must draw as many words for each of 3 rows, got 4"):
        RowsOf(np.random.Philox(key=3), 2, 5, 8).random_raw(4)


def test_few_examples_draw_few_and_many_draw_whole_blocks() -> None:
    assert [cut.n_drawn for cut in cuts(1024, 0, 1)] == [1]
    assert [cut.n_drawn for cut in cuts(1024, 37, 38)] == [64]
    assert [cut.n_drawn for cut in cuts(1024, 1020, 1030)] == [1024, 8]
    assert [cut.n_drawn for cut in cuts(1024, 0, 512)] == [1024]


def same(batch: Batch, other: Batch) -> bool:
    pairs = [(batch.tokens, other.tokens), (batch.targets, other.targets), (batch.segment, other.segment)]
    pairs += [(batch.answer_id, other.answer_id), *((batch.coords[name], other.coords[name]) for name in batch.coords)]
    return batch.coords.keys() == other.coords.keys() and all(torch.equal(one, two) for one, two in pairs)
