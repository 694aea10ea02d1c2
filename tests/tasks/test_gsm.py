"""GSM as a task: exact operation counts, a true oracle, facts that hide the needed ones, pure batches, sampled floors."""

import hashlib
import re
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
from sleepkit.seeds import stream
from sleepkit.sleep import schedule
from sleepkit.tasks import ANSWER, CONTEXT, NOTHING_ASKED, PAD, QUERY, Batch, Gsm, gsm_audit
from sleepkit.tasks.audit import true_answers
from sleepkit.tasks.gsm_graph import drawer, words_of
from sleepkit.tasks.gsm_oracle import Question, Solution, Statement, read, resolve
from tests.support.compare import assert_same_bits

SPLITS = ("train", "validation", "test")
SYMBOLS: dict[str, Any] = {}
ENGLISH = {"rendering": "english"}
MODULO = {"modulus": 23, "question": "last", "context_len": 300}
ENGLISH_LAST = {"rendering": "english", "modulus": 7, "question": "last"}
CHAINS = {"forms": ["leaf", "plus", "difference"], "n_ops": 12, "train_ops": [1, 7, 12], "test_ops": [12], "sharing": 0.0}
DENSE = {"sharing": 1.0, "max_value": 99, "n_ops": 20, "test_ops": [2, 19], "n_totals": 6, "n_kinds": 14, "max_items": 2}
EVERY = pytest.mark.parametrize(
    "options",
    [SYMBOLS, ENGLISH, MODULO, ENGLISH_LAST, CHAINS, DENSE],
    ids=["symbols", "english", "modulo", "english last", "chains", "dense"],
)


def make(options: dict[str, Any], **changes: Any) -> Gsm:
    return tasks.create("gsm", **{**options, **changes})


def assert_same_batch(actual: Batch, expected: Batch) -> None:
    for name in ("tokens", "targets", "segment", "answer_id"):
        assert_same_bits(getattr(actual, name), getattr(expected, name), what=name)
    assert actual.coords.keys() == expected.coords.keys()
    for name, coord in actual.coords.items():
        assert_same_bits(coord, expected.coords[name], what=name)


def words(task: Gsm, batch: Batch, row: int) -> list[str]:
    return [task.vocab[token] for token in batch.tokens[row].tolist()]


BY_HAND = "k1 p2 = 3 + k0 p1 . k7 p7 = k0 p1 . k0 p1 = all 2 p5 . k3 p5 = 4 . k2 p5 = 2 * k3 p5 . k4 p4 = k7 p7 - k3 p5 ."


@pytest.mark.parametrize(
    ("asked", "value", "n_ops", "chain", "needed"),
    [
        ("k3 p5", 4, 1, 1, 1),
        ("k2 p5", 8, 3, 2, 2),
        ("k0 p1", 12, 5, 3, 3),
        ("k1 p2", 15, 7, 4, 4),
        ("k7 p7", 12, 6, 4, 4),
        ("k4 p4", 8, 8, 5, 5),
    ],
)
def test_the_oracle_solves_problems_written_by_hand(asked: str, value: int, n_ops: int, chain: int, needed: int) -> None:
    for text in (f"? {asked} {BY_HAND} [ANS] 0 0", f"[PAD] [PAD] {BY_HAND} ? {asked} [ANS]"):
        solution = resolve(*read(text.split()))
        assert (solution.value, solution.n_ops, solution.chain, len(solution.values)) == (value, n_ops, chain, needed)


