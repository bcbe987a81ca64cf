"""A repeated `request_id` is answered with the first answer: asked once and counted once, whoever repeats it, on any server."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from common.context import Context
from common.errors import Code, MallaError, UnavailableError
from common.models import ChatEvent, Done, Retrieval
from common.store import now_ms
from common.tasks import finished
from services.query.answer_ports import FirstAnswers
from services.query.usecases.answer import AnswerQuestion, QuerySpec
from services.query.usecases.events import Event
from services.query.usecases.lease import kept
from services.query.usecases.lines import Lines

log = logging.getLogger("malla.query")

_POLL_S = (0.02, 0.25)
# Answers that are remembered here because the record did not take them.
_MOST_REMEMBERED = 256


class RequestInProgressError(MallaError):
    """Another call with the same key is being answered and did not end in time."""

    code = Code.ABORTED
    reason = "REQUEST_IN_PROGRESS"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"Another call with request_id '{request_id}' is being answered. Send this one again: it gets the same answer.",
            details={"request_id": request_id},
            retry_after_s=1.0,
        )


@dataclass(frozen=True)
class OnceRules:
    """How keys are kept.

    Attributes:
        lease_s: Seconds after which the key of a server that went silent is free.
        wait_s: Seconds a repeated call waits for the first.
        keep_s: Seconds for which an answer is kept.
    """

    lease_s: float = 10.0
    wait_s: float = 30.0
    keep_s: float = 86_400.0


class AnswerOnce:
    """Answers each key once; what has no key, every time."""

    def __init__(self, answer: AnswerQuestion, first: FirstAnswers | None, rules: OnceRules) -> None:
        """Without a place for `first` answers, only the ledger knows keys."""
        self._answer = answer
        self._first = first
        self._rules = rules
        self._unkept: OrderedDict[tuple[str, str], Done] = OrderedDict()
        self._lines = Lines()

    def stream(self, spec: QuerySpec, ctx: Context) -> AsyncGenerator[Event, None]:
        """Returns a generator of retrieval, deltas, usage and done.

        It raises what AnswerQuestion raises; for a key, RequestInProgressError where the first call with it does not end in
        time or goes on elsewhere, and UnavailableError where the record cannot tell whether the key is new.
        """
        if not spec.request_id or self._first is None:
            return self._answer.stream(spec, ctx)
        return self._once(self._first, spec, ctx)

    async def whole(self, spec: QuerySpec, ctx: Context) -> Done:
        """Returns the whole answer."""
        done = None
        async with aclosing(self.stream(spec, ctx)) as events:
            async for event in events:
                if isinstance(event, ChatEvent):
                    done = event.done or done
        if done is None:
            raise RuntimeError("the answerer ended without an AnswerEnd")
        return done

    async def _once(self, first: FirstAnswers, spec: QuerySpec, ctx: Context) -> AsyncGenerator[Event, None]:
        tenant_id, key, owner = ctx.tenant_id, spec.key(ctx), uuid.uuid4().hex
        done = await self._found_or_claimed(first, key, owner, spec, ctx)
        if done is not None:
            for event in _replayed(done):
                yield event
            return
        in_progress, ended = RequestInProgressError(spec.request_id), False

        async def keep(done: Done) -> None:
            nonlocal ended
            try:
                mine = await first.keep(tenant_id, key, owner, done, self._until(self._rules.keep_s))
            except UnavailableError:
                # It is counted, and whoever asked gets it. Repeated here, it is known for a while.
                log.warning("the first answer to a key was not kept: the database is away")
                self._remember((tenant_id, key), done)
            else:
                if not mine:
                    raise in_progress
                ended = True

        try:
            async with kept(lambda: self._renew(first, key, owner, ctx), self._rules.lease_s, in_progress) as lease:
                # Each time a model is asked is counted: where the first answer was lost half-way, there is a second.
                answer = self._answer.stream(spec, ctx, attempt=owner[:8], on_done=keep)
                async with aclosing(lease.over(answer)) as events:
                    async for event in events:
                        yield event
        finally:
            if not ended:
                await finished(_released(first, tenant_id, key, owner))

    async def _found_or_claimed(self, first: FirstAnswers, key: str, owner: str, spec: QuerySpec, ctx: Context) -> Done | None:
        """Returns the first answer; None when it is this call that makes it."""
        give_up = time.monotonic() + ctx.remaining_s(self._rules.wait_s)
        poll_s, most_s = _POLL_S
        async with self._lines.first((ctx.tenant_id, key), give_up, RequestInProgressError(spec.request_id)):
            while True:
                unkept = self._unkept.get((ctx.tenant_id, key))
                if unkept is not None:
                    return unkept
                if await first.claim(ctx.tenant_id, key, owner, now_ms(), self._until(self._rules.lease_s)):
                    return None
                done = await first.find(ctx.tenant_id, key, now_ms())
                if done is not None:
                    return done
                if time.monotonic() + poll_s > give_up:
                    raise RequestInProgressError(spec.request_id)
                await asyncio.sleep(poll_s)  # the first call may be another server's: the record is the one place that knows
                poll_s = min(2 * poll_s, most_s)

    async def _renew(self, first: FirstAnswers, key: str, owner: str, ctx: Context) -> bool:
        return await first.renew(ctx.tenant_id, key, owner, self._until(self._rules.lease_s))

    def _remember(self, key: tuple[str, str], done: Done) -> None:
        self._unkept[key] = done
        if len(self._unkept) > _MOST_REMEMBERED:
            self._unkept.popitem(last=False)

    def _until(self, seconds: float) -> int:
        return now_ms() + int(seconds * 1000)


async def _released(first: FirstAnswers, tenant_id: str, key: str, owner: str) -> None:
    try:
        await first.release(tenant_id, key, owner)
    except UnavailableError:
        log.warning("a key was not released: it is free when its lease ends")


def _replayed(done: Done) -> list[Event]:
    told = done.model_copy(update={"metadata": {**done.metadata, "replayed": True}})
    events: list[Event] = [ChatEvent(retrieval=Retrieval(citations=done.citations))]
    if done.answer:
        events.append(done.answer)
    if done.usage is not None:
        events.append(ChatEvent(usage=done.usage))
    return [*events, ChatEvent(done=told)]
