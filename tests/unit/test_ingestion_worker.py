"""The worker: it outlives what happens to it, and ends when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.errors import UnavailableError
from common.tasks import stop
from services.ingestion.usecases.queue import JobQueue
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


def queue(jobs: Any, poll_s: float = 60) -> JobQueue:
    return JobQueue(jobs, lease_s=RULES.lease_s, poll_s=poll_s)


def worker(jobs: Any) -> Worker:
    return Worker(queue(jobs, RULES.poll_s), jobs, documents=None, process=None, reindex=None, rules=RULES)


@pytest.mark.parametrize("failure", [UnavailableError("database"), RuntimeError("a row that cannot be read")])
async def test_a_worker_goes_on_after_a_failure_of_the_record(failure: Exception):
    jobs = Jobs(failure)
    task = asyncio.create_task(worker(jobs).run())
    await until(lambda: jobs.looks >= 3 or task.done())
    assert not task.done()
    await stop([task])


async def test_a_job_that_arrives_is_looked_for_at_once():
    jobs = Jobs()
    patient = queue(jobs)
    task = asyncio.create_task(patient.next("me"))
    await until(lambda: jobs.looks == 1)
    await asyncio.sleep(0)
    jobs.answers.append("job")
    patient.wake()
    async with asyncio.timeout(5):
        assert await task == "job"
    assert jobs.looks == 2


async def test_a_job_that_arrives_during_a_look_is_not_missed():
    class Late(Jobs):
        async def lease(self, owner: str, now_ms: int, until_ms: int) -> Any:
            found = await super().lease(owner, now_ms, until_ms)
            if self.looks == 1:
                self.answers.append("job")
                late.wake()
            return found

    jobs = Late()
    late = queue(jobs)
    async with asyncio.timeout(5):
        assert await late.next("me") == "job"


async def test_idle_workers_look_one_for_all():
    jobs = Jobs()
    shared = queue(jobs)
    tasks = [asyncio.create_task(shared.next(f"worker-{n}")) for n in range(3)]
    await until(lambda: jobs.looks)
    for _ in range(100):
        await asyncio.sleep(0)
    assert jobs.looks == 1
    await stop(tasks)


async def test_each_worker_gets_a_job_of_a_backlog_without_being_woken():
    jobs = Jobs(None, "a", "b", "c")
    shared = queue(jobs)
    tasks = [asyncio.create_task(shared.next(f"worker-{n}")) for n in range(3)]
    await until(lambda: jobs.looks)
    shared.wake()
    async with asyncio.timeout(5):
        assert sorted(await asyncio.gather(*tasks)) == ["a", "b", "c"]


async def test_a_worker_that_leaves_the_queue_leaves_its_place_to_the_next():
    jobs = Jobs()
    shared = queue(jobs)
    first, second = (asyncio.create_task(shared.next(name)) for name in ("first", "second"))
    await until(lambda: jobs.looks == 1)
    await stop([first])
    jobs.answers.append("job")
    shared.wake()
    async with asyncio.timeout(5):
        assert await second == "job"


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
