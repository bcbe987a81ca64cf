"""A provider that speaks OpenAI's chat completions, through its official SDK.

The SDK does addresses, authentication and connections (on aiohttp, whose parser hands over all that one read brought). It
neither retries nor parses the stream: `resilience` does the one, `sse` the other at an eighth of the CPU.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from common.llm.body import ReadBody, read_body
from common.llm.errors import LlmError, LlmKeyRejectedError, LlmTimeoutError, LlmUnavailableError
from common.llm.failures import failure_of, reported_failure
from common.llm.sse import BrokenStreamError, ChunkReader, ReportedError
from common.llm.types import Generation, GenerationEnd, ModelInfo
from common.llm.usage import counted_usage, estimate_prompt_tokens
from common.llm.watchdog import Watchdog
from common.models import TokenUsage

# The end of the body comes with the last event; a connection whose body was read to its end is used again.
_BODY_END_S = 0.05
# Kept connections that turn out to be closed; the request was not sent on any, so that it is no second one.
_MOST_UNSENT = 5
# The longest tokens of known vocabularies have half as many. A model that says more does not end where it was told to.
_MOST_CHARACTERS_A_TOKEN = 256
# However long an answer may be: it travels in one message, and is stored in one document.
_MOST_CHARACTERS = 1_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sdk:
    """One SDK: its client and its exceptions (groq and openai have the same shape).

    Attributes:
        extra: Added to the body of every generation.
        limit_field: How this server calls the longest answer: max_tokens or max_completion_tokens.
        transport_errors: What reading the body may raise.
        unsent_errors: What a connection raises that was kept, and that the server closed before the request was written.
    """

    client: Any
    status_error: type[Exception]
    connection_error: type[Exception]
    transport_errors: tuple[type[Exception], ...]
    unsent_errors: tuple[type[Exception], ...]
    extra: dict[str, Any]
    limit_field: str = "max_tokens"


@dataclass(frozen=True)
class Limits:
    """How long is waited, and what is asked for where the caller does not say."""

    first_token_s: float
    idle_s: float
    max_tokens: int
    temperature: float


class SdkProvider:
    """One server."""

    def __init__(self, name: str, sdk: Sdk, limits: Limits) -> None:
        self.name = name
        self._sdk = sdk
        self._limits = limits

    async def stream(self, request: Generation) -> AsyncGenerator[str | GenerationEnd, None]:
        """Yields the deltas of one read as one piece, at once, then the end.

        A model that does not end at its longest answer is ended there, as if it had: whoever keeps the answer keeps no more.
        """
        reader = ChunkReader()
        watchdog = Watchdog(self._limits.first_token_s)
        room = min((request.max_tokens or self._limits.max_tokens) * _MOST_CHARACTERS_A_TOKEN, _MOST_CHARACTERS)
        async with AsyncExitStack() as connection:
            with self._failures(request.model), self._silence(request.model, reader, watchdog):
                body = await self._body(request, connection, watchdog)
                while not reader.done:
                    chunk = await self._next(body, watchdog, reader)
                    if not chunk:
                        break
                    before = reader.alive
                    text = reader.feed(chunk)
                    if text:
                        if room:
                            yield text[:room]
                        room -= len(text)
                        if room < 0:
                            break
                    # After the yield: a reader that takes its time is not the provider's silence.
                    if reader.alive != before:
                        watchdog.heard(self._limits.idle_s)
                if room >= 0:
                    if not reader.complete:
                        raise self._down("cut the answer short", request.model)
                    await self._read_out(body)
        if room < 0:
            _log.warning("%s did not end its answer and was ended", self.name, extra={"model": request.model})
        yield GenerationEnd(
            finish_reason="length" if room < 0 else reader.finish_reason or "stop",
            usage=self._usage(request, reader),
            model=reader.model or request.model,
        )

    @contextmanager
    def _silence(self, model: str, reader: ChunkReader, watchdog: Watchdog) -> Iterator[None]:
        try:
            with watchdog:
                yield
        except TimeoutError:
            waiting_for = "next token" if reader.alive else "first token"
            raise LlmTimeoutError(waiting_for, watchdog.limit_s, provider=self.name, model=model) from None

    async def _next(self, body: ReadBody, watchdog: Watchdog, reader: ChunkReader) -> bytes:
        """Returns what has come; nothing at the end, and where a stream that said it ends breaks off: no text is missing."""
        sdk: Any = self._sdk
        try:
            with watchdog.waiting():
                return await body()
        except (*sdk.transport_errors, OSError):  # TimeoutError is an OSError
            if not reader.complete:
                raise
            return b""

    async def _read_out(self, body: ReadBody) -> None:
        with suppress(OSError, *self._sdk.transport_errors):
            async with asyncio.timeout(_BODY_END_S):
                while await body():
                    pass

    async def _body(self, request: Generation, connection: AsyncExitStack, watchdog: Watchdog) -> ReadBody:
        with watchdog.waiting():
            for _ in range(_MOST_UNSENT):
                try:
                    response = await connection.enter_async_context(self._open(request))
                except self._sdk.connection_error as error:
                    if not _is_unsent(error, self._sdk.unsent_errors):
                        raise
                else:
                    return read_body(response.http_response)
        raise self._down("closes every connection", request.model)

    def _open(self, request: Generation) -> Any:
        temperature = self._limits.temperature if request.temperature is None else request.temperature
        return self._sdk.client.chat.completions.with_streaming_response.create(
            model=request.model,
            messages=[],  # in the body instead: the SDK would walk through every one of them to change nothing
            temperature=temperature,
            stream=True,
            extra_body={
                "messages": [{"role": message.role, "content": message.content} for message in request.messages],
                self._sdk.limit_field: request.max_tokens or self._limits.max_tokens,
                **self._sdk.extra,
            },
        )

    def _usage(self, request: Generation, reader: ChunkReader) -> TokenUsage:
        model = reader.model or request.model
        try:
            return counted_usage(self.name, model, reader.usage or {})
        except (LookupError, TypeError, ValueError, AttributeError):
            sent = estimate_prompt_tokens(request.messages)
            return TokenUsage(
                input_tokens=sent,
                output_tokens=reader.deltas,
                total_tokens=sent + reader.deltas,
                estimated=True,
                provider=self.name,
                model=model,
            )

    async def models(self) -> list[ModelInfo]:
        """Returns the live list."""
        with self._failures(""):
            try:
                async with asyncio.timeout(self._limits.first_token_s):
                    page = await self._sdk.client.models.list()
                return [_model_info(model.to_dict(), self.name) for model in page.data]
            except TimeoutError:
                raise LlmTimeoutError("list of models", self._limits.first_token_s, provider=self.name) from None
            except (AttributeError, LookupError, TypeError, ValueError):  # the SDK hands over whatever JSON came
                raise self._down("sent a list of models that cannot be read", "") from None

    async def check_key(self) -> None:
        """Asks for the list of models, which costs no tokens."""
        await self.models()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._sdk.client.close()

    @contextmanager
    def _failures(self, model: str) -> Iterator[None]:
        # `from None`: what a provider wrote may hold the key, and a traceback would show it.
        sdk: Any = self._sdk
        try:
            yield
        except LlmError:
            raise
        except ReportedError as error:
            raise reported_failure(error.body, provider=self.name, model=model) from None
        except BrokenStreamError:
            raise self._down("sent a stream that cannot be read", model) from None
        except sdk.status_error as error:
            answer: Any = error
            headers = answer.response.headers
            raise failure_of(answer.status_code, answer.body, headers, provider=self.name, model=model) from None
        except sdk.connection_error:
            raise self._down("cannot be reached", model) from None
        except UnicodeEncodeError as error:
            if error.encoding != "ascii":
                raise
            raise LlmKeyRejectedError(provider=self.name, model=model) from None  # a header cannot carry it: the key it is
        except (*sdk.transport_errors, OSError):
            raise self._down("cut the connection", model) from None

    def _down(self, what: str, model: str) -> LlmUnavailableError:
        return LlmUnavailableError(what, provider=self.name, model=model)


def _is_unsent(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> bool:
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None


def _model_info(row: dict[str, Any], provider: str) -> ModelInfo:
    meta = row.get("meta") or {}
    return ModelInfo(
        id=str(row["id"]),
        owned_by=str(row.get("owned_by") or ""),
        context_window=int(row.get("context_window") or row.get("max_model_len") or meta.get("n_ctx") or 0),
        max_output_tokens=int(row.get("max_completion_tokens") or 0),
        active=bool(row.get("active", True)),
        provider=provider,
    )
