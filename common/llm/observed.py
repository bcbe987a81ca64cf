"""One span for every request to a model, by OpenTelemetry's semantic conventions for generative AI.

Model, token counts, finish reason and times; never a prompt, an answer or a key. The model's server is told nothing of the
trace: it is somebody else's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names
from opentelemetry.trace import Span, SpanKind

from common.context import current_context
from common.llm.errors import LlmError
from common.llm.groq_models import is_groq_model
from common.llm.types import Generation, GenerationEnd, Stream
from common.telemetry import Telemetry, active, begin_span, failed

FIRST_TOKEN = "gen_ai.first_token"  # noqa: S105  # an event's name
"""Name of the span's event at the first token."""

OTHER = "other"
"""What metrics call a model that callers name and nobody knows."""

_MOST_NAMED = 100
_answered: set[str] = set()


def observed(provider: str, request: Generation, stream: Stream) -> Stream:
    """Returns the stream with a span around it; the stream itself where nothing is observed.

    The span is a child of the one that is current when the stream is first read. It never is the current one itself: a
    generator may be closed from another task.
    """
    live = active()
    return stream if live is None else _observed(live, provider, request, stream)


async def _observed(
    live: Telemetry, provider: str, request: Generation, stream: Stream
) -> AsyncGenerator[str | GenerationEnd, None]:
    labels = {names.GEN_AI_OPERATION_NAME: "chat", names.GEN_AI_PROVIDER_NAME: provider}
    facts = {**labels, names.GEN_AI_REQUEST_MODEL: request.model, **_asked(request)}
    span = begin_span(live, f"chat {request.model}", facts, kind=SpanKind.CLIENT)
    labels[names.GEN_AI_REQUEST_MODEL] = _label(request.model)
    began, begun = time.perf_counter(), False
    try:
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if not begun:
                    begun = True
                    labels[names.GEN_AI_REQUEST_MODEL] = _label(request.model, answers=True)
                    _first(live, span, time.perf_counter() - began, labels)
                if isinstance(piece, GenerationEnd):
                    _told(live, span, piece, labels)
                yield piece
    except BaseException as error:
        failed(span, error)
        if isinstance(error, LlmError):
            labels["error.type"] = error.reason
        raise
    finally:
        live.measures.model_duration.record(time.perf_counter() - began, labels)
        span.end()


def _label(model: str, *, answers: bool = False) -> str:
    """Returns what metrics call a model. Callers write what they like; a label lives as long as the process."""
    if answers and len(_answered) < _MOST_NAMED:
        _answered.add(model)
    return model if model in _answered or is_groq_model(model) else OTHER


def _asked(request: Generation) -> dict[str, str | bool | int | float]:
    facts: dict[str, str | bool | int | float] = {names.GEN_AI_REQUEST_STREAM: True}
    if request.max_tokens:
        facts[names.GEN_AI_REQUEST_MAX_TOKENS] = request.max_tokens
    if request.temperature is not None:
        facts[names.GEN_AI_REQUEST_TEMPERATURE] = request.temperature
    return facts


def _first(live: Telemetry, span: Span, seconds: float, labels: dict[str, str]) -> None:
    span.add_event(FIRST_TOKEN)
    span.set_attribute(names.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, seconds)
    live.measures.first_token.record(seconds, labels)


def _told(live: Telemetry, span: Span, end: GenerationEnd, labels: dict[str, str]) -> None:
    labels[names.GEN_AI_RESPONSE_MODEL] = _label(end.model, answers=True)
    span.set_attribute(names.GEN_AI_RESPONSE_MODEL, end.model)
    span.set_attribute(names.GEN_AI_RESPONSE_FINISH_REASONS, (end.finish_reason,))
    span.set_attribute(names.GEN_AI_USAGE_INPUT_TOKENS, end.usage.input_tokens)
    span.set_attribute(names.GEN_AI_USAGE_OUTPUT_TOKENS, end.usage.output_tokens)
    span.set_attribute(names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, end.usage.cached_tokens)
    span.set_attribute("malla.usage_estimated", end.usage.estimated)
    ctx = current_context()
    tenant = live.measures.tenants.of(ctx.tenant_id if ctx else "")
    for kind, count in (("input", end.usage.input_tokens), ("output", end.usage.output_tokens)):
        live.measures.token_usage.record(count, {**labels, names.GEN_AI_TOKEN_TYPE: kind, **tenant})
