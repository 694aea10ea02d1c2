"""The audit passes sound tasks and names what is wrong with a spoiled one."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import ANSWER, CONTEXT, NOTHING_ASKED, QUERY, Batch, Split
from sleepkit.tasks.audit import Finding, audit, table, true_answers

SMALL_DEPO = {"n_nodes": 12, "n_symbols": 9, "n_queries": 5, "window_len": 30}
MIXED = {"width": 9, "n_strings": 4, "rollout_depth": [0, 2, 5], "strings_per_window": 2}
Spoil = Callable[[Batch], Batch]


class Spoiled:
    """A task whose batches are changed on their way out."""

    def __init__(self, task: Any, spoil: Spoil, splits: tuple[str, ...] = ("train", "validation", "test")) -> None:
        self._task, self._spoil, self._splits = task, spoil, splits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def batch(self, split: Split, index: int, size: int) -> Batch:
        batch = self._task.batch(split, index, size)
        return self._spoil(batch) if split in self._splits else batch


def changed(name: str, change: Callable[[torch.Tensor], None]) -> Spoil:
    def spoil(batch: Batch) -> Batch:
        part = getattr(batch, name).clone()
        change(part)
        return dataclasses.replace(batch, **{name: part})

    return spoil


def put(where: Any, value: int) -> Callable[[torch.Tensor], None]:
    return lambda part: part.__setitem__((slice(None), where), value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in tasks.names()),
        ("rule110", MIXED),
        ("depo", SMALL_DEPO),
        ("depo", {**SMALL_DEPO, "names": "1-2"}),
        ("gsm", {"n_ops": 3, "rendering": "english", "question": "last", "modulus": 23}),
    ],
)
def test_every_task_passes(name: str, options: dict[str, Any]) -> None:
    findings = audit(tasks.create(name, **options), n_examples=60 if name == "gsm" else 300)
    assert [finding for finding in findings if finding.n_failed] == []
    assert {finding.split for finding in findings} == {"train", "validation", "test"}
    assert "FAIL" not in table(findings)


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("the oracle finds every answer", changed("targets", put(-2, 10))),
        ("tokens and targets are in the vocabulary", changed("targets", put(-2, 999))),
        ("segments are known", changed("segment", put(0, 4))),
        ("only questions and answers have targets", changed("segment", put(-2, CONTEXT))),
        ("no context follows a question", changed("segment", put(-1, CONTEXT))),
        ("the question block fits into a window", changed("segment", put(10, QUERY))),
        ("an answer has targets", changed("targets", put(-2, NOTHING_ASKED))),
        ("answers stand in order", changed("answer_id", put(-2, 0))),
        ("shapes are [B, seq_len] and [B, answers]", lambda batch: dataclasses.replace(
            batch, coords={**batch.coords, "wrapped": batch.coords["wrapped"][:, :1]})),
        ("an answer that is asked has a depth with a floor", lambda batch: dataclasses.replace(
            batch, coords={**batch.coords, "depth": batch.coords["depth"] + 100})),
        ("an answer that is not asked has no depth", changed("answer_id", lambda ids: ids.masked_fill_(ids == 4, 3))),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_every_split(what: str, spoil: Spoil) -> None:
    findings = audit(Spoiled(tasks.create("depo", **SMALL_DEPO), spoil), n_examples=40)
    failed = [finding for finding in findings if finding.what == what and finding.n_failed]
    assert [finding.split for finding in failed] == ["train", "validation", "test"]
    assert f"FAIL {what}" in table(findings)


def test_a_task_that_has_rules_of_its_own_is_held_to_them() -> None:
    task = tasks.create("gsm", n_ops=3)
    what = "operations, chain and facts are those of the text"
    spoil: Spoil = lambda batch: dataclasses.replace(batch, coords={**batch.coords, "chain": batch.coords["chain"] + 1})  # noqa: E731
    assert Finding("test", what, 20, 0) in audit(task, n_examples=20)
    honest, task.batch = task.batch, lambda *request: spoil(honest(*request))  # type: ignore[method-assign]
    assert Finding("test", what, 20, 20) in audit(task, n_examples=20)


def test_examples_that_two_splits_share_are_counted() -> None:
    task = tasks.create("depo", **SMALL_DEPO, n_nodes_law="fixed")
    train = task.batch("train", 0, 3).tokens
    spoil = changed("tokens", lambda tokens: tokens.__setitem__(slice(0, 3), train[: len(tokens)]))
    findings = audit(Spoiled(task, spoil, ("test",)), n_examples=40)
    assert Finding("test", "no context is one of train", 40, 3) in findings
    assert Finding("validation", "no context is one of train", 40, 0) in findings


def test_batches_that_depend_on_their_size_are_found() -> None:
    spoil: Spoil = lambda batch: batch if batch.size == 1 else changed("tokens", put(0, 1))(batch)  # noqa: E731
    findings = audit(Spoiled(tasks.create("rule110"), spoil), n_examples=40)
    assert any(finding.n_failed for finding in findings if finding.what == "an example asked for alone is the same")


def test_true_answers_hold_whole_names_and_end_with_minus_100() -> None:
    task = tasks.create("depo", n_nodes=12, n_symbols=9, n_queries=5, window_len=30, names="1-2")
    batch = task.batch("train", 0, 50)
    answers = true_answers(batch)
    assert answers.shape == (50, 5, 2)
    for row in range(50):
        shown = batch.tokens[row][batch.segment[row] == ANSWER].tolist()
        assert answers[row][answers[row] != NOTHING_ASKED].tolist() == shown


@pytest.mark.parametrize("n_examples", [0, -1, 2.5, True])
def test_an_impossible_number_of_examples_is_refused(n_examples: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^n_examples: must be an integer >= 1"):
        audit(tasks.create("rule110"), n_examples=n_examples)


@pytest.mark.parametrize("name", tasks.names())
def test_whoever_changes_a_batch_changes_no_other(name: str) -> None:
    task = tasks.create(name)
    first = task.batch("test", 0, 4)
    kept = first.map(torch.clone)
    for tensor in (first.tokens, first.targets, first.coords["depth"]):
        tensor.fill_(99)
    again = task.batch("test", 0, 4)
    assert torch.equal(again.tokens, kept.tokens)
    assert torch.equal(again.targets, kept.targets)
    assert torch.equal(again.coords["depth"], kept.coords["depth"])
