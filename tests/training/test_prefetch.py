"""Prefetching: the same things in the same order, one ahead, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest

from sleepkit.training.prefetch import THREAD_NAME, prefetched


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


@pytest.mark.parametrize("numbers", [range(0), range(1), range(3, 10)])
def test_everything_is_given_once_and_in_order(numbers: range) -> None:
    with prefetched(lambda number: number**2, numbers) as made:
        assert list(made) == [number**2 for number in numbers]


def test_the_next_one_is_made_in_another_thread_while_one_is_used() -> None:
    began, makers = [threading.Event() for _ in range(4)], []

    def make(number: int) -> int:
        makers.append(threading.current_thread().name)
        began[number].set()
        return number

    with prefetched(make, range(4)) as made:
        for number in made:
            if number < 3:
                assert began[number + 1].wait(timeout=10)
            if number < 2:
                assert not began[number + 2].is_set()
    assert len(makers) == 4
    assert all(name.startswith(THREAD_NAME) for name in makers)


def test_an_error_is_raised_where_its_result_would_have_been_given() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    with prefetched(make, range(5)) as made:
        assert [next(made), next(made)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(made)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_thread_ends_when_the_user_of_the_results_fails(error: type[BaseException]) -> None:
    numbers: list[int] = []

    def use_one_and_fail() -> None:
        with prefetched(numbers.append, range(100)) as made:
            next(made)
            assert threads() != []
            raise error

    with pytest.raises(error):
        use_one_and_fail()
    assert len(numbers) <= 2


def test_the_thread_ends_when_nobody_asks_for_the_rest() -> None:
    with prefetched(lambda number: number, range(100)) as made:
        assert next(made) == 0
    assert threads() == []
