"""Depo as a task: pure batches, a true oracle, exact laws and floors, held-out cycles."""

import hashlib
import time
from collections import Counter
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.sleep import schedule
from sleepkit.tasks import ANSWER, CONTEXT, NOTHING_ASKED, PAD, QUERY, Batch, Depo
from sleepkit.tasks.audit import true_answers
from sleepkit.tasks.depo_graphs import partial_shuffle, reserved_for_evaluation
from sleepkit.tasks.drawing import shuffled_slots
from tests.support.compare import assert_same_bits

SPLITS = ("train", "validation", "test")
PAPER: dict[str, Any] = {}
PACKED = {"names": "1-2"}
ALIGNED = {"align_edges": True, "n_nodes": 40}
SMALL = {
    "names": "single",
    "n_nodes": 8,
    "n_nodes_law": "fixed",
    "n_symbols": 12,
    "n_hops": 4,
    "test_hops": [1, 2, 3, 4],
    "n_queries": 8,
    "window_len": 32,
    "ask_mark": False,
}
VARIED = {**SMALL, "n_nodes_law": "uniform", "n_hops": 9, "test_hops": [1, 2, 9]}
TIGHT = {"names": "1-2", "n_nodes": 9, "n_symbols": 3, "n_queries": 3, "n_nodes_law": "uniform", "window_len": 18}
EVERY = pytest.mark.parametrize(
    "options", [PAPER, PACKED, ALIGNED, SMALL, VARIED, TIGHT], ids=["paper", "1-2", "aligned", "small", "varied", "tight"]
)
Edge = tuple[str, str]
Question = tuple[int, str, str]


def make(options: dict[str, Any], **changes: Any) -> Depo:
    return tasks.create("depo", **{**options, **changes})


def assert_same_batch(actual: Batch, expected: Batch) -> None:
    for name in ("tokens", "targets", "segment", "answer_id"):
        assert_same_bits(getattr(actual, name), getattr(expected, name), what=name)
    assert actual.coords.keys() == expected.coords.keys()
    for name, coord in actual.coords.items():
        assert_same_bits(coord, expected.coords[name], what=name)


def printed(task: Depo, tokens: torch.Tensor) -> list[str]:
    return [task.vocab[token] for token in tokens.tolist()]


def read(task: Depo, batch: Batch, row: int) -> tuple[list[Edge], list[Question]]:
    """Edges and questions of one example from its printed tokens: a second reader, by words instead of numbers."""
    words = [word for word in printed(task, batch.tokens[row]) if word != "[PAD]"]
    single = task.config.names == "single"
    things: list[str] = []
    begun = ""
    for word in words:
        if word[0] == "Q" or word == "[ANS]":
            things.append(word)
        elif word[0] == "a" and not single:
            begun = word
        else:
            things.append(f"{begun} {word}".strip())
            begun = ""
    first = next(i for i, thing in enumerate(things) if thing[0] == "Q")
    edges = list(zip(things[:first:2], things[1:first:2], strict=True))
    blocks = [things[i : i + 4] for i in range(first, len(things), 4)]
    assert all(block[2] == "[ANS]" for block in blocks)
    return edges, [(int(block[0][1:]), block[1], block[3]) for block in blocks]


def cycles(task: Depo, batch: Batch) -> list[tuple[str, ...]]:
    """Names along each cycle, written from the least."""
    found = []
    for row in range(batch.size):
        edges, _ = read(task, batch, row)
        leads_to = dict(edges)
        path = [min(leads_to)]
        while len(path) < len(edges):
            path.append(leads_to[path[-1]])
        found.append(tuple(path))
    return found


@EVERY
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_agrees_with_the_targets(options: dict[str, Any], split: tasks.Split) -> None:
    task = make(options)
    batch = task.batch(split, 0, 560)  # 18 cases: more than 10,000 examples
    answers = task.solve(batch.tokens)
    truth = true_answers(batch)
    assert_same_bits(answers.reshape(truth.shape), truth)


