"""Softmax attention in one window, its padding, and rotary positions."""

import pytest
import torch
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import InvalidInputError
from tests.support.compare import assert_close, assert_same_bits


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attend_one_by_one(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, sliding_len: int = 100) -> Tensor:
    """Loop over queries; each takes the exponentials of the keys it may see."""
    out, offset = torch.empty_like(q), k.shape[2] - q.shape[2]
    for example in range(q.shape[0]):
        for query in range(q.shape[2]):
            own = query + offset
            first = max(0, own - sliding_len + 1)
            seen = [key for key in range(first, own + 1) if key == own or valid is None or bool(valid[example, key])]
            scores = k[example, :, seen] @ q[example, :, query, :, None] / q.shape[-1] ** 0.5
            weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
            out[example, :, query] = (weights * v[example, :, seen]).sum(dim=1)
    return out


@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 1), (6, 6), (1, 6), (3, 7)])
def test_attention_equals_an_explicit_softmax(n_queries: int, n_keys: int) -> None:
    q, k, v = draw(2, 3, n_queries, 4), draw(2, 3, n_keys, 4, seed=1), draw(2, 3, n_keys, 4, seed=2)
    assert_close(ops.attention(q, k, v), attend_one_by_one(q, k, v))


@pytest.mark.parametrize(("n_queries", "n_keys"), [(6, 6), (3, 7), (1, 6)])
def test_attention_with_padded_keys_equals_an_explicit_softmax(n_queries: int, n_keys: int) -> None:
    q, k, v = draw(2, 3, n_queries, 4), draw(2, 3, n_keys, 4, seed=1), draw(2, 3, n_keys, 4, seed=2)
    valid = torch.rand(2, n_keys, generator=torch.Generator().manual_seed(5)) < 0.5
    assert not valid.all()
    assert_close(ops.attention(q, k, v, valid_BS=valid), attend_one_by_one(q, k, v, valid))


@pytest.mark.parametrize("sliding_len", [1, 2, 4, 7, 9])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 7), (4, 7), (7, 7)])
def test_sliding_attention_equals_an_explicit_softmax_over_the_newest_keys(
    n_queries: int, n_keys: int, padded: bool, sliding_len: int
) -> None:
    q, k, v = draw(2, 3, n_queries, 4), draw(2, 3, n_keys, 4, seed=1), draw(2, 3, n_keys, 4, seed=2)
    valid = torch.rand(2, n_keys, generator=torch.Generator().manual_seed(5)) < 0.5 if padded else None
    expected = attend_one_by_one(q, k, v, valid, sliding_len)
    assert_close(ops.attention(q, k, v, valid_BS=valid, sliding_len=sliding_len), expected)
    weights = ops.attention_weights(q, k, valid_BS=valid, sliding_len=sliding_len)
    assert_close(weights @ v, expected)


def test_attention_weights_are_the_ones_attention_applies() -> None:
    q, k, v = draw(2, 3, 4, 4), draw(2, 3, 6, 4, seed=1), draw(2, 3, 6, 4, seed=2)
    valid = torch.tensor([[False, True, True, False, True, True], [True] * 6])
    for mask in (None, valid):
        weights = ops.attention_weights(q, k, valid_BS=mask)
        assert_close(weights @ v, ops.attention(q, k, v, valid_BS=mask), what="weights times values")
        assert_close(weights.sum(-1), torch.ones(2, 3, 4, dtype=torch.float64), what="sum of weights")


@pytest.mark.parametrize("query", [0, 2, 5])
def test_a_query_sees_no_later_key(query: int) -> None:
    k, v = draw(1, 2, 6, 4, seed=1).requires_grad_(), draw(1, 2, 6, 4, seed=2).requires_grad_()
    out = ops.attention(draw(1, 2, 6, 4), k, v)
    d_k, d_v = torch.autograd.grad(out[:, :, query].square().sum(), (k, v))
    for gradient in (d_k, d_v):
        assert not gradient[:, :, query + 1 :].any()
    assert d_v[:, :, : query + 1].any()
    if query > 0:  # the weight of an only key is 1 whatever it is: its gradient is 0, or rounding
        assert d_k[:, :, : query + 1].any()


def test_what_padded_keys_hold_does_not_matter_to_valid_queries() -> None:
    q, k, v = draw(1, 2, 6, 4), draw(1, 2, 6, 4, seed=1), draw(1, 2, 6, 4, seed=2)
    valid = torch.tensor([[False, False, True, True, False, True]])
    hidden = ~valid[0]
    other_k, other_v = k.clone(), v.clone()
    other_k[:, :, hidden], other_v[:, :, hidden] = 50.0, -50.0
    expected = ops.attention(q, k, v, valid_BS=valid)[:, :, valid[0]]
    assert_same_bits(ops.attention(q, other_k, other_v, valid_BS=valid)[:, :, valid[0]], expected)


def angles(start: int, length: int, head_dim: int, base: float) -> ops.Rotation:
    return ops.rotation(start, length, head_dim=head_dim, base=base, dtype=torch.float64, device=torch.device("cpu"))


def scores_at(query_start: int, key_start: int) -> Tensor:
    q, k = draw(1, 5, 2, 8), draw(1, 5, 2, 8, seed=1)
    turned = [ops.rotary(x, angles(start, 5, 8, 100.0)) for x, start in ((q, query_start), (k, key_start))]
    return torch.einsum("bqhd,bshd->bhqs", *turned)


@pytest.mark.parametrize("shift", [1, 7, 100])
def test_scores_of_rotated_vectors_depend_on_relative_positions_only(shift: int) -> None:
    assert_close(scores_at(shift, shift), scores_at(0, 0))


def test_rotary_equals_multiplication_by_a_unit_complex_number() -> None:
    x, position, base = draw(2, 6, 3, 8), torch.arange(3, 9, dtype=torch.float64), 50.0
    frequency = base ** -(torch.arange(4, dtype=torch.float64) / 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.exp(1j * position[:, None] * frequency)[:, None]
    assert_close(ops.rotary(x, angles(3, 6, 8, base)), torch.cat([turned.real, turned.imag], dim=-1))


def test_rotary_moves_scores_when_only_one_side_is_shifted() -> None:
    with pytest.raises(AssertionError):
        assert_close(scores_at(3, 0), scores_at(0, 0))


def test_rotary_refuses_an_odd_number_of_channels() -> None:
    with pytest.raises(InvalidInputError, match="head channels: must be even for rotary positions, got 7"):
        angles(0, 2, 7, 100.0)


def test_angles_computed_under_inference_mode_serve_training_too() -> None:
    with torch.inference_mode():
        made = angles(11, 3, 8, 123.0)
    x = draw(1, 3, 2, 8).requires_grad_()
    ops.rotary(x, made).sum().backward()
    assert x.grad is not None
    assert made is angles(11, 3, 8, 123.0)