def test_the_oracle_reads_every_english_sentence() -> None:
    text = (
        "Question: what is the number of hats in the mill , modulo 23 ? "
        "The number of hats in the mill is 2 times the number of cups in the inn . "
        "The number of cups in the inn is the number of eggs in the hut minus the number of jars in the hut . "
        "The number of eggs in the hut is "
        "3 more than the sum of the number of jars in the hut and the number of oars in the barn . "
        "The number of jars in the hut equals the number of nails in the barn . "
        "The number of oars in the barn is the total of all 2 goods in the shed . "
        "The number of nails in the barn is 4 . The number of pots in the shed is 1 . "
        "The number of pans in the shed is "
        "the sum of the number of pots in the shed , the number of nails in the barn and the number of jars in the hut . "
        "The number of lids in the barn is the number of pots in the shed plus the number of hats in the mill . Answer: 9 9"
    )
    question, statements = read(text.split())
    assert (question.modulus, len(statements)) == (23, 9)
    solution = resolve(question, statements)
    assert solution.values["oars", "barn"] == 1 + (1 + 4 + 4) == 10
    assert (solution.value, solution.n_ops) == (2 * (3 + 4 + 10 - 4), 2 + 2 + 3 + 1 + 2 + 1 + 1 + 3)
    assert resolve(Question(("lids", "barn"), None), statements).value == 27


@EVERY
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_agrees_with_the_targets(options: dict[str, Any], split: tasks.Split) -> None:
    task = make(options)
    batch = task.batch(split, 0, 120)
    truth = true_answers(batch)
    assert_same_bits(task.solve(batch.tokens).reshape(truth.shape), truth)


@EVERY
def test_operations_are_exact_needed_sentences_needed_and_all_others_idle(options: dict[str, Any]) -> None:
    task = make(options)
    for split in SPLITS:
        for what, broken in task.checks(task.batch(split, 1, 24)).items():
            assert not broken.any(), f"{split}: {what}"


@EVERY
def test_every_quantity_is_stated_once_in_range_and_stands_alone_where_a_total_is_asked(options: dict[str, Any]) -> None:
    task = make(options)
    batch = task.batch("train", 0, 30)
    for row in range(batch.size):
        _, statements = read(words(task, batch, row))
        at = Counter(statement.about[1] for statement in statements)
        assert len({statement.about for statement in statements}) == len(statements)
        for statement in statements:
            assert 1 <= resolve(Question(statement.about, None), statements).value <= task.config.max_value
            if statement.sign == "all":
                assert at[statement.place] == statement.number <= task.config.max_items
            elif statement.number is not None:
                assert 1 <= statement.number <= task.config.max_constant


def test_every_form_occurs_among_needed_facts_and_among_the_others() -> None:
    task = make(SYMBOLS)
    batch = task.batch("train", 0, 400)
    seen = {True: Counter[str](), False: Counter[str]()}
    for row in range(batch.size):
        question, statements = read(words(task, batch, row))
        needed = resolve(question, statements).values
        for said in statements:
            seen[said.about in needed][f"{said.sign} {said.number is not None} {len(said.terms)}"] += 1
    assert len(seen[True]) == len(seen[False]) == 9
    assert seen[True].keys() == seen[False].keys()


def test_needed_facts_and_the_others_draw_names_from_one_pool_evenly() -> None:
    task = make(SYMBOLS)
    batch = task.batch("train", 1, 600)
    counts = {True: Counter[str](), False: Counter[str]()}
    for row in range(batch.size):
        question, statements = read(words(task, batch, row))
        needed = resolve(question, statements).values
        for said in statements:
            counts[said.about in needed].update(said.about)
    for group in counts.values():
        for letter, n_names in (("k", task.config.n_kinds), ("p", task.config.n_places)):
            drawn = np.array([n for name, n in group.items() if name[0] == letter])
            assert len(drawn) == n_names
            # Places are drawn in clusters (the items of a total), so the bound is looser than that of independent draws.
            assert np.square(drawn - drawn.mean()).sum() / drawn.mean() <= 4 * (n_names + 4 * np.sqrt(2 * n_names))


@EVERY
def test_facts_fill_the_context_up_to_less_than_one_more_and_padding_stands_on_the_left(options: dict[str, Any]) -> None:
    task = make(options)
    config, batch = task.config, task.batch("train", 0, 60)
    assert batch.tokens.shape[1] == task.seq_len == task.context_len + config.block_len
    assert_same_bits(batch.tokens == 0, batch.segment == PAD)
    padding = (batch.segment == PAD).int()
    assert (padding.diff(dim=1) <= 0).all()
    shortest = {"symbols": 5, "english": 10}[config.rendering]
    assert int(padding.sum(dim=1).max()) < shortest
    assert (batch.segment[:, config.context_len - 1] == CONTEXT).all()
    block = batch.segment[:, config.context_len :]
    assert (block[:, : config.block_len - config.answer_len + 1] == QUERY).all()
    assert (block[:, config.block_len - config.answer_len + 1 :] == ANSWER).all()
    windows = schedule(batch, task.window_len)
    assert [window.asleep for window in windows] == [True] * (len(windows) - 1) + [False]
    assert (windows[-1].start, windows[-1].stop) == (task.context_len, task.seq_len)