@EVERY
@pytest.mark.parametrize("split", SPLITS)
def test_every_example_is_one_cycle_and_every_answer_lies_its_hops_along_it(options: dict[str, Any], split: tasks.Split) -> None:
    task = make(options)
    batch = task.batch(split, 2, 20)
    for row in range(batch.size):
        edges, questions = read(task, batch, row)
        n, leads_to = len(edges), dict(edges)
        assert len(leads_to) == n
        assert len(questions) == min(n, task.config.n_queries) == int(batch.asked[row].sum())
        assert len({start for _, start, _ in questions}) == len(questions)
        (cycle,) = cycles(task, batch.rows(row, row + 1))
        assert len(set(cycle)) == n
        for number, (n_hops, start, answer) in enumerate(questions):
            assert answer == cycle[(cycle.index(start) + n_hops) % n]
            wrapped = n_hops % n
            coords = {name: int(values[row, number]) for name, values in batch.coords.items()}
            assert coords == {"depth": n_hops, "wrapped": wrapped, "shortest": min(wrapped, n - wrapped), "n_nodes": n}
        for values in batch.coords.values():
            assert (values[row, len(questions) :] == 0).all()


@EVERY
def test_context_is_padded_on_the_left_and_the_questions_on_the_right(options: dict[str, Any]) -> None:
    task = make(options)
    batch = task.batch("train", 0, 60)
    start = task.context_len
    assert batch.tokens.shape[1] == task.seq_len == start + task.config.question_len
    assert_same_bits(batch.tokens == 0, batch.segment == PAD)
    assert set(batch.segment[:, :start].unique().tolist()) <= {PAD, CONTEXT}
    question = batch.segment[:, start:]
    assert (question[:, 0] == QUERY).all()
    assert ((question != PAD).int().diff(dim=1) <= 0).all()  # once padding starts it goes on
    if not task.config.align_edges:
        assert ((batch.segment[:, :start] != PAD).int().diff(dim=1) >= 0).all()
        assert (batch.segment[:, start - 1] == CONTEXT).all()
    windows = schedule(batch, task.window_len)
    assert [window.asleep for window in windows] == [True] * (len(windows) - 1) + [False]
    assert (windows[-1].start, windows[-1].stop) == (start, task.seq_len)


@EVERY
def test_targets_are_the_name_after_the_mark_and_the_mark_itself_if_asked(options: dict[str, Any]) -> None:
    task = make(options)
    batch = task.batch("train", 1, 30)
    mark = task.vocab.index("[ANS]")
    for row in range(batch.size):
        tokens, kind, owner = batch.tokens[row].tolist(), batch.segment[row].tolist(), batch.answer_id[row].tolist()
        number = -1
        for position, target in enumerate(batch.targets[row].tolist()):
            following = tokens[position + 1] if position + 1 < len(tokens) else 0
            number += tokens[position] == mark
            answers = position + 1 < len(tokens) and kind[position + 1] == ANSWER
            names_mark = following == mark and task.config.ask_mark
            assert target == (following if answers or names_mark else NOTHING_ASKED)
            assert owner[position] == (number if answers else -1)


def test_the_size_of_the_paper_is_four_windows_of_context_and_ten_questions_of_six_tokens() -> None:
    task = make(PAPER)
    assert (task.context_len, task.seq_len, task.window_len, len(task.vocab)) == (300, 360, 75, 118)
    batch = task.batch("test", 0, 3)
    assert [tuple(window)[:3] for window in schedule(batch, 75)] == [
        (0, 75, True),
        (75, 150, True),
        (150, 225, True),
        (225, 300, True),
        (300, 360, False),
    ]
    first = printed(task, batch.tokens[0, 300:306])
    assert [word[0] for word in first] == ["Q", "a", "b", "[", "a", "b"]


@pytest.mark.parametrize(
    "changes", [{}, {"n_nodes": 75, "window_len": 75}, {"names": "single", "n_symbols": 99, "window_len": 41}]
)
def test_aligned_edges_are_not_cut_by_a_window_edge(changes: dict[str, Any]) -> None:
    task = make(ALIGNED, **changes)
    batch = task.batch("test", 0, 4)
    length = task.config.edge_len
    for row in range(batch.size):
        inside = (batch.segment[row, : task.context_len] == CONTEXT).view(-1, task.window_len).sum(dim=1)
        assert (inside % length == 0).all()
        assert int(inside.sum()) == task.config.n_nodes * length
    assert task.context_len % task.window_len == 0


