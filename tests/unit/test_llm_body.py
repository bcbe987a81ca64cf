"""The body of an answer is read where it comes in, by both SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import StreamReader

from common.llm import LlmSettings
from common.llm.body import read_body
from common.llm.providers import groq_provider, openai_provider
from common.llm.sdk import SdkProvider
from common.llm.types import Generation, Message
from tests.fakes.llm_upstream import Upstream, running_upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as upstream:
        yield upstream


@pytest.mark.parametrize("make", [groq_provider, openai_provider])
async def test_aiohttps_reader_is_found_in_a_response(upstream: Upstream, make: Any):
    settings = LlmSettings(
        _env_file=None,
        GROQ_API_KEY="none",
        GROQ_BASE_URL=upstream.url,
        OPENAI_API_KEY="none",
        OPENAI_BASE_URL=upstream.url,
    )
    provider: SdkProvider = make(settings)
    async with provider._open(Generation(model="m", messages=[Message("user", "hola")])) as response:
        read = read_body(response.http_response)
        assert isinstance(read.__self__, StreamReader)  # type: ignore[attr-defined]
        assert b"data:" in await read()
    await provider.aclose()


class Response:
    """A response that is not as known."""

    def __init__(self, *chunks: bytes) -> None:
        self.headers = {"content-encoding": "gzip"}
        self._chunks = chunks

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


async def test_another_response_is_read_as_the_sdk_reads_it():
    read = read_body(Response(b"a", b"", b"b"))
    assert [await read() for _ in range(3)] == [b"a", b"b", b""]