@EVERY
def test_the_answer_is_asked_from_the_mark_on_and_shown_one_token_late(options: dict[str, Any]) -> None:
    task = make(options)
    batch = task.batch("test", 0, 40)
    mark = task.vocab.index("Answer:" if task.config.rendering == "english" else "[ANS]")
    for row in range(batch.size):
        (start,) = (batch.tokens[row] == mark).nonzero()[0].tolist()
        assert start == task.config.mark_at
        assert (batch.targets[row, :start] == NOTHING_ASKED).all()
        assert (batch.targets[row, start:] != NOTHING_ASKED).all()
        assert_same_bits(batch.targets[row, start:-1], batch.tokens[row, start + 1 :])
        assert_same_bits(batch.answer_id[row], torch.where(batch.targets[row] == NOTHING_ASKED, -1, 0))
        question, statements = read(words(task, batch, row))
        value = resolve(question, statements).value
        shown = "".join(task.vocab[token] for token in batch.targets[row, start:].tolist())
        expected = str(value % task.config.modulus) if task.config.modulus else f"{value:0{task.config.answer_len}d}"
        assert shown == expected


@pytest.mark.parametrize(("options", "first"), [(SYMBOLS, True), (ENGLISH, True), (MODULO, False), (ENGLISH_LAST, False)])
def test_the_question_stands_first_or_in_the_last_window(options: dict[str, Any], first: bool) -> None:
    task = make(options)
    batch = task.batch("test", 0, 20)
    for row in range(batch.size):
        printed = words(task, batch, row)
        asks = printed.index("Question:" if task.config.rendering == "english" else "?")
        n_padding = int((batch.segment[row] == PAD).sum())
        assert asks == (n_padding if first else task.context_len)


@hypothesis.given(
    options=st.sampled_from([SYMBOLS, ENGLISH_LAST, CHAINS]),
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 8),
    size=st.integers(1, 60),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_two_batches_are_the_halves_of_one_of_twice_the_size(
    options: dict[str, Any], split: tasks.Split, index: int, size: int
) -> None:
    task = make(options)
    both = task.batch(split, index, 2 * size)
    assert_same_batch(both.rows(0, size), task.batch(split, 2 * index, size))
    assert_same_batch(both.rows(size, 2 * size), task.batch(split, 2 * index + 1, size))


def test_batches_do_not_depend_on_the_order_of_access_or_on_global_generators() -> None:
    requests = [(split, index) for split in SPLITS for index in (0, 3, 11)]
    first = {request: make(MODULO).batch(*request, 100) for request in requests}
    torch.manual_seed(3)
    for request in reversed(requests):
        assert_same_batch(make(MODULO).batch(*request, 100), first[request])


def test_a_block_edge_inside_a_batch_is_invisible() -> None:
    task = make(ENGLISH)
    across = task.batch("train", 1, 200)  # examples 200 to 400; blocks are drawn by 256
    for number in (255, 256):
        assert_same_batch(across.rows(number - 200, number - 199), task.batch("train", number, 1))


def test_a_batch_can_be_changed_without_changing_the_next() -> None:
    task = make(SYMBOLS)
    first = task.batch("train", 0, 8)
    kept = first.tokens.clone()
    first.tokens.zero_()
    assert_same_bits(task.batch("train", 0, 8).tokens, kept)


