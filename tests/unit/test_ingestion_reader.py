"""The reading process: what one file does to it harms no other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.reader import ReadingLimits, ReadingProcess, ReadingProcesses
from services.ingestion.domain.errors import DocumentTooLongError
from services.ingestion.domain.formats import HTML, PLAIN
from services.ingestion.domain.records import Extracted
from tests.fakes.waiting import until

GIB = 1024**3
SMALL = b"Hola.\n"
HUGE = b"<p>" + b"<i>word</i> " * 4_000_000


@pytest.fixture
def reader() -> Iterator[ReadingProcess]:
    reader = ReadingProcess(ReadingLimits(timeout_s=60, chunk_tokens=60))
    yield reader
    reader.close()


def pid_of(reader: ReadingProcess) -> int:
    [process] = reader._pool._processes.values()
    return process.pid


async def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_files_are_read_and_cut_in_another_process(reader: ReadingProcess):
    extracted = await reader.extract("# Guía\n\nHola.".encode(), "text/markdown")
    assert extracted == Extracted("# Guía\n\nHola.", "Guía")
    [passage] = await reader.chunk(extracted)
    assert (passage.text, passage.heading) == ("Hola.", "Guía")
    assert pid_of(reader) != os.getpid()


async def test_a_short_text_is_cut_at_once_and_a_long_one_by_itself_alike(reader: ReadingProcess):
    short = "# Luces\n\n" + "La luz roja indica otra cosa. " * 40
    at_once, long = [await reader.extract(text.encode(), "text/markdown") for text in (short, short * 20)]
    assert at_once.passages is not None and long.passages is None
    assert await reader.chunk(at_once) == await reader.chunk(replace(at_once, passages=None))
    assert len(await reader.chunk(long)) == 20 * len(at_once.passages)


async def test_a_refusal_comes_back_whole(reader: ReadingProcess):
    with pytest.raises(UnreadableDocumentError) as refused:
        await reader.extract(b"not one", "application/pdf")
    assert "damaged" in refused.value.message
    assert refused.value.details == {"content_type": "application/pdf"}


async def test_a_text_that_is_too_long_is_refused_and_the_process_lives(reader: ReadingProcess):
    reader._limits = replace(reader._limits, characters=99)
    with pytest.raises(DocumentTooLongError) as refused:
        await reader.extract(b"x" * 100, PLAIN)
    assert refused.value.details["actual"] == 100
    pid = pid_of(reader)
    assert (await reader.extract(SMALL, PLAIN)).text == "Hola.\n"
    assert pid_of(reader) == pid


async def test_a_file_that_takes_long_does_not_hold_up_the_others():
    readers = ReadingProcesses(ReadingLimits(timeout_s=60, chunk_tokens=60), 2)
    try:
        await asyncio.gather(*(process.extract(SMALL, PLAIN) for process in readers._processes))
        slow = asyncio.create_task(readers.extract(HUGE, HTML))
        await asyncio.sleep(0)
        assert (await readers.extract(SMALL, PLAIN)).text == "Hola.\n"
        assert not slow.done()
        slow.cancel()
    finally:
        readers.close()


async def test_a_file_that_takes_too_long_fails_alone(reader: ReadingProcess):
    await reader.extract(SMALL, PLAIN)  # the process is up: starting it is not the file's time
    reader._limits, pid = replace(reader._limits, timeout_s=0.05), pid_of(reader)
    with pytest.raises(UnreadableDocumentError, match="took longer"):
        await reader.extract(HUGE, HTML)
    assert await is_gone(pid)
    reader._limits = replace(reader._limits, timeout_s=60)
    assert (await reader.extract(SMALL, PLAIN)).text == "Hola.\n"


async def test_a_process_killed_while_reading_fails_that_file_only(reader: ReadingProcess):
    await reader.extract(SMALL, PLAIN)
    reading = asyncio.create_task(reader.extract(HUGE, HTML))
    await until(lambda: reader._pool._pending_work_items)
    os.kill(pid_of(reader), signal.SIGKILL)
    with pytest.raises(UnreadableDocumentError, match="broke the process"):
        await reading
    assert (await reader.extract(SMALL, PLAIN)).text == "Hola.\n"


async def test_a_process_killed_while_idle_harms_no_file(reader: ReadingProcess):
    await reader.extract(SMALL, PLAIN)
    os.kill(pid_of(reader), signal.SIGKILL)
    await until(lambda: reader._pool._broken)
    assert (await reader.extract(SMALL, PLAIN)).text == "Hola.\n"


async def test_a_file_that_needs_too_much_memory_fails_alone():
    reader = ReadingProcess(ReadingLimits(timeout_s=60, memory_bytes=GIB * 5 // 4, chunk_tokens=60))
    try:
        await reader.extract(SMALL, PLAIN)
        with pytest.raises(UnreadableDocumentError, match="memory"):
            await reader.extract("🙂".encode() + b"x" * (200 * 1024 * 1024), PLAIN)  # four bytes a character once decoded
        assert (await reader.extract(SMALL, PLAIN)).text == "Hola.\n"
    finally:
        reader.close()


async def test_closing_leaves_no_process(reader: ReadingProcess):
    await reader.extract(SMALL, PLAIN)
    pid = pid_of(reader)
    reader.close()
    await until(lambda: is_gone(pid))
