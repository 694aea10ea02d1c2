"""Reading streams in pieces, and comparing sessions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sleepkit.sleep import Session
from tests.support.compare import assert_same_bits
from tests.support.models import assert_same_state, random_tokens


def read_in_pieces(session: Session, tokens_BT: Tensor, sizes: Sequence[int]) -> Tensor:
    """Read the tokens in pieces of the given sizes, over and over, and join the logits."""
    logits, number = [], 0
    while tokens_BT.shape[1]:
        piece, tokens_BT = tokens_BT[:, : sizes[number % len(sizes)]], tokens_BT[:, sizes[number % len(sizes)] :]
        logits.append(session.read(piece))
        number += 1
    return torch.cat(logits, dim=1)


def assert_same_session(actual: Session, expected: Session) -> None:
    """Refuse a session that differs from the expected one now or in anything it does next."""
    facts = ("cache_len", "n_read", "n_sleeps", "batch_size", "sleep_config", "n_bytes")
    assert [getattr(actual, fact) for fact in facts] == [getattr(expected, fact) for fact in facts]
    assert_same_state(actual.state, expected.state)
    tokens = random_tokens(actual.batch_size, 7, seed=5)
    one, other = actual.fork(), expected.fork()
    assert_same_bits(one.read(tokens), other.read(tokens), what="logits read next")
    one.sleep()
    other.sleep()
    assert_same_state(one.state, other.state)