@pytest.mark.parametrize("options", [SYMBOLS, {**MODULO, "context_len": 150, "n_ops": 1}])
def test_streams_do_not_meet(options: dict[str, Any]) -> None:
    batches = [make(options).batch(split, index, 256) for split in SPLITS for index in (0, 1)]
    batches.append(make(options, seed=1).batch("test", 0, 256))
    rows = [row.tobytes() for batch in batches for row in batch.tokens.numpy()]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, [1] * 8),
        ({"train_ops": [2, 8]}, [0, 1, 0, 0, 0, 0, 0, 1]),
        ({"train_ops": [1, 2, 4], "ops_weights": [3, 0, 1]}, [3, 0, 0, 1, 0, 0, 0, 0]),
    ],
)
def test_training_draws_operation_counts_by_the_law(changes: dict[str, Any], weights: list[int]) -> None:
    n = 1536
    counts = np.bincount(make(SYMBOLS, **changes).batch("train", 0, n).coords["depth"][:, 0].numpy(), minlength=9)[1:]
    law = np.array(weights) / sum(weights)
    assert (counts[law == 0] == 0).all()
    assert (np.abs(counts - n * law) <= 4.5 * np.sqrt(n * law * (1 - law))).all()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_asks_each_operation_count_equally_often(split: tasks.Split) -> None:
    for options in (SYMBOLS, {"test_ops": [2, 4, 6]}):
        task = make(options)
        depth = task.batch(split, 0, 300).coords["depth"][:, 0].tolist()
        for start in (0, 7, 251):
            assert sorted(depth[start : start + len(task.config.grid)]) == list(task.config.grid)


def test_operations_and_the_longest_chain_are_not_the_same() -> None:
    coords = make(SYMBOLS).batch("test", 0, 800).coords
    of_eight = coords["chain"][coords["depth"] == 8]
    assert len(of_eight) == 100
    assert int(of_eight.min()) <= 3
    assert int(of_eight.max()) >= 6
    assert (coords["chain"] <= coords["n_needed"]).all()
    assert (coords["n_needed"] <= coords["depth"]).all()
    assert (coords["n_needed"] < coords["n_facts"]).all()


@pytest.mark.parametrize("options", [SYMBOLS, CHAINS, {"sharing": 0.9, "n_ops": 6}])
def test_no_problem_is_longer_than_the_longest_and_some_are_as_long(options: dict[str, Any]) -> None:
    config = make(options).config
    draw, take = drawer(config), words_of(stream(5, "longest"))
    lengths = [config.wording.length(form) for form in config.spelled_forms]
    for n_ops, longest in enumerate(config.longest_core):
        if longest is None or not n_ops:
            continue
        found = [sum(lengths[number] for _, number, _ in draw.core(n_ops, take).steps) for _ in range(400)]
        assert max(found) <= longest
        assert n_ops > 4 or max(found) == longest


@pytest.mark.parametrize("form", ["copy", "plus", "times", "sum", "difference", "plus_sum", "sum3", "total"])
def test_any_single_form_reaches_large_counts(form: str) -> None:
    cheapest = {"copy": 31, "plus": 31, "times": 15, "sum": 31, "difference": 31, "plus_sum": 29, "sum3": 31, "total": 31}[form]
    task = make(
        {"forms": ["leaf", form], "n_ops": 31, "train_ops": [cheapest], "test_ops": [1, cheapest]}, n_totals=10, n_kinds=18
    )
    batch = task.batch("train", 0, 8)
    assert (batch.coords["depth"] == cheapest).all()
    assert not any(broken.any() for broken in task.checks(batch).values())


@pytest.mark.parametrize(("options", "n_answers"), [(SYMBOLS, 1000), (MODULO, 23)])
def test_floors_are_what_guesses_score(options: dict[str, Any], n_answers: int) -> None:
    task = make(options, n_ops=3)
    floor = task.floor("test")
    assert (floor.source, floor.depth.tolist()) == ("sampled", [1, 2, 3])
    np.testing.assert_allclose(floor.chance, 1 / n_answers)
    batch = task.batch("test", 0, 3072)
    answers = ["".join(map(str, answer)) for answer in true_answers(batch)[:, 0].tolist()]
    for column, depth in enumerate(floor.depth.tolist()):
        drawn = Counter(
            answer for answer, n_ops in zip(answers, batch.coords["depth"][:, 0].tolist(), strict=True) if n_ops == depth
        )
        share = max(drawn.values()) / drawn.total()
        assert abs(share - floor.constant[column]) <= 4.5 * np.sqrt(0.25 / drawn.total())
    np.testing.assert_allclose(floor.constant[0], 1 / 4, atol=0.02)  # one operation is a constant of 1 .. 4


