"""The reading process: files are opened in a process of their own, so that a hostile one harms only its own job."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from common.errors import UnreadableDocumentError
from services.ingestion.domain.records import Extracted, Passage

P = ParamSpec("P")
T = TypeVar("T")

_PR_SET_PDEATHSIG = 1


class ReadingProcess:
    """Extracts and chunks, one file at a time, within limits of time and memory; killed and restarted beyond them."""

    def __init__(self, *, timeout_s: float, memory_bytes: int, chunk_tokens: int) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._chunk_tokens = chunk_tokens
        self._pool = self._start()
        # One at a time: a file that breaks the process then breaks no other file's reading.
        self._turn = asyncio.Lock()

    async def extract(self, data: bytes, content_type: str) -> Extracted:
        """Returns a document's text. Raises UnreadableDocumentError when there is none to get within the limits."""
        return await self._run(_extract, data, content_type)

    async def chunk(self, extracted: Extracted) -> list[Passage]:
        """Returns the passages of a text, in order."""
        return await self._run(_chunk, extracted, self._chunk_tokens)

    def close(self) -> None:
        """Stops the process."""
        self._kill()

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turn:
            future = asyncio.wrap_future(self._submit(function, *args, **kwargs))
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await future
            except TimeoutError as error:
                self._restart()
                raise UnreadableDocumentError(
                    f"The file took longer than {self._timeout_s:.0f} s to read. Split it, or raise MALLA_EXTRACT_TIMEOUT_S."
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
        return ProcessPoolExecutor(1, mp_context=context, initializer=_limit, initargs=(self._memory_bytes,))

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


def _extract(data: bytes, content_type: str) -> Extracted:
    from services.ingestion.adapters.extraction import extract

    return extract(data, content_type)


def _chunk(extracted: Extracted, most_tokens: int) -> list[Passage]:
    from services.ingestion.adapters.chunking import chunk

    return chunk(extracted, most_tokens)
