"""One timer ends each wait that takes too long, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from common.llm.watchdog import Watchdog

NEVER = 60.0


async def test_a_wait_without_a_sign_of_life_ends():
    watchdog = Watchdog(0.01)
    with pytest.raises(TimeoutError), watchdog, watchdog.waiting():
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_shorter_limit_holds_from_the_sign_of_life_on():
    watchdog = Watchdog(NEVER)
    with pytest.raises(TimeoutError), watchdog:
        watchdog.heard(0.01)
        with watchdog.waiting():
            await asyncio.Event().wait()
    assert watchdog.limit_s == 0.01


async def test_a_reader_may_take_its_time_between_two_waits():
    watchdog = Watchdog(0.01)
    fired = asyncio.Event()
    with watchdog:
        asyncio.get_running_loop().call_later(0.03, fired.set)
        await fired.wait()  # as a reader who is slow: the limit passes
        watchdog.heard(NEVER)
        with watchdog.waiting():
            await asyncio.sleep(0)
        watchdog.heard(0.01)
        with pytest.raises(TimeoutError), watchdog.waiting():
            await asyncio.Event().wait()


async def test_a_reader_who_leaves_is_not_a_time_out():
    watchdog = Watchdog(NEVER)
    began = asyncio.Event()

    async def read() -> None:
        with watchdog, watchdog.waiting():
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_reader_who_leaves_in_the_same_moment_has_left():
    watchdog = Watchdog(NEVER)
    began = asyncio.Event()

    async def read() -> None:
        with watchdog, watchdog.waiting():
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await began.wait()
    watchdog._until = 0.0
    watchdog._look()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_fails_by_itself_is_told_as_it_is():
    watchdog = Watchdog(NEVER)
    with pytest.raises(ValueError, match="broken"), watchdog, watchdog.waiting():
        raise ValueError("broken")
