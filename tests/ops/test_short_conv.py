"""The short convolution: depthwise, causal, continuing from its tail."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sleepkit import ops
from sleepkit.errors import InvalidInputError
from tests.support.compare import assert_close, assert_same_bits


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("n_taps", [1, 2, 4, 7])
@pytest.mark.parametrize("seq_len", [1, 3, 10])
def test_it_equals_a_grouped_conv1d(seq_len: int, n_taps: int) -> None:
    inputs, weight = draw(2, seq_len, 5), draw(5, n_taps)
    expected = F.conv1d(F.pad(inputs.mT, (n_taps - 1, 0)), weight[:, None], groups=5).mT
    out, tail = ops.short_conv(inputs, weight)
    assert_close(out, expected)
    assert_same_bits(tail, F.pad(inputs, (0, 0, n_taps - 1, 0))[:, seq_len:], what="tail")


@hypothesis.given(pieces=st.lists(st.integers(1, 5), min_size=1, max_size=6), n_taps=st.integers(1, 5))
def test_pieces_with_their_tails_equal_the_whole(pieces: list[int], n_taps: int) -> None:
    inputs, weight = draw(2, sum(pieces), 3), draw(3, n_taps)
    expected, expected_tail = ops.short_conv(inputs, weight)
    outputs, tail = [], None
    for piece in inputs.split(pieces, dim=1):
        out, tail = ops.short_conv(piece, weight, tail)
        outputs.append(out)
    assert_same_bits(torch.cat(outputs, dim=1), expected, what="out")
    assert_same_bits(tail, expected_tail, what="tail")


def test_gradients_equal_finite_differences() -> None:
    leaves = [draw(2, 5, 3).requires_grad_(), draw(3, 4).requires_grad_(), draw(2, 3, 3).requires_grad_()]
    assert torch.autograd.gradcheck(ops.short_conv, leaves)


def test_outputs_see_the_last_taps_and_no_later_token() -> None:
    inputs = draw(1, 9, 2).requires_grad_()
    out, _ = ops.short_conv(inputs, draw(2, 4))
    (gradient,) = torch.autograd.grad(out[:, 5].sum(), inputs)
    assert gradient[0].any(dim=1).tolist() == [False, False, True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("name", "weight", "tail"), [("weight", (4, 4), (2, 3, 3)), ("tail", (3, 4), (2, 2, 3)), ("tail", (3, 4), (1, 3, 3))]
)
def test_a_wrong_shape_is_refused_by_the_name_of_its_argument(name: str, weight: tuple[int, ...], tail: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must have"):
        ops.short_conv(draw(2, 5, 3), draw(*weight), draw(*tail))


def test_a_dynamic_convolution_with_the_same_taps_everywhere_is_the_fixed_one() -> None:
    inputs, weight, tail = draw(2, 6, 3), draw(3, 4), draw(2, 3, 3)
    out, after = ops.dynamic_conv(inputs, weight.expand(2, 6, 3, 4), tail)
    expected, expected_after = ops.short_conv(inputs, weight, tail)
    assert_close(out, expected, what="out")
    assert_same_bits(after, expected_after, what="tail")


@hypothesis.given(pieces=st.lists(st.integers(1, 5), min_size=1, max_size=6), n_taps=st.integers(1, 5))
def test_pieces_of_a_dynamic_convolution_equal_the_whole_and_the_definition(pieces: list[int], n_taps: int) -> None:
    seq_len = sum(pieces)
    inputs, taps = draw(2, seq_len, 3), draw(2, seq_len, 3, n_taps)
    outputs, tail = [], None
    for piece, made in zip(inputs.split(pieces, dim=1), taps.split(pieces, dim=1), strict=True):
        out, tail = ops.dynamic_conv(piece, made, tail)
        outputs.append(out)
    before = F.pad(inputs, (0, 0, n_taps - 1, 0))
    for t in range(seq_len):
        expected = sum(taps[:, t, :, i] * before[:, t + i] for i in range(n_taps))
        assert_close(torch.cat(outputs, dim=1)[:, t], expected, what=f"token {t}")
    assert_same_bits(tail, before[:, seq_len:], what="tail")


def test_gradients_of_a_dynamic_convolution_equal_finite_differences() -> None:
    leaves = [draw(2, 5, 3).requires_grad_(), draw(2, 5, 3, 4).requires_grad_(), draw(2, 3, 3).requires_grad_()]
    assert torch.autograd.gradcheck(ops.dynamic_conv, leaves)


@pytest.mark.parametrize(
    ("name", "taps", "tail"),
    [("taps", (2, 5, 3), (2, 3, 3)), ("taps", (2, 4, 3, 4), (2, 3, 3)), ("tail", (2, 5, 3, 4), (2, 2, 3))],
)
def test_a_wrong_shape_of_a_dynamic_convolution_is_refused(name: str, taps: tuple[int, ...], tail: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: must have"):
        ops.dynamic_conv(draw(2, 5, 3), draw(*taps), draw(*tail))
