"""GSM (after GSM-Infinite; Lee et al. 2026, sec. 6.3): sums of a few steps among many facts that nobody needs.

Quantities (a kind at a place) are stated one by one, each by a constant or from others, in random order. The facts are evicted,
and one quantity is asked for. Finding it takes an exact number of operations, the depth:

    question first    [PAD] ? k p  k p = 2 * k p . k p = 3 . ... | [ANS] 0 0 1    ->  0 0 1 2 in the last window
    question last     [PAD] k p = 2 * k p . k p = 3 . ...        | ? k p [ANS] 0 0 1

* Operations are the terms of every fact that is needed, constants included (a leaf 1, a copy 1, `3 + X` 2, a total of m items m).
  They are not the longest chain of facts: both are stored.
* A total names how many quantities of its place it adds, and no other stands there: whoever misses one can know it.
* Facts that nobody needs read any quantity, come from the same pool of names and the same law of forms, and fill the context
  up to less than the shortest fact; padding stands on the left.
* Answers are digits, most significant first, as many as the largest value has, or with ``modulus`` one number. Small values are
  frequent: the best constant answer scores a quarter at two operations and a tenth at eight, with a modulus too.
* Splits live in the key of the random streams: contexts hold so many facts that two streams do not meet.

Axes: B example, T position, A answer (always one).
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sleepkit.errors import require
from sleepkit.seeds import stream, weighted_choice
from sleepkit.tasks.base import (
    ANSWER,
    CONTEXT,
    NOTHING_ASKED,
    PAD,
    QUERY,
    Batch,
    Floor,
    Split,
    check_batch_request,
    cut_from_blocks,
)
from sleepkit.tasks.gsm_audit import recheck
from sleepkit.tasks.gsm_config import GsmConfig
from sleepkit.tasks.gsm_floor import gsm_floor
from sleepkit.tasks.gsm_graph import Problem, drawer, words_of
from sleepkit.tasks.gsm_input import help_text, read_problem, way, written
from sleepkit.tasks.gsm_oracle import read, resolve
from sleepkit.tasks.gsm_text import describe, printed, prose
from sleepkit.tasks.gsm_words import Tokens, encoded, writer
from sleepkit.tasks.own_input import Reasoning

_BLOCK = 256
_PAD_TOKEN = 0


class Gsm:
    """Arithmetic over facts that are spread over the evicted context."""

    name = "gsm"
    version = 1
    depth_in_text = True

    def __init__(self, config: GsmConfig) -> None:
        self.config = config
        drawer(config).check_reach(sorted({*config.asked_in_training, *config.grid}))

    @property
    def vocab(self) -> list[str]:
        """Printable strings by token id: padding, numbers from 0, the words of sentences, kinds, places."""
        return list(self.config.wording.vocab)

    @property
    def context_len(self) -> int:
        """Tokens before the window of the answer, padding included."""
        return self.config.context_len

    @property
    def seq_len(self) -> int:
        """T, tokens in one example, padding included."""
        return self.config.context_len + self.config.block_len

    @property
    def window_len(self) -> int:
        """L, tokens of one window."""
        return self.config.window_len

    def batch(self, split: Split, index: int, size: int) -> Batch:
        """Return examples ``index * size`` up to ``(index + 1) * size`` of a split, the same in any order of access.

        Coordinates [B, 1]: ``depth`` is the number of operations, ``chain`` the facts on the longest path from the question down,
        ``n_needed`` the facts the answer needs, ``n_facts`` all facts. Evaluation asks each operation count in turn.

        Raises:
            InvalidInputError: for an unknown split, a negative index or an empty size.
        """
        check_batch_request(split, index, size)
        return cut_from_blocks(functools.partial(_block, self.config, split), _BLOCK, index * size, (index + 1) * size)

    def solve(self, tokens: Tensor) -> Tensor:
        """Answer from the printed words alone: [B, T] -> token ids [B, 1], or [B, 1, digits] for values in digits.

        Raises:
            InvalidInputError: if the tokens are no examples of this task.
        """
        config, vocab = self.config, self.vocab
        rows = torch.as_tensor(tokens)
        require(rows.ndim == 2, "tokens", "must have the axes [B, T]", tuple(rows.shape))
        known = bool(((rows >= 0) & (rows < len(vocab))).all())
        require(known, "tokens", f"must lie in 0..{len(vocab) - 1}", [int(rows.min()), int(rows.max())] if rows.numel() else [])
        answers = [self._spelled(resolve(*read([vocab[token] for token in row])).value) for row in rows.tolist()]
        found = torch.tensor(answers).reshape(len(rows), 1, config.answer_len)
        return found[..., 0] if config.answer_len == 1 else found

    def _spelled(self, value: int) -> list[int]:
        """Tokens of an answer, looked up in the vocabulary."""
        config, vocab = self.config, self.vocab
        words = [str(value % config.modulus)] if config.modulus else list(str(value).zfill(config.answer_len))
        return [vocab.index(word) for word in words]

    def floor(self, split: Split | None = None) -> Floor:
        """Return chance and the best constant answer per operation count; None is every count that any split asks.

        Chance is a uniform guess among 1 .. max_value, or among the residues. The constant is the most frequent answer of 8,192
        sampled problems of a count, which are the same ones every time.
        """
        return gsm_floor(self.config, split)

    def checks(self, batch: Batch) -> dict[str, Tensor]:
        """Check what must hold of this task besides what holds of all: the examples [B] bool that break it, by rule."""
        return recheck(self.vocab, batch)

    def text(self, batch: Batch, row: int) -> tuple[str, str]:
        """Return one example for any tokenizer: the text up to the mark before the answer, and the answer as a number.

        Raises:
            InvalidInputError: if the row is not in the batch.
        """
        require(0 <= row < batch.size, "row", f"must be in [0, {batch.size})", row)
        example = batch.rows(row, row + 1)
        words, mark = printed(self.vocab, example), self.vocab[self.config.wording.mark]
        answer = self._shown(example.targets[example.targets != NOTHING_ASKED])
        return prose(words[: words.index(mark) + 1]), str(int(answer.replace(" ", "")))

    def render(self, batch: Batch, row: int, predicted: Tensor | None = None) -> str:
        """Describe one example: the tokens window by window, the facts the answer needs, the answers.

        Args:
            batch: examples of this task.
            row: which example.
            predicted: what a model answered, shaped like ``solve``'s answers, if there is one.

        Raises:
            InvalidInputError: if the row is not in the batch.
        """
        require(0 <= row < batch.size, "row", f"must be in [0, {batch.size})", row)
        example = batch.rows(row, row + 1)
        truth = self._shown(example.targets[example.targets != NOTHING_ASKED])
        said = None if predicted is None else self._shown(predicted[row])
        return describe(self.config, self.vocab, example, truth, said)

    @property
    def known_depths(self) -> tuple[int, ...]:
        """The operation counts that can be asked, rising."""
        return tuple(n_ops for n_ops, length in enumerate(self.config.longest_core) if n_ops and length is not None)

    @property
    def input_help(self) -> str:
        """The rule of own input in one sentence, with an example."""
        return help_text(self.config)

    def depth_options(self, depth: int) -> dict[str, Any]:
        """Return the settings under which every question takes one number of operations."""
        return {"train_ops": (depth,), "ops_weights": None, "test_ops": (depth,)}

    def write(self, example: Batch) -> str:
        """Return an example (a batch of one) as text: a fact a line, then the question."""
        return written(self.config, printed(self.vocab, example))

    def read(self, text: str, depth: int | None) -> Batch:
        """Return the example that facts and a question make.

        Raises:
            InvalidInputError: for an unknown word, a sentence that is none, facts that are missing, circular or out of range.
        """
        found = read_problem(self.config, text, depth)
        return _laid_out(self.config, [encoded(found.facts)], [found.question], [found.value], found.coords)

    def reasoning(self, example: Batch) -> Reasoning:
        """Return the question, then the facts it needs with their values, each after those it reads."""
        return Reasoning("chain", [way(self.config, printed(self.vocab, example), example.segment[0].tolist())])

    def _shown(self, tokens: Tensor) -> str:
        return " ".join(self.vocab[token] for token in tokens.flatten().tolist())


@functools.lru_cache(maxsize=8)
def _block(config: GsmConfig, split: Split, number: int, n_rows: int) -> Batch:
    """Draw the first examples of one block of 256, in narrow integers."""
    if split == "train":
        raw = stream(config.seed, Gsm.name, Gsm.version, split, "ops", number).random_raw(n_rows)
        counts = weighted_choice(raw, config.ops_law)
    else:
        counts = np.asarray(config.grid)[(number * _BLOCK + np.arange(n_rows)) % len(config.grid)]
    draw, take = drawer(config), words_of(stream(config.seed, Gsm.name, Gsm.version, split, "problems", number))
    return _written(config, counts, (draw.problem(n_ops, take) for n_ops in counts.tolist()))


def _written(config: GsmConfig, counts: np.ndarray, problems: Iterable[Problem]) -> Batch:
    """Lay problems out, each as soon as it is drawn: thousands of facts kept alive would slow the collection of garbage."""
    words = config.wording
    write = writer(words, config.spelled_forms)
    facts_of, questions, values, shape = [], [], [], []
    for facts, cells, answer, n_needed, chain in problems:
        questions.append(words.question[cells[0]])
        facts_of.append(write(facts, cells))
        values.append(answer)
        shape.append([chain, n_needed, len(facts)])
    return _laid_out(config, facts_of, questions, values, np.column_stack([counts, shape]))


def _laid_out(
    config: GsmConfig, facts: Sequence[bytes], questions: Sequence[Tokens], values: Sequence[int], coords: np.ndarray
) -> Batch:
    """Lay out examples, in narrow integers.

    Args:
        config: settings of the task.
        facts: sentences of each example as little-endian int16.
        questions: tokens of each question.
        values: the quantity asked about.
        coords: [G, 4] depth, chain, needed and all facts.
    """
    first = config.question == "first"
    contexts = [(encoded(question) if first else b"") + said for question, said in zip(questions, facts, strict=True)]
    rows = [context.rjust(2 * config.context_len, b"\0") for context in contexts]  # padding is token 0
    # A number stands at its place after 0 in the vocabulary.
    answers = config.wording.first_number + _digits(config, np.array(values)[:, None])
    mark = config.mark_at
    tokens = np.empty((len(values), mark + config.answer_len), dtype=np.int16)
    tokens[:, : config.context_len] = np.frombuffer(b"".join(rows), dtype="<i2").reshape(len(values), -1)
    if not first:
        tokens[:, config.context_len : mark] = questions
    tokens[:, mark] = config.wording.mark
    tokens[:, mark + 1 :] = answers[:, :-1]
    targets = np.full_like(tokens, NOTHING_ASKED)
    targets[:, mark:] = answers
    segment = np.where(tokens == _PAD_TOKEN, np.int16(PAD), np.int16(CONTEXT))
    segment[:, config.context_len :] = QUERY
    segment[:, mark + 1 :] = ANSWER
    answer_id = np.where(targets == NOTHING_ASKED, np.int16(-1), np.int16(0))
    columns = torch.split(torch.from_numpy(coords), 1, dim=1)
    return Batch(
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(targets),
        segment=torch.from_numpy(segment),
        answer_id=torch.from_numpy(answer_id),
        coords=dict(zip(("depth", "chain", "n_needed", "n_facts"), columns, strict=True)),
    )


def _digits(config: GsmConfig, values: np.ndarray) -> np.ndarray:
    """Numbers that spell an answer: [n, 1] -> [n, answer_len]."""
    if config.modulus is not None:
        return np.asarray(values % config.modulus)
    return np.asarray(values // 10 ** np.arange(config.answer_len)[::-1] % 10)
