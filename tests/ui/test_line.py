"""Who waits in a line has a turn in the order of arrival, is told the place, and makes room when giving up."""

import asyncio

import pytest

from sleepkit.ui.line import Line


def test_turns_come_one_at_a_time_in_the_order_of_arrival() -> None:
    line, told, had = Line(), dict[int, list[int]](), list[int]()

    async def wait(number: int) -> None:
        async with line.turn(told.setdefault(number, []).append):
            had.append(number)
            await asyncio.sleep(0)
            assert had[-1] == number

    async def come() -> None:
        await asyncio.gather(*map(wait, range(5)))

    asyncio.run(come())
    assert had == list(range(5))
    assert [told[number][0] for number in range(1, 5)] == [1, 2, 3, 4]
    assert told[0] == []
    assert len(line) == 0


def test_who_gives_up_and_who_fails_make_room() -> None:
    line = Line()

    async def come() -> None:
        async def fail() -> None:
            async with line.turn():
                await asyncio.sleep(0.01)
                raise ValueError("failed")

        async def wait() -> str:
            async with line.turn():
                return "had a turn"

        first, second, third = (asyncio.ensure_future(each) for each in (fail(), wait(), wait()))
        await asyncio.sleep(0)
        second.cancel()
        assert await third == "had a turn"
        with pytest.raises(ValueError, match="failed"):
            await first

    asyncio.run(come())
    assert len(line) == 0
