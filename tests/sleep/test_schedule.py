"""Where a sequence is cut into windows."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.sleep import SleepConfig, schedule
from sleepkit.sleep.schedule import as_batch
from tests.support.batches import ask_at_the_end, pad_left, stack
from tests.support.doors import as_users_call_it
from tests.support.models import random_tokens


def cuts(batch: tasks.Batch | torch.Tensor, window_len: int) -> list[tuple[int, int, bool, bool]]:
    return [tuple(window) for window in schedule(as_batch(batch), window_len)]


def test_the_context_is_cut_at_multiples_of_the_window_and_the_question_stands_alone() -> None:
    batch = ask_at_the_end(random_tokens(2, 13), 3)
    assert cuts(batch, 4) == [(0, 4, True, False), (4, 8, True, False), (8, 10, True, False), (10, 13, False, False)]


def test_the_question_never_shares_the_window_of_the_last_context_tokens() -> None:
    batch = ask_at_the_end(random_tokens(1, 8), 2)
    assert cuts(batch, 8) == [(0, 6, True, False), (6, 8, False, False)]


@hypothesis.given(context_len=st.integers(0, 40), n_asked=st.integers(0, 6), window_len=st.integers(6, 20))
def test_windows_tile_the_sequence_and_are_never_too_long(context_len: int, n_asked: int, window_len: int) -> None:
    hypothesis.assume(context_len + n_asked > 0)
    tokens = random_tokens(1, context_len + n_asked)
    windows = schedule(ask_at_the_end(tokens, n_asked) if n_asked else as_batch(tokens), window_len)
    assert [w.start for w in windows] == [0, *(w.stop for w in windows[:-1])]
    assert windows[-1].stop == context_len + n_asked
    assert max(w.stop - w.start for w in windows) <= window_len
    assert [w.asleep for w in windows] == [w.stop <= context_len for w in windows]
    assert all(w.start % window_len == 0 for w in windows if w.asleep)


def test_plain_tokens_are_context_throughout() -> None:
    assert cuts(random_tokens(2, 5), 3) == [(0, 3, True, False), (3, 5, True, False)]


def test_a_query_longer_than_one_token_belongs_to_the_question() -> None:
    batch = ask_at_the_end(random_tokens(1, 10), 2)
    batch.segment[:, 6:8] = tasks.QUERY
    assert cuts(batch, 6) == [(0, 6, True, False), (6, 10, False, False)]


def test_windows_of_padding_alone_are_skipped_and_the_others_know_of_theirs() -> None:
    batch = pad_left(ask_at_the_end(random_tokens(2, 8), 2), 6)
    assert cuts(batch, 4) == [(4, 8, True, True), (8, 12, True, False), (12, 14, False, False)]


def test_a_window_is_skipped_only_if_it_is_padding_in_every_example() -> None:
    short = pad_left(ask_at_the_end(random_tokens(1, 6), 2), 4)
    full = ask_at_the_end(random_tokens(1, 10), 2)
    assert cuts(stack(short, full), 4) == [(0, 4, True, True), (4, 8, True, False), (8, 10, False, False)]


@pytest.mark.parametrize("window_len", [1, 3])
def test_a_label_block_longer_than_the_window_is_refused(window_len: int) -> None:
    with pytest.raises(InvalidInputError, match=f"window_len: must hold the label block of 4 tokens, got {window_len}"):
        schedule(ask_at_the_end(random_tokens(2, 9), 4), window_len)


def test_the_paper_s_rule_110_has_one_window_per_string_and_one_for_the_question() -> None:
    task = tasks.create("rule110", width=24, n_strings=4, rollout_depth=8)
    expected = [*((24 * i, 24 * i + 24, True, False) for i in range(4)), (96, 100, False, False)]
    assert cuts(task.batch("train", 0, 2), task.window_len) == expected


@pytest.mark.parametrize("bad", [[[1, 2]], torch.zeros(3, dtype=torch.int64), None])
def test_what_is_neither_a_batch_nor_a_matrix_of_tokens_is_refused(bad: object) -> None:
    with pytest.raises(InvalidInputError, match=r"batch: must be a Batch or tokens \[B, T\]"):
        as_users_call_it(as_batch)(bad)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("n_passes", {"n_passes": 0}),
        ("n_passes", {"n_passes": 2.5}),
        ("n_passes", {"n_passes": True}),
        ("window_len", {"window_len": 0}),
        ("eviction", {"eviction": "soft"}),
        ("SleepConfig.naps", {"naps": 3}),
    ],
)
def test_impossible_sleep_is_refused_by_the_name_of_the_setting(name: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: "):
        SleepConfig(**options)