@hypothesis.given(
    options=st.sampled_from([PAPER, PACKED, SMALL, VARIED, TIGHT]),
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 60),
    size=st.integers(1, 90),
)
def test_two_batches_are_the_halves_of_one_of_twice_the_size(
    options: dict[str, Any], split: tasks.Split, index: int, size: int
) -> None:
    task = make(options)
    both = task.batch(split, index, 2 * size)
    assert_same_batch(both.rows(0, size), task.batch(split, 2 * index, size))
    assert_same_batch(both.rows(size, 2 * size), task.batch(split, 2 * index + 1, size))


def test_batches_do_not_depend_on_the_order_of_access_or_on_global_generators() -> None:
    requests = [(split, index) for split in SPLITS for index in (0, 15, 16, 34)]
    first = {request: make(VARIED).batch(*request, 128) for request in requests}
    torch.manual_seed(3)
    for request in reversed(requests):
        assert_same_batch(make(VARIED).batch(*request, 128), first[request])


def test_a_block_edge_inside_a_batch_is_invisible() -> None:
    task = make(PACKED)
    across = task.batch("train", 1, 1500)  # examples 1500 to 3000; blocks are drawn by 2048
    for number in (2047, 2048):
        assert_same_batch(across.rows(number - 1500, number - 1499), task.batch("train", number, 1))


def test_a_batch_can_be_changed_without_changing_the_next() -> None:
    task = make(SMALL)
    first = task.batch("train", 0, 8)
    kept = first.tokens.clone()
    first.tokens.zero_()
    assert_same_bits(task.batch("train", 0, 8).tokens, kept)


