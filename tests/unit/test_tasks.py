"""Ending background tasks, and work that has to be done to its end."""

from __future__ import annotations

import asyncio

import pytest

from common.tasks import finished, stop


async def test_finished_returns_what_the_work_comes_to():
    async def work() -> int:
        return 3

    assert await finished(work()) == 3


async def test_finished_raises_what_the_work_raises():
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await finished(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_a_caller_cancelled_again_and_again_goes_on_after_the_end_of_the_work(fails: bool):
    told: list[str] = []
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        told.append("the work's end")
        if fails:
            raise ValueError("seen by nobody")

    async def caller() -> None:
        try:
            await finished(work())
        finally:
            told.append("the caller's end")

    task = asyncio.create_task(caller())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert told == []
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["the work's end", "the caller's end"]


async def test_work_that_is_itself_cancelled_is_told_as_that():
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await finished(work())


async def test_what_is_stopped_tidies_up_to_its_end_although_it_is_asked_more_than_once():
    told: list[str] = []

    async def tidy() -> None:
        await asyncio.sleep(0.7)  # longer than `stop` waits before it asks again
        told.append("tidied up")

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await finished(tidy())

    task = asyncio.create_task(background())
    await asyncio.sleep(0)
    await stop([task])
    assert told == ["tidied up"]
