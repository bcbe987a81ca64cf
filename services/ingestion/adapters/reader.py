"""The reading process: files are opened in a process of their own, so that a hostile one harms only its own job."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from common.errors import UnreadableDocumentError
from services.ingestion.domain.texts import Extracted, Passage

P = ParamSpec("P")
T = TypeVar("T")

_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 3.0
_CUT_AT_ONCE_CHARACTERS = 20_000


@dataclass(frozen=True)
class ReadingLimits:
    """What the reading of one file may take, and how long its passages are.

    Attributes:
        timeout_s: Seconds for extracting, and again for cutting.
        memory_bytes: Address space of the process.
        characters: Longest text.
        chunk_tokens: Longest passage.
        overlap_tokens: The most a passage repeats of the one before.
    """

    timeout_s: float = 120.0
    memory_bytes: int = 4 * 1024**3
    characters: int = 10_000_000
    chunk_tokens: int = 220
    overlap_tokens: int = 0


class ReadingProcesses:
    """Several reading processes, so that a file that takes long does not hold up the others."""

    def __init__(self, limits: ReadingLimits, count: int) -> None:
        self._processes = [ReadingProcess(limits) for _ in range(max(1, count))]
        self._freed = asyncio.Event()

    async def extract(self, data: bytes, content_type: str) -> Extracted:
        """Returns a document's text. Raises UnreadableDocumentError when there is none to get within the limits."""
        try:
            return await (await self._free()).extract(data, content_type)
        finally:
            self._freed.set()

    async def chunk(self, extracted: Extracted) -> list[Passage]:
        """Returns the passages of a text, in order."""
        if extracted.passages is not None:
            return list(extracted.passages)
        try:
            return await (await self._free()).chunk(extracted)
        finally:
            self._freed.set()

    def close(self) -> None:
        """Stops the processes."""
        for process in self._processes:
            process.close()

    async def _free(self) -> ReadingProcess:
        """Returns an idle process; another one is started only when those there are busy for long: a start costs seconds."""
        patience_ends = time.monotonic() + _PATIENCE_S
        while True:
            started = [process for process in self._processes if process.is_started]
            free = next((process for process in started if not process.waiting), None)
            left = patience_ends - time.monotonic()
            if free is not None:
                return free
            if not started or left <= 0:
                return min(self._processes, key=lambda process: process.waiting)
            self._freed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._freed.wait()


class ReadingProcess:
    """Extracts and chunks, one file at a time, within limits of time and memory; killed and restarted beyond them."""

    def __init__(self, limits: ReadingLimits) -> None:
        self._limits = limits
        self._pool = self._start()
        # One at a time: a file that breaks the process then breaks no other file's reading.
        self._turn = asyncio.Lock()
        self.waiting = 0
        self.is_started = False

    async def extract(self, data: bytes, content_type: str) -> Extracted:
        """Returns a document's text. Raises UnreadableDocumentError when there is none to get within the limits."""
        return await self._run(_extract, data, content_type, self._limits)

    async def chunk(self, extracted: Extracted) -> list[Passage]:
        """Returns the passages of a text, in order."""
        if extracted.passages is not None:
            return list(extracted.passages)
        return await self._run(_chunk, extracted, self._limits.chunk_tokens, self._limits.overlap_tokens)

    def close(self) -> None:
        """Stops the process."""
        self._kill()

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.is_started = True
        self.waiting += 1
        try:
            return await self._run_in_turn(function, *args, **kwargs)
        finally:
            self.waiting -= 1

    async def _run_in_turn(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turn:
            future = asyncio.wrap_future(self._submit(function, *args, **kwargs))
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    return await future
            except TimeoutError as error:
                self._restart()
                longest = f"{self._limits.timeout_s:.0f} s"
                raise UnreadableDocumentError(
                    f"The file took longer than {longest} to read. Split it, or raise MALLA_EXTRACT_TIMEOUT_S."
                ) from error
            except (BrokenProcessPool, MemoryError) as error:
                self._restart()
                raise UnreadableDocumentError(
                    "The file broke the process that read it: it is damaged or needs too much memory."
                ) from error

    def _submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return self._pool.submit(function, *args, **kwargs)
        except BrokenProcessPool:
            # It died while it was idle: this file is not to blame.
            self._restart()
            return self._pool.submit(function, *args, **kwargs)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=_limit, initargs=(self._limits.memory_bytes,))

    def _restart(self) -> None:
        self._kill()
        self._pool = self._start()

    def _kill(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _limit(memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if sys.platform == "linux":
        # A killed server must not leave this process behind; it would wait on its queue for ever.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _extract(data: bytes, content_type: str, limits: ReadingLimits) -> Extracted:
    from services.ingestion.adapters.extraction import extract

    extracted = extract(data, content_type, limits.characters)
    if len(extracted.text) > _CUT_AT_ONCE_CHARACTERS:
        return extracted
    # Cutting a short text takes less than asking for it.
    return replace(extracted, passages=tuple(_chunk(extracted, limits.chunk_tokens, limits.overlap_tokens)))


def _chunk(extracted: Extracted, most_tokens: int, overlap_tokens: int) -> list[Passage]:
    from services.ingestion.adapters.chunking import chunk

    return chunk(extracted, most_tokens, overlap_tokens)