def chi_squared_is_plausible(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts follow the expectation, within 4 sigma of chi squared."""
    freedom = len(counts) - 1
    return float((np.square(counts - expected) / expected).sum()) <= freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("law", ["inverse", "uniform", "fixed"])
def test_training_draws_cycle_sizes_by_the_law(law: str) -> None:
    task = make(PAPER, n_nodes_law=law, n_nodes_min=5)
    sizes = task.batch("train", 0, 8000).coords["n_nodes"][:, 0].numpy()
    if law == "fixed":
        assert (sizes == 75).all()
        return
    n = np.arange(5, 76)
    weights = 1 / (n + 75**0.5) if law == "inverse" else np.ones(len(n))
    counts = np.bincount(sizes, minlength=76)
    assert counts[:5].sum() == 0
    assert chi_squared_is_plausible(counts[5:], 8000 * weights / weights.sum())


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, [1] * 16),
        ({"train_hops": [3, 16]}, [0, 0, 1, *[0] * 12, 1]),
        ({"train_hops": [1, 2, 4], "hop_weights": [3, 0, 1]}, [3, 0, 0, 1, *[0] * 12]),
    ],
)
def test_training_draws_hops_by_the_law(changes: dict[str, Any], weights: list[int]) -> None:
    task = make(PAPER, n_nodes_law="fixed", **changes)
    hops = task.batch("train", 0, 2000).coords["depth"].numpy().ravel()
    law = np.array(weights)
    counts = np.bincount(hops, minlength=17)[1:]
    assert (counts[law == 0] == 0).all()
    assert chi_squared_is_plausible(counts[law > 0], len(hops) * law[law > 0] / law.sum())


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(("options", "run"), [(PAPER, 1), ({**SMALL, "test_hops": [1, 2, 4]}, 3), ({"n_queries": 3}, 5)])
def test_evaluation_asks_full_cycles_each_number_of_hops_equally_often(
    options: dict[str, Any], run: int, split: tasks.Split
) -> None:
    task = make(options)
    coords = task.batch(split, 0, 4200).coords
    assert (coords["n_nodes"] == task.config.n_nodes).all()
    grid = list(task.config.grid)
    for start in (0, 7, 2047, 4100):
        counts = Counter(coords["depth"][start : start + run].ravel().tolist())
        assert sorted(counts) == grid
        assert len(set(counts.values())) == 1
    first = np.bincount(coords["depth"][:, 0].numpy())[grid]
    assert chi_squared_is_plausible(first, np.full(len(grid), first.mean()))  # no place is bound to a number of hops


@pytest.mark.parametrize("options", [SMALL, VARIED, TIGHT])
def test_training_never_shows_a_cycle_that_evaluation_may_show(options: dict[str, Any]) -> None:
    task = make(options)
    assert task.config.split_by_content
    shown = {split: set(cycles(task, task.batch(split, 0, 1500))) for split in SPLITS}
    assert not shown["train"] & shown["test"]
    assert not shown["train"] & shown["validation"]


def test_at_the_size_of_the_paper_streams_do_not_meet() -> None:
    task = make(PAPER)
    assert not task.config.split_by_content
    batches = [task.batch(split, index, 64) for split in SPLITS for index in (0, 1)] + [make(PAPER, seed=1).batch("test", 0, 64)]
    rows = [row.tobytes() for batch in batches for row in batch.tokens.numpy()]
    assert len(set(rows)) == len(rows)


@hypothesis.given(seed=st.integers(0, 2**32), n=st.integers(2, 9), extra=st.integers(0, 3))
def test_whether_a_cycle_is_held_out_depends_neither_on_its_start_nor_on_what_stands_behind_it(
    seed: int, n: int, extra: int
) -> None:
    rng = np.random.default_rng(seed)
    names = np.stack([rng.permutation(20)[: n + extra] for _ in range(64)])
    size = np.full(64, n)
    turned = np.concatenate([np.roll(names[:, :n], 2, axis=1), rng.integers(0, 20, (64, extra))], axis=1)
    assert (reserved_for_evaluation(names, size) == reserved_for_evaluation(turned, size)).all()


def test_one_cycle_in_64_is_held_out() -> None:
    rng = np.random.default_rng(0)
    names = rng.permuted(np.tile(np.arange(12), (64_000, 1)), axis=1)[:, :8]
    share = reserved_for_evaluation(names, np.full(len(names), 8)).mean()
    assert abs(share - 1 / 64) <= 4 * np.sqrt(1 / 64 / 64_000)


def test_names_and_neighbours_are_uniform() -> None:
    task = make(SMALL, n_symbols=9)
    batch = task.batch("train", 0, 3000)
    edges = Counter(edge for row in range(batch.size) for edge in read(task, batch, row)[0])
    assert len(edges) == 72
    assert chi_squared_is_plausible(np.array(list(edges.values())), np.full(72, 3000 * 8 / 72))


def test_names_of_two_lengths_follow_draws_until_new() -> None:
    """The law of the draw, made slowly: a length, then its tokens, until the name is new."""
    rng = np.random.default_rng(1)
    task = make(TIGHT, n_nodes_law="fixed")
    expected = []
    for _ in range(4000):
        names: set[tuple[int, ...]] = set()
        while len(names) < 9:
            names.add(tuple(rng.integers(0, 3, rng.integers(1, 3)).tolist()))
        expected.append(sum(len(name) == 1 for name in names))
    batch = task.batch("train", 0, 4000)
    n_first = ((batch.tokens >= 1) & (batch.tokens <= 3) & (batch.segment == CONTEXT)).sum(dim=1).numpy() // 2
    actual = 9 - n_first
    spread = np.sqrt((np.var(expected) + np.var(actual)) / 4000)
    assert abs(np.mean(expected) - np.mean(actual)) <= 4 * spread


@pytest.mark.parametrize("size", [5, 40])
def test_partial_shuffles_are_distinct_and_uniform(size: int) -> None:
    words = np.random.default_rng(0).integers(0, 2**32, (20_000, 3), dtype=np.uint64)
    picked = partial_shuffle(words, size)
    assert all(len(set(row)) == 3 for row in picked[:2000].tolist())
    for column in picked.T:
        assert chi_squared_is_plausible(np.bincount(column, minlength=size), np.full(size, 20_000 / size))


def test_slots_hold_each_node_once_and_absent_ones_first() -> None:
    words = np.random.default_rng(0).integers(0, 2**64, (200, 7), dtype=np.uint64)
    n_nodes = np.arange(200) % 7 + 1
    slots = shuffled_slots(words, n_nodes)
    assert (np.sort(slots, axis=1) == np.arange(7)).all()
    for row, n in zip(slots, n_nodes, strict=True):
        assert (row[: 7 - n] >= n).all()
        assert (row[7 - n :] < n).all()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("options", [SMALL, {**VARIED, "n_nodes_law": "inverse"}, TIGHT])
def test_floors_are_what_guessing_scores(options: dict[str, Any], split: tasks.Split) -> None:
    """Chance: a random name of the cycle; constant: always one name, or the name asked about."""
    task, rng = make(options), np.random.default_rng(0)
    floor = task.floor(split)
    assert floor.source == "exact"
    batch = task.batch(split, 0, 3000)
    right = {name: Counter[int]() for name in ("chance", "same", "echo")}
    total: Counter[int] = Counter()
    constant = "a" if task.config.names == "single" else "b0"
    for row in range(batch.size):
        edges, questions = read(task, batch, row)
        for n_hops, start, answer in questions:
            total[n_hops] += 1
            right["chance"][n_hops] += edges[int(rng.integers(len(edges)))][0] == answer
            right["same"][n_hops] += answer == constant
            right["echo"][n_hops] += answer == start
    assert sorted(total) == floor.depth.tolist()
    for column, depth in enumerate(floor.depth.tolist()):
        slack = 4.5 * np.sqrt(0.25 / total[depth])
        assert abs(right["chance"][depth] / total[depth] - floor.chance[column]) <= slack
        best = max(right["same"][depth], right["echo"][depth]) / total[depth]
        assert abs(best - floor.constant[column]) <= slack


def test_floors_at_the_size_of_the_paper() -> None:
    floor = make(PAPER).floor("test")
    assert floor.depth.tolist() == [1, 2, 4, 8, 16]
    np.testing.assert_allclose(floor.chance, 1 / 75)
    np.testing.assert_allclose(floor.constant, 1 / 2500)
    np.testing.assert_allclose(floor.exact_chance, 75.0**-10)
    np.testing.assert_allclose(floor.exact_constant, 0.0)
    assert make(PAPER).floor().depth.tolist() == list(range(1, 17))
    assert make(SMALL, n_hops=8, test_hops=[4, 8]).floor("test").constant.tolist() == [1 / 12, 1.0]  # 8 hops come back


GOLDEN = {
    ("paper", "train"): "2a79b6b3d48c351750d78eefd574671f",
    ("paper", "validation"): "982f29496187051f8743afac5072ae1c",
    ("paper", "test"): "e851dda850fa1b4dfe04589ec2f24e18",
    ("1-2", "train"): "464cf43edd95d35e7c542ab52c80dd82",
    ("1-2", "validation"): "383d5cf7e61729ca6e5c24aeb43719cc",
    ("1-2", "test"): "2bea5c37efc0c78b052f8bfa2f2d00a6",
    ("small", "train"): "e4f76512236a0a1504738549af059c34",
    ("small", "validation"): "8e9a7f035146b855ecaff26cb626d387",
    ("small", "test"): "5e8a5c469d50e37d1e46404ac3630ae9",
}


@pytest.mark.parametrize(("kind", "split"), GOLDEN)
def test_the_first_batch_is_the_one_it_always_was(kind: str, split: tasks.Split) -> None:
    options = {"paper": PAPER, "1-2": PACKED, "small": SMALL}[kind]
    batch = make(options).batch(split, 0, 512)
    parts = (batch.tokens, batch.targets, batch.segment, batch.answer_id, *(batch.coords[name] for name in sorted(batch.coords)))
    content = b"".join(part.numpy().astype("<i8").tobytes() for part in parts)
    assert hashlib.blake2b(content, digest_size=16).hexdigest() == GOLDEN[kind, split]


@pytest.mark.parametrize(
    ("name", "rule", "options"),
    [
        ("n_nodes", r"must be between 2 and 1024, got 1$", {"n_nodes": 1}),
        ("n_nodes", r"must be an integer, got 7\.5$", {"n_nodes": 7.5}),
        ("n_nodes_min", r"must be between 2 and n_nodes=75, got 76$", {"n_nodes_min": 76}),
        ("n_nodes_law", r"must be one of 'inverse', 'uniform', 'fixed', got 'square'$", {"n_nodes_law": "square"}),
        ("n_hops", r"must be between 1 and 1024, got 0$", {"n_hops": 0}),
        ("train_hops", r"must be distinct hops in rising order, got \(2, 1\)$", {"train_hops": [2, 1]}),
        ("train_hops", r"must name at least one number of hops, got \(\)$", {"train_hops": []}),
        ("test_hops", r"must lie in 1\.\.n_hops=16, got \(1, 17\)$", {"test_hops": [1, 17]}),
        ("hop_weights", r"must have one weight for each of 16 hops, got \(1\.0,\)$", {"hop_weights": [1]}),
        ("hop_weights", r"must be >= 0 with a positive sum, got \(0\.0,\)$", {"hop_weights": [0], "train_hops": [1]}),
        ("n_queries", r"must be between 1 and n_nodes=75, got 0$", {"n_queries": 0}),
        ("n_queries", r"must be between 1 and n_nodes=8, got 10$", {"n_nodes": 8}),
        ("n_symbols", r"must be between 2 and 256, got 1$", {"n_symbols": 1}),
        ("n_symbols", r"must give n_nodes=75 different names, not 64, got 8$", {"n_symbols": 8}),
        (
            "n_symbols",
            r"must allow 1024 different cycles of n_nodes=6, .*, got 6$",
            {**SMALL, "n_nodes": 6, "n_symbols": 6, "n_queries": 1},
        ),
        ("names", r"must be one of 'fixed', '1-2', 'single', got 'long'$", {"names": "long"}),
        ("window_len", r"must hold the question block of 60 tokens, got 59$", {"window_len": 59}),
        (
            "align_edges",
            r"needs edges of one length: names 'fixed' or 'single', got True$",
            {"align_edges": True, "names": "1-2"},
        ),
        ("seed", r"must be in \[0, 2\^63\), got -1$", {"seed": -1}),
        ("DepoConfig.hops", "unknown setting", {"hops": 3}),
    ],
)
def test_impossible_options_are_refused_in_one_line_with_the_rule(name: str, rule: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: {rule}") as refused:
        tasks.create("depo", **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tokens: tokens[0],
        lambda tokens: tokens + 1,
        lambda tokens: tokens.flip(1),
        lambda tokens: tokens[:, 4:],
        lambda tokens: torch.cat([tokens[:, :4], tokens], dim=1),
        lambda tokens: tokens[:, : -SMALL["n_queries"] * 4 + 1],
    ],
)
def test_the_oracle_refuses_what_is_no_example(spoil: Any) -> None:
    task = make(SMALL)
    with pytest.raises(InvalidInputError, match=r"^tokens: must "):
        task.solve(spoil(task.batch("test", 0, 20).tokens))


def test_the_oracle_does_not_look_at_the_answers_shown() -> None:
    task = make(PAPER)
    tokens = task.batch("test", 0, 10).tokens
    truth = task.solve(tokens)
    tokens[:, 304::6], tokens[:, 305::6] = 1, 51
    assert_same_bits(task.solve(tokens), truth)


@EVERY
def test_a_rendering_shows_cycle_windows_paths_and_verdicts(options: dict[str, Any]) -> None:
    task = make(options)
    batch = task.batch("test", 0, 2)
    truth = task.solve(batch.tokens)
    predicted = truth.clone()
    predicted[1, 0] = truth[1, 1]
    text = task.render(batch, 1, predicted)
    edges, questions = read(task, batch, 1)
    assert text.startswith(f"cycle of {len(edges)}: ")
    assert text.count("window ends") == -(-task.context_len // task.window_len)
    assert (text.count("(right)"), text.count("(wrong)")) == (len(questions) - 1, 1)
    for number, (n_hops, start, answer) in enumerate(questions):
        (line,) = [line for line in text.splitlines() if line.startswith(f"question {number}, {n_hops} hops")]
        assert f": {start} -> " in line
        assert line.endswith(f" -> {answer}")
    assert "the model says" not in task.render(batch, 0)


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_outside_the_batch_is_refused(row: int) -> None:
    task = make(SMALL)
    with pytest.raises(InvalidInputError, match=r"row: must be in \[0, 2\)"):
        task.render(task.batch("test", 0, 2), row)


def test_one_core_makes_at_least_two_million_tokens_a_second() -> None:
    """A loose floor that a tenfold slip would break; ``sleepkit tasks bench depo`` measures the speed itself."""
    task = make(PAPER, seed=12345)
    began, n_tokens = time.process_time(), 0
    for index in range(8):
        n_tokens += task.batch("train", index, 1024).tokens.numel()
    assert n_tokens / (time.process_time() - began) >= 2e6
