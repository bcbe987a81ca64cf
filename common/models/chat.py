"""The call centre: the events of a streamed answer, agents, conversations, models."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from common.base_model import BaseModel
from common.models.base import BaseResponse
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


class TurnRole(StrEnum):
    """Who said something."""

    ROLE_UNSPECIFIED = "ROLE_UNSPECIFIED"
    USER = "USER"
    ASSISTANT = "ASSISTANT"
    HUMAN = "HUMAN"


class TurnState(StrEnum):
    """How a turn of the bot stands."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


class HandoffRule(BaseModel):
    """When an agent gives a conversation to a human."""

    on_request: bool = False
    min_score: float = 0.0
    max_failures: int = 0


class Agent(BaseModel):
    """Whom visitors talk to."""

    id_agente: int = 0
    name: str = ""
    instructions: str = ""
    model: str = ""
    temperature: float | None = None
    language: str = ""
    collections: list[str] = Field(default_factory=list)
    k: int = 0
    handoff: HandoffRule | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Visitor(BaseModel):
    """Who writes to an agent."""

    visitor_id: str = ""
    name: str = ""
    email: str = ""
    phone: str = ""
    metadata: dict[str, Any] | None = None


class Turn(BaseModel):
    """What one side said."""

    message_id: str = ""
    role: TurnRole = TurnRole.ROLE_UNSPECIFIED
    text: str = ""
    state: TurnState = TurnState.STATE_UNSPECIFIED
    author: str = ""
    citations: list[Citation] = Field(default_factory=list)
    usage: TokenUsage | None = None
    model: str = ""
    finish_reason: str = ""
    latency_ms: int = 0
    created_at: datetime | None = None


class Conversation(BaseModel):
    """A conversation between a visitor and an agent."""

    session_id: str = ""
    id_agente: int = 0
    origin: str = ""
    visitor: Visitor | None = None
    handed_off: bool = False
    handoff_reason: str = ""
    turn_count: int = 0
    turns: list[Turn] = Field(default_factory=list)
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Model(BaseModel):
    """A model that can be asked."""

    id: str = ""
    owned_by: str = ""
    context_window: int = 0
    max_output_tokens: int = 0
    active: bool = False
    replaced_by: str = ""


class ChatResponse(BaseResponse):
    """The whole answer to a visitor's message."""

    answer: str = ""
    citations: list[Citation] = Field(default_factory=list)
    usage: TokenUsage | None = None
    model: str = ""
    session_id: str = ""
    message_id: str = ""
    finish_reason: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class TestConnectionResponse(BaseResponse):
    """The model answers."""

    __test__ = False  # not a test, whatever its name

    provider: str = ""
    model: str = ""
    latency_ms: float = 0.0
    metadata: dict[str, Any] = Field(default_factory=dict)


class ModelsListResponse(BaseResponse):
    """The models."""

    models: list[Model] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class VerifyApiKeyResponse(BaseResponse):
    """What is wrong with the key, or nothing."""

    valid: bool = False
    provider: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class AgentResponse(BaseResponse):
    """One agent."""

    agent: Agent | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class AgentsListResponse(BaseResponse):
    """A page of agents."""

    agents: list[Agent] = Field(default_factory=list)
    next_page_token: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class DeleteAgentResponse(BaseResponse):
    """Confirms the deletion."""

    metadata: dict[str, Any] = Field(default_factory=dict)


class ConversationResponse(BaseResponse):
    """One conversation."""

    conversation: Conversation | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    next_page_token: str = ""


class ConversationsListResponse(BaseResponse):
    """A page of conversations, without their turns."""

    conversations: list[Conversation] = Field(default_factory=list)
    next_page_token: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class DeleteConversationResponse(BaseResponse):
    """Confirms the deletion."""

    metadata: dict[str, Any] = Field(default_factory=dict)


class TurnResponse(BaseResponse):
    """One turn."""

    turn: Turn | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