def test_floors_are_those_of_the_counts_a_split_asks() -> None:
    task = make(SYMBOLS, train_ops=[1, 3], ops_weights=[0, 1], test_ops=[2])
    assert [task.floor(split).depth.tolist() for split in ("train", "test", None)] == [[3], [2], [2, 3]]


def test_larger_constants_lower_the_best_constant_answer_and_a_modulus_never_does() -> None:
    def best(**changes: Any) -> np.ndarray:
        return make({"test_ops": [1, 8], **changes}).floor("test").constant

    assert (best(modulus=23) >= best()).all()  # the same sample, with answers merged
    assert (best(max_constant=9) < 0.75 * best()).all()


GOLDEN = {
    ("symbols", "train"): "8054621d30dd8c7ad9952f6cd1743d63",
    ("symbols", "test"): "8b8ef4e1302461318a2de350c4f1c523",
    ("english", "train"): "2155320d43819eaf0bb0871b5c39d522",
    ("english", "test"): "a09a8351c7b47b25456d1dab67b80723",
    ("modulo", "validation"): "ee54accc2f0e254ff859228e82fa43ad",
}


@pytest.mark.parametrize(("kind", "split"), GOLDEN)
def test_the_first_block_is_the_one_it_always_was(kind: str, split: tasks.Split) -> None:
    batch = make({"symbols": SYMBOLS, "english": ENGLISH, "modulo": MODULO}[kind]).batch(split, 0, 256)
    parts = (batch.tokens, batch.targets, batch.segment, batch.answer_id, *(batch.coords[name] for name in sorted(batch.coords)))
    content = b"".join(part.numpy().astype("<i8").tobytes() for part in parts)
    assert hashlib.blake2b(content, digest_size=16).hexdigest() == GOLDEN[kind, split]


