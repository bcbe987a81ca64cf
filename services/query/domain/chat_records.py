"""What is kept of agents, conversations and turns. Times are milliseconds since the epoch."""

from __future__ import annotations

from pydantic import Field

from common.models import Agent, BaseModel, Citation, Conversation, HandoffRule, TokenUsage, Turn, TurnRole, TurnState, Visitor
from common.store import to_datetime


class AgentRecord(BaseModel):
    """An agent's row."""

    id_agente: int
    name: str = ""
    instructions: str = ""
    model: str = ""
    temperature: float | None = None
    language: str = ""
    collections: list[str] = Field(default_factory=list)
    k: int = 0
    handoff: HandoffRule = Field(default_factory=HandoffRule)
    request_id: str = ""
    created_at: int = 0
    updated_at: int = 0

    def view(self) -> Agent:
        """Returns what callers see."""
        row = self.model_dump(exclude={"created_at", "updated_at"})
        return Agent(**row, created_at=to_datetime(self.created_at), updated_at=to_datetime(self.updated_at))


class TurnRecord(BaseModel):
    """A turn's row.

    Attributes:
        number: Counts the turns of its conversation, from 1.
        handoff_reason: Why a human got the message that it is or answers; empty where none did.
        owner: The call that writes it: one that lost the conversation's turn meanwhile cannot.
        tries: How often it was begun to be answered.
    """

    message_id: str = Field(alias="_id")
    conversation_uid: str
    number: int
    role: TurnRole
    text: str = ""
    state: TurnState = TurnState.COMPLETE
    author: str = ""
    citations: list[Citation] = Field(default_factory=list)
    usage: TokenUsage | None = None
    model: str = ""
    finish_reason: str = ""
    handoff_reason: str = ""
    latency_ms: int = 0
    owner: str = ""
    tries: int = 1
    created_at: int

    def settled(self) -> TurnRecord:
        """Returns the turn as it stands once nobody answers it any more: a running one has failed."""
        if self.state is not TurnState.RUNNING:
            return self
        return self.model_copy(update={"state": TurnState.FAILED, "finish_reason": "error"})

    def view(self) -> Turn:
        """Returns what callers see."""
        return Turn(**self.model_dump(exclude={"created_at"}), created_at=to_datetime(self.created_at))


class ConversationRecord(BaseModel):
    """A conversation's row.

    Attributes:
        uid: New at each beginning, so that nothing of a deleted conversation shows up in its successor.
        owner: The call that takes its turn now; turns of one conversation come one after the other.
        owned_until: When that call's right ends unless it is renewed.
        failures: Answers in a row that failed.
    """

    uid: str
    session_id: str
    id_agente: int
    origin: str = ""
    visitor: Visitor | None = None
    handed_off: bool = False
    handoff_reason: str = ""
    turn_count: int = 0
    failures: int = 0
    owner: str = ""
    owned_until: int = 0
    created_at: int
    updated_at: int

    def view(self, turns: list[TurnRecord] | None = None) -> Conversation:
        """Returns what callers see."""
        row = self.model_dump(exclude={"created_at", "updated_at"})
        return Conversation(
            **row,
            turns=[turn.view() for turn in turns or ()],
            created_at=to_datetime(self.created_at),
            updated_at=to_datetime(self.updated_at),
        )
