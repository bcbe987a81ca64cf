"""The worker: it outlives what happens to it, and ends when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.errors import UnavailableError
from common.tasks import stop
from services.ingestion.usecases.work import Worker, WorkRules
from tests.fakes.waiting import until

RULES = WorkRules(lease_s=0.1, poll_s=0.01, max_attempts=3)


class Jobs:
    """A queue that answers each look with the next of `answers`, then with nothing."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.looks = 0

    async def lease(self, owner: str, now_ms: int, until_ms: int) -> Any:
        self.looks += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def worker(jobs: Any) -> Worker:
    return Worker(jobs, documents=None, process=None, reindex=None, rules=RULES)


@pytest.mark.parametrize("failure", [UnavailableError("database"), RuntimeError("a row that cannot be read")])
async def test_a_worker_goes_on_after_a_failure_of_the_record(failure: Exception):
    jobs = Jobs(failure)
    task = asyncio.create_task(worker(jobs).run())
    await until(lambda: jobs.looks >= 3 or task.done())
    assert not task.done()
    await stop([task])


async def test_a_woken_worker_looks_at_once():
    jobs = Jobs()
    patient = Worker(jobs, None, None, None, WorkRules(lease_s=1, poll_s=60, max_attempts=3))
    task = asyncio.create_task(patient.run())
    await until(lambda: jobs.looks == 1)
    await asyncio.sleep(0)
    patient.wake()
    await until(lambda: jobs.looks == 2)
    await stop([task])


async def test_stopping_ends_a_worker_whose_driver_lost_the_cancellation():
    class Losing(Jobs):
        lost = False

        async def lease(self, owner: str, now_ms: int, until_ms: int) -> Any:
            self.looks += 1
            if self.lost:
                return None
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.lost = True
            return None

    jobs = Losing()
    task = asyncio.create_task(worker(jobs).run())
    await until(lambda: jobs.looks)
    async with asyncio.timeout(5):
        await stop([task])
    assert jobs.lost
    assert task.cancelled()


async def test_stopping_passes_over_what_has_ended_however_it_did():
    async def failing() -> None:
        raise ValueError

    tasks = [asyncio.create_task(failing()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await stop(tasks)
    assert [task.cancelled() for task in tasks] == [False, True]
    assert isinstance(tasks[0].exception(), ValueError)
    await stop([])
