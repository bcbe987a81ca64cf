"""Tries again what failed before its first token, and leaves alone a provider that keeps failing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from common.llm.breaker import Breaker
from common.llm.errors import LlmError
from common.llm.observed import observed
from common.llm.types import Generation, GenerationEnd, ModelInfo, Provider

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetryPolicy:
    """Waits between tries: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015).

    Attributes:
        retries: Tries after the first one.
        base_s: The longest wait before the first retry; doubles with each.
        max_s: The longest wait; a provider that asks for more is not tried again.
    """

    retries: int
    base_s: float
    max_s: float

    def delay_s(self, error: LlmError, retries_made: int) -> float | None:
        """Returns how long to wait before the next try, None for no further try."""
        if not error.retries or retries_made >= self.retries:
            return None
        jittered = random.uniform(0, min(self.max_s, self.base_s * 2.0**retries_made))  # noqa: S311  # no secret
        if not getattr(error, "asked_to_wait", False):
            return jittered
        # Never before the provider asked for; a little after, so that those it sent away do not return together.
        wait_s = error.retry_after_s or 0.0
        return None if wait_s > self.max_s else wait_s + min(jittered, self.base_s)


class ResilientProvider:
    """A provider with retries and a circuit breaker around every generation."""

    def __init__(
        self, inner: Provider, policy: RetryPolicy, breaker: Breaker, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.name = inner.name
        self.breaker = breaker
        self._inner = inner
        self._policy = policy
        self._sleep = sleep

    async def stream(self, request: Generation) -> AsyncGenerator[str | GenerationEnd, None]:
        """Yields what the provider yields. After the first delta nothing is tried again."""
        retries = 0
        while True:
            begun = False
            try:
                with self.breaker.call(request.model):
                    async with aclosing(observed(self.name, request, self._inner.stream(request))) as pieces:
                        async for piece in pieces:
                            if not begun:
                                begun = True
                                self.breaker.succeeded()
                            yield piece
                return
            except LlmError as error:
                delay_s = None if begun or self.breaker.open else self._policy.delay_s(error, retries)
                if delay_s is None:
                    raise
                _log.info("trying %s again in %.2f s after %s", self.name, delay_s, error.reason)
            retries += 1
            await self._sleep(delay_s)

    async def models(self) -> list[ModelInfo]:
        """Returns the live list; tried once."""
        return await self._inner.models()

    async def check_key(self) -> None:
        """Returns where the key is accepted; tried once."""
        await self._inner.check_key()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._inner.aclose()
