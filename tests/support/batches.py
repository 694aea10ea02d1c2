"""Batches built by hand."""

import torch
from torch import Tensor

from sleepkit.tasks import ANSWER, CONTEXT, NOTHING_ASKED, PAD, QUERY, Batch
from tests.support.models import random_tokens


def ask_at_the_end(tokens: Tensor, n_asked: int, *, targets: Tensor | None = None) -> Batch:
    """Let the last ``n_asked`` positions be a question: a query token, then answers, each with a target."""
    batch, seq_len = tokens.shape
    start = seq_len - n_asked
    asked = random_tokens(batch, n_asked, seed=99) if targets is None else targets
    segment = torch.full((batch, seq_len), CONTEXT)
    segment[:, start : start + 1], segment[:, start + 1 :] = QUERY, ANSWER
    answer_id = torch.full((batch, seq_len), -1)
    answer_id[:, start:] = torch.arange(n_asked)
    return Batch(
        tokens=tokens,
        targets=torch.cat([torch.full((batch, start), NOTHING_ASKED), asked], dim=1),
        segment=segment,
        answer_id=answer_id,
        coords={"depth": torch.arange(n_asked).expand(batch, -1)},
    )


def pad_left(batch: Batch, n_pad: int) -> Batch:
    """Put ``n_pad`` positions of padding, with arbitrary tokens in them, before every example."""

    def before(tensor: Tensor, fill: int) -> Tensor:
        return torch.cat([torch.full((batch.size, n_pad), fill), tensor], dim=1)

    noise = random_tokens(batch.size, n_pad, seed=77)
    return Batch(
        tokens=torch.cat([noise, batch.tokens], dim=1),
        targets=before(batch.targets, NOTHING_ASKED),
        segment=before(batch.segment, PAD),
        answer_id=before(batch.answer_id, -1),
        coords=batch.coords,
    )


def stack(*batches: Batch) -> Batch:
    """Put batches of one shape below each other."""
    return Batch(
        *(torch.cat([getattr(b, name) for b in batches]) for name in ("tokens", "targets", "segment", "answer_id")),
        {"depth": torch.cat([b.coords["depth"] for b in batches])},
    )
