"""Checks of a task that need no model: the oracle, the promises of a batch, examples that two splits share."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from sleepkit.errors import require_count
from sleepkit.tasks.base import ANSWER, CONTEXT, NOTHING_ASKED, PAD, QUERY, Batch, Rechecked, Split, Task

_PART = 256


@dataclasses.dataclass(frozen=True)
class Finding:
    """Outcome of one check.

    Attributes:
        split: which split.
        what: what must hold.
        n_checked: examples looked at.
        n_failed: examples that break it.
    """

    split: str
    what: str
    n_checked: int
    n_failed: int


def audit(task: Task, *, n_examples: int = 1000) -> list[Finding]:
    """Check examples of every split, and that evaluation shows no context that training showed.

    Args:
        task: what is checked.
        n_examples: examples of each split, the first ones.

    Returns:
        One finding per split and check; a sound task has ``n_failed`` 0 everywhere.

    Raises:
        InvalidInputError: if ``n_examples`` is not a positive integer.
    """
    require_count("n_examples", n_examples)
    findings: list[Finding] = []
    contexts: dict[str, set[bytes]] = {}
    for split in get_args(Split):
        failed: dict[str, int] = {}
        contexts[split] = set()
        for batch in _parts(task, split, n_examples):
            for what, bad in _checks(task, split, batch).items():
                failed[what] = failed.get(what, 0) + int(bad.sum())
            contexts[split] |= _digests(batch)
        findings += [Finding(split, what, n_examples, n_failed) for what, n_failed in failed.items()]
        alone = sorted({*range(min(4, n_examples)), n_examples // 2, n_examples - 1})
        findings.append(Finding(split, "an example asked for alone is the same", len(alone), _impure(task, split, alone)))
    for split in ("validation", "test"):
        shared = len(contexts["train"] & contexts[split])
        findings.append(Finding(split, "no context is one of train", n_examples, shared))
    return findings


def table(findings: list[Finding]) -> str:
    """Return the findings as a table: a line for each check, a column of failures for each split, failed lines marked."""
    checks, splits = list(dict.fromkeys(f.what for f in findings)), list(dict.fromkeys(f.split for f in findings))
    cells = {(f.what, f.split): f"{f.n_failed} of {f.n_checked}" for f in findings}
    failed = {f.what for f in findings if f.n_failed}
    wide = max(map(len, checks))
    lines = [f"{'failed examples':<{wide + 5}}" + "".join(f"{split:>16}" for split in splits)]
    for what in checks:
        row = "".join(f"{cells.get((what, split), ''):>16}" for split in splits)
        lines.append(f"{'FAIL' if what in failed else 'ok  '} {what:<{wide}}{row}")
    return "\n".join(lines)


def true_answers(batch: Batch) -> Tensor:
    """Return the targets of every answer, [B, A, tokens], -100 beyond its end: what ``solve`` must find."""
    belongs = batch.answer_id[:, :, None] == torch.arange(batch.n_answers, device=batch.answer_id.device)
    place = (belongs.cumsum(dim=1) - 1).clamp(min=0)
    longest = max(int(belongs.sum(dim=1).max()), 1)
    answers = torch.full((batch.size, batch.n_answers, longest), NOTHING_ASKED, dtype=torch.int64)
    row, position, answer = belongs.nonzero(as_tuple=True)
    answers[row, answer, place[row, position, answer]] = batch.targets[row, position]
    return answers


def _parts(task: Task, split: Split, n_examples: int) -> Iterator[Batch]:
    for index in range(-(-n_examples // _PART)):
        yield task.batch(split, index, _PART).rows(0, min(_PART, n_examples - index * _PART))


def _checks(task: Task, split: Split, batch: Batch) -> dict[str, Tensor]:
    """What must hold of every example, with the examples [B] bool that break it."""
    tokens, targets, segment, answer_id = batch.tokens, batch.targets, batch.segment, batch.answer_id
    targeted = targets != NOTHING_ASKED
    n_tokens = len(task.vocab)
    depth, depths = batch.coords["depth"], torch.from_numpy(task.floor(split).depth)
    question = (segment == QUERY) | (segment == ANSWER)
    block_len = torch.where(question.any(dim=1), task.seq_len - question.int().argmax(dim=1), 0)
    strange = (tokens < 0) | (tokens >= n_tokens) | (targeted & ((targets < 0) | (targets >= n_tokens)))
    in_order = torch.where(answer_id >= 0, answer_id, answer_id.cummax(dim=1).values)
    after_question = question.cummax(dim=1).values & (segment == CONTEXT)
    wrong_shape = tokens.shape[1] != task.seq_len or any(c.shape != depth.shape for c in batch.coords.values())
    return {
        "shapes are [B, seq_len] and [B, answers]": torch.full((batch.size,), wrong_shape),
        "the oracle finds every answer": unsolved(task, batch),
        "tokens and targets are in the vocabulary": strange.any(dim=1),
        "segments are known": ((segment < PAD) | (segment > ANSWER)).any(dim=1),
        "only questions and answers have targets": (targeted & ~question).any(dim=1),
        "no context follows a question": after_question.any(dim=1),
        "the question block fits into a window": block_len > task.window_len,
        "an answer has targets": ((answer_id >= 0) & ~targeted).any(dim=1),
        "answers stand in order": (in_order.diff(dim=1) < 0).any(dim=1),
        "an answer that is asked has a depth with a floor": (batch.asked & ~torch.isin(depth, depths)).any(dim=1),
        "an answer that is not asked has no depth": (~batch.asked & (depth != 0)).any(dim=1),
        **(task.checks(batch) if isinstance(task, Rechecked) else {}),
    }


def unsolved(task: Task, batch: Batch) -> Tensor:
    """Mark the examples whose targets are not what the oracle reads from the tokens."""
    truth, found = true_answers(batch), task.solve(batch.tokens)
    found = found.reshape(batch.size, batch.n_answers, -1)
    longest = max(truth.shape[2], found.shape[2])
    both = [torch.nn.functional.pad(part, (0, longest - part.shape[2]), value=NOTHING_ASKED) for part in (truth, found)]
    return (both[0] != both[1]).flatten(1).any(dim=1)


def _impure(task: Task, split: Split, wanted: list[int]) -> int:
    """Count examples that differ when they are asked for alone."""
    n_failed = 0
    for number in wanted:
        alone = task.batch(split, number, 1)
        among = task.batch(split, number // _PART, _PART).rows(number % _PART, number % _PART + 1)
        pairs = [(getattr(alone, name), getattr(among, name)) for name in ("tokens", "targets", "segment", "answer_id")]
        pairs += [(alone.coords[name], among.coords[name]) for name in among.coords]
        n_failed += int(not all(torch.equal(one, other) for one, other in pairs))
    return n_failed


def _digests(batch: Batch) -> set[bytes]:
    """Hashes of the contexts, padding left out."""
    rows = zip(batch.tokens.numpy(), (batch.segment == CONTEXT).numpy(), strict=True)
    return {hashlib.blake2b(tokens[real].tobytes(), digest_size=16).digest() for tokens, real in rows}
