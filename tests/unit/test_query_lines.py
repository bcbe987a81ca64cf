"""Those who wait for a conversation's turn, one behind the other."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.query.usecases.lines import Lines

LATE = ValueError("late")


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


async def test_one_is_first_the_others_follow_in_order_and_nothing_is_left():
    lines, inside, order = Lines(), 0, list[int]()

    async def wait(number: int) -> None:
        nonlocal inside
        async with lines.first("a", soon(), LATE):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            order.append(number)
            inside -= 1

    await asyncio.gather(*(wait(number) for number in range(20)))
    assert order == list(range(20))
    assert len(lines) == 0


async def test_other_keys_do_not_wait():
    lines = Lines()
    async with lines.first("a", soon(), LATE), lines.first("b", soon(), LATE):
        assert len(lines) == 2
    assert len(lines) == 0


async def test_who_is_not_first_in_time_is_told_so_and_who_leaves_holds_nobody_up():
    lines, entered = Lines(), asyncio.Event()

    async def wait(until: float) -> None:
        async with lines.first("a", until, LATE):
            entered.set()

    async with lines.first("a", soon(), LATE):
        for until in (soon(0.02), soon(-1)):
            with pytest.raises(ValueError, match="late"):
                await wait(until)
        leaving, staying = (asyncio.create_task(wait(soon())) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert not entered.is_set()
    await staying
    assert entered.is_set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(lines) == 0


async def test_a_line_whose_first_fails_moves_on():
    lines = Lines()
    with pytest.raises(KeyError):
        async with lines.first("a", soon(), LATE):
            raise KeyError
    async with lines.first("a", soon(-1), LATE):  # nobody is there: there is nothing to wait for
        pass
