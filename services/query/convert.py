"""Conversions that the servicers share."""

from __future__ import annotations

from collections.abc import Sequence

from malla.chat.v1 import event_pb2
from malla.common.v1 import citation_pb2, usage_pb2

from common.models import Citation, TokenUsage
from common.protobuf import to_message
from services.query.usecases.events import Numbered


def to_event(item: Numbered) -> event_pb2.ChatEvent:
    """Returns an event as it travels. Pieces of the answer, by far the most, take the short way."""
    if isinstance(item.event, str):
        return event_pb2.ChatEvent(sequence=item.sequence, delta=event_pb2.Delta(text=item.event))
    event = to_message(item.event, event_pb2.ChatEvent)
    event.sequence = item.sequence
    return event


def to_citations(citations: Sequence[Citation]) -> list[citation_pb2.Citation]:
    """Returns citations as they travel."""
    return [to_message(citation, citation_pb2.Citation) for citation in citations]


def to_usage(usage: TokenUsage | None) -> usage_pb2.TokenUsage:
    """Returns token usage as it travels; zeros where nothing was consumed."""
    return to_message(usage or TokenUsage(), usage_pb2.TokenUsage)