@pytest.mark.parametrize(
    ("name", "rule", "options"),
    [
        ("rendering", r"must be one of 'symbols', 'english', got 'french'$", {"rendering": "french"}),
        ("n_ops", r"must be between 1 and 32, got 33$", {"n_ops": 33}),
        ("n_ops", r"must be within reach of values in 1\.\.1000 with constants in 1\.\.1 and forms=.*, got 4$",
            {"forms": ["leaf", "difference"], "max_constant": 1, "train_ops": [1, 4], "test_ops": [1]}),
        ("train_ops", r"must be among the operation counts that forms=\('leaf', 'sum'\) reach, \[1, 4, 7\], got \[2, 3, 5, 6\]$",
            {"forms": ["leaf", "sum"], "train_ops": [1, 2, 3, 5, 6], "test_ops": [7]}),
        ("train_ops", r"must be distinct operation counts in rising order, got \(2, 1\)$", {"train_ops": [2, 1]}),
        ("test_ops", r"must name at least one operation count, got \(\)$", {"test_ops": []}),
        ("test_ops", r"must lie in 1\.\.n_ops=8, got \(1, 9\)$", {"test_ops": [1, 9]}),
        ("ops_weights", r"must have one weight for each of 8 counts, got \(1\.0,\)$", {"ops_weights": [1]}),
        ("ops_weights", r"must be >= 0 with a positive sum, got \(0\.0,\)$", {"ops_weights": [0], "train_ops": [1]}),
        ("forms", r"must hold 'leaf', which ends every problem, got \('copy',\)$", {"forms": ["copy"]}),
        ("forms", r"must be distinct, got \('leaf', 'leaf'\)$", {"forms": ["leaf", "leaf"]}),
        ("form_weights", r"must have one weight for each of \('leaf', 'copy'\), got \(1\.0,\)$",
            {"forms": ["leaf", "copy"], "form_weights": [1]}),
        ("form_weights", r"must be positive: .*, got \(1\.0, 0\.0\)$", {"forms": ["leaf", "copy"], "form_weights": [1, 0]}),
        ("sharing", r"must be between 0 and 1, got 1\.5$", {"sharing": 1.5}),
        ("max_constant", r"must be between 1 and 9, got 10$", {"max_constant": 10}),
        ("max_value", r"must be between 10 and 9999, got 9$", {"max_value": 9}),
        ("modulus", r"must be None or between 2 and 100, got 1$", {"modulus": 1}),
        ("question", r"must be one of 'first', 'last', got 'middle'$", {"question": "middle"}),
        ("context_len", r"must hold 191 tokens of needed facts and 3 of the question, 194 in all, got 193$",
            {"context_len": 193, "n_ops": 32, "n_totals": 10, "n_places": 20}),
        ("context_len", r"must hold 12 facts of up to 12 tokens, 147 in all, .*, got 146$", {"context_len": 146}),
        ("context_len", r"must hold 12 facts of up to 35 tokens, 431 in all, .*, got 430$", {**ENGLISH, "context_len": 430}),
        ("window_len", r"must hold the label block of 4 tokens, got 3$", {"window_len": 3}),
        ("n_totals", r"must be between 2, what n_ops=8 can need, and 15, below n_places, got 1$", {"n_totals": 1}),
        ("n_totals", r"must be between 0, .*, got 16$", {"n_totals": 16, "forms": ["leaf", "copy"]}),
        ("max_items", r"must be at most n_kinds=3, got 4$", {"n_kinds": 3, "n_places": 40}),
        ("n_kinds", r"must give a quantity to each of up to 101 facts of context_len=512, .* is 96, got 8$", {"n_kinds": 8}),
        ("n_kinds", r"must be between 2 and 48, got 49$", {"n_kinds": 49}),
        ("seed", r"must be in \[0, 2\^63\), got -1$", {"seed": -1}),
        ("GsmConfig.ops", "unknown setting", {"ops": 3}),
    ],
)  # fmt: skip
def test_impossible_options_are_refused_in_one_line_with_the_rule(name: str, rule: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(name)}: {rule}") as refused:
        tasks.create("gsm", **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "? k1 p1 k1 p1 = 2 .",
        "k1 p1 = 2 . [ANS]",
        "? k1 p1 ? k1 p1 k1 p1 = 2 . [ANS]",
        "? k1 p1 k1 p1 = 2 [ANS]",
        "? k1 [ANS]",
        "? k1 p1 k1 p1 = 2 . k1 p1 = 3 . [ANS]",
        "? k1 p1 k1 p1 = k2 p2 . [ANS]",
        "? k1 p1 k1 p1 = 2 + k2 p2 . k2 p2 = k1 p1 . [ANS]",
        "? k1 p1 k1 p1 = all 2 p2 . k1 p2 = 1 . [ANS]",
        "? k1 p1 k1 p1 = all p2 . k1 p2 = 1 . [ANS]",
        "? k1 p1 k1 p1 = k2 p2 * k2 p3 . k2 p2 = 1 . k2 p3 = 1 . [ANS]",
        "? k1 p1 k1 p1 = 3 - k2 p2 . k2 p2 = 1 . [ANS]",
        "? k1 p1 k1 p1 2 . [ANS]",
        "? p1 k1 k1 p1 = 2 . [ANS]",
        "Question: what is the number of hats in the hut ? The number of hats in the hut is many . Answer:",
        "Question: how many hats ? The number of hats in the hut is 3 . Answer:",
        "Question: what is the number of hats in the hut ? The number of hats in the inn is 3 . Answer:",
    ],
)
def test_the_oracle_refuses_what_is_no_example(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^tokens: must "):
        resolve(*read(text.split()))


@pytest.mark.parametrize("spoil", [lambda tokens: tokens[0], lambda tokens: tokens + 1, lambda tokens: tokens - 1])
def test_tokens_that_are_no_batch_are_refused(spoil: Any) -> None:
    task = make(SYMBOLS)
    with pytest.raises(InvalidInputError, match=r"^tokens: must "):
        task.solve(spoil(task.batch("test", 0, 20).tokens))


def test_the_oracle_does_not_look_at_the_answer_shown() -> None:
    task = make(SYMBOLS)
    tokens = task.batch("test", 0, 10).tokens
    truth = task.solve(tokens)
    tokens[:, task.config.mark_at + 1 :] = task.vocab.index("7")
    assert_same_bits(task.solve(tokens), truth)


@pytest.mark.parametrize("name", ["depth", "chain", "n_needed", "n_facts"])
def test_a_wrong_coordinate_is_found(name: str) -> None:
    task = make(SYMBOLS)
    batch = task.batch("test", 0, 4)
    batch.coords[name][2] += 1
    assert task.checks(batch)["operations, chain and facts are those of the text"].tolist() == [False, False, True, False]


def forgiving(question: Question, statements: list[Statement]) -> Solution:
    """Resolve, with 1 for what nobody states."""
    said = {statement.about for statement in statements}
    missing = sorted({term for statement in statements for term in statement.terms} - said | ({question.about} - said))
    places = {statement.about[1] for statement in statements}
    fixed = [
        statement._replace(number=sum(about[1] == statement.place for about in said)) if statement.place in places else statement
        for statement in statements
    ]
    return resolve(question, [*fixed, *(Statement(about, "+", 1, ()) for about in missing)])


def counting(question: Question, statements: list[Statement]) -> Solution:
    """Resolve, off by the number of sentences."""
    solution = resolve(question, statements)
    return solution._replace(value=solution.value + len(statements))


@pytest.mark.parametrize(
    ("what", "reader"),
    [
        ("without a needed sentence there is no answer", forgiving),
        ("without any other sentence the answer is the same", counting),
    ],
)
def test_the_removal_checks_find_a_reader_that_guesses_or_counts(what: str, reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsm_audit, "resolve", reader)
    task = make(SYMBOLS)
    for name, broken in task.checks(task.batch("test", 0, 8)).items():
        assert broken.tolist() == [name == what] * 8


@EVERY
def test_a_rendering_shows_windows_the_path_and_the_verdict(options: dict[str, Any]) -> None:
    task = make(options)
    batch = task.batch("test", 0, 3)
    truth = task.solve(batch.tokens)
    text = task.render(batch, 1, truth)
    assert text.count("window ends") == -(-task.context_len // task.window_len)
    assert text.count("(right)") == 1
    n_needed, depth, chain = (int(batch.coords[name][1, 0]) for name in ("n_needed", "depth", "chain"))
    assert f"{depth} operations, longest chain {chain}\n" in text
    path = text.partition("longest chain")[2].splitlines()[1:-1]
    assert len(path) == n_needed
    assert text.count("(wrong)") == 0
    assert task.render(batch, 1, truth + 1 - 2 * (truth == truth.max()).long()).count("(wrong)") == 1
    assert "the model says" not in task.render(batch, 1)


def test_the_text_of_an_example_is_prose_and_its_answer_a_number() -> None:
    task = make(ENGLISH)
    batch = task.batch("test", 0, 10)
    for row in range(batch.size):
        prompt, answer = task.text(batch, row)
        assert re.match(r"Question: what is the number of \w+ in the \w+\? The number of ", prompt)
        assert prompt.endswith(". Answer:")
        assert " ." not in prompt
        assert " ," not in prompt
        spaced = re.sub(r"([.,?])( |$)", r" \1\2", prompt)
        assert resolve(*read(spaced.split())).value == int(answer)
        assert answer == str(int(answer))


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_outside_the_batch_is_refused(row: int) -> None:
    task = make(SYMBOLS)
    batch = task.batch("test", 0, 2)
    for show in (task.render, task.text):
        with pytest.raises(InvalidInputError, match=r"row: must be in \[0, 2\)"):
            show(batch, row)


def test_one_core_makes_at_least_two_hundred_problems_a_second() -> None:
    """A loose floor that a tenfold slip would break; ``sleepkit tasks bench gsm`` measures the speed itself."""
    task = make(SYMBOLS, seed=12345)
    began = time.process_time()
    for index in range(4):
        task.batch("train", index, 256)
    assert 1024 / (time.process_time() - began) >= 200
