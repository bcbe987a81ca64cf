"""The events of a streamed answer."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from common.models.base import BaseModel
from common.models.query import Citation
from common.models.usage import TokenUsage


class Retrieval(BaseModel):
    """The passages an answer may cite."""

    citations: list[Citation] = Field(default_factory=list)


class Delta(BaseModel):
    """A piece of the answer, never the whole text so far."""

    text: str = ""


class Heartbeat(BaseModel):
    """Keeps a silent connection open."""


class Handoff(BaseModel):
    """Hands the conversation to a human."""

    reason: str = ""


class Done(BaseModel):
    """Ends a complete answer."""

    message_id: str = ""
    answer: str = ""
    finish_reason: str = ""
    model: str = ""
    citations: list[Citation] = Field(default_factory=list)
    usage: TokenUsage | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class StreamError(BaseModel):
    """Ends a failed answer."""

    type: str = ""
    code: str = ""
    message: str = ""
    details: dict[str, Any] = Field(default_factory=dict)


class ChatEvent(BaseModel):
    """One event of a streamed answer; one field beside `sequence` is set."""

    sequence: int = 0
    retrieval: Retrieval | None = None
    delta: Delta | None = None
    usage: TokenUsage | None = None
    heartbeat: Heartbeat | None = None
    handoff: Handoff | None = None
    done: Done | None = None
    error: StreamError | None = None
