"""The comparison helpers accept what is right and reject what is wrong."""

import pytest
import torch

from tests.support.compare import assert_close, assert_same_bits, largest_error


def test_a_value_within_the_tolerance_is_accepted() -> None:
    assert_close(torch.tensor([1.0, 2.0 + 1e-11], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize("wrong", [2.0 + 1e-8, float("nan"), float("inf")])
def test_a_wrong_value_is_rejected_with_its_error(wrong: float) -> None:
    actual, expected = torch.tensor([1.0, wrong], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    with pytest.raises(AssertionError, match=r"output: max abs error (1\.000e-08|inf)"):
        assert_close(actual, expected, what="output")


def test_a_tensor_that_would_broadcast_is_rejected() -> None:
    with pytest.raises(AssertionError, match=r"shape \[1\], expected \[3\]"):
        assert_close(torch.zeros(1), torch.zeros(3))


def test_the_tolerance_grows_with_the_size_of_the_expected_values() -> None:
    expected = torch.tensor([1e6, 1.0], dtype=torch.float64)
    assert_close(expected + 1e-5, expected)
    with pytest.raises(AssertionError):
        assert_close(expected + 1e-3, expected)


def test_same_bits_rejects_one_ulp_and_another_dtype() -> None:
    value = torch.tensor([1.0, float("nan")])
    assert_same_bits(value, value.clone())
    with pytest.raises(AssertionError, match="1 of 2 entries differ"):
        assert_same_bits(torch.tensor([1.0 + 2**-23, float("nan")]), value)
    with pytest.raises(AssertionError, match="float64"):
        assert_same_bits(value.double(), value)


def test_the_largest_error_of_a_nan_is_infinite() -> None:
    assert largest_error(torch.tensor([float("nan")]), torch.tensor([0.0])) == float("inf")
