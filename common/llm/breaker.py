"""A circuit breaker (Nygard, Release It!, 2nd edition, 2018): a provider that keeps failing is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.llm.errors import LlmError, LlmUnavailableError


class Breaker:
    """Opens after so many failures in a row; after a while one call at a time probes whether it may close."""

    def __init__(self, provider: str, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._opened_at = 0.0
        self._probe: object | None = None

    @property
    def open(self) -> bool:
        """Whether the provider has failed too often and has not answered since."""
        return self._failures >= self._limit

    def succeeded(self) -> None:
        """Notes that the provider answers."""
        self._failures = 0
        self._probe = None  # it told what it was made for; its answer may go on for minutes

    @contextmanager
    def call(self, model: str) -> Iterator[None]:
        """Runs one call and learns from how it fails. Raises LlmUnavailableError at once while the breaker is open."""
        probe = self._admitted(model) if self.open else None
        try:
            yield
        except LlmError as error:
            if error.unhealthy:
                self._failures += 1
                self._opened_at = self._clock()
            else:
                self.succeeded()  # It refused, so it lives.
            raise
        finally:
            if probe is not None and probe is self._probe:
                self._probe = None

    def _admitted(self, model: str) -> object:
        wait_s = self._opened_at + self._open_s - self._clock()
        if wait_s > 0 or self._probe is not None:
            raise LlmUnavailableError(
                "has failed several times in a row and is left alone for a while",
                provider=self._provider,
                model=model,
                retry_after_s=max(wait_s, 0.1),
            )
        self._probe = object()
        return self._probe
