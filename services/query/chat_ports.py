"""What chat needs from the record and of the models. Every method that names a tenant sees that tenant's rows only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from common.context import Context
from common.models import Model, TestConnectionResponse, VerifyApiKeyResponse
from services.query.domain.chat_records import AgentRecord, ConversationRecord, TurnRecord


class ConfiguredModels(Protocol):
    """The language models that are configured."""

    async def test(self, ctx: Context) -> TestConnectionResponse:
        """Returns who answered and how fast; notes in `ctx` what that took. Raises MallaError where no model answers."""
        ...

    async def all(self) -> list[Model]:
        """Returns the models by identifier; those that are known where a provider cannot be asked."""
        ...

    async def verify(self) -> VerifyApiKeyResponse:
        """Returns whether the configured key is accepted, and what to do where it is not."""
        ...


class Agents(Protocol):
    """Agents of tenants."""

    async def next_number(self, tenant_id: str, request_id: str, *, taken: int = 0) -> int:
        """Returns a number no agent of the tenant had; the same to a repeated request, unless it is `taken` meanwhile."""
        ...

    async def add(self, tenant_id: str, agent: AgentRecord) -> bool:
        """Adds an agent; False where its number is taken."""
        ...

    async def get(self, tenant_id: str, id_agente: int) -> AgentRecord | None:
        """Returns an agent."""
        ...

    async def at_hand(self, tenant_id: str, id_agente: int) -> AgentRecord | None:
        """Returns an agent as it was at most a second ago."""
        ...

    async def made_by(self, tenant_id: str, request_id: str) -> AgentRecord | None:
        """Returns the agent that a request created."""
        ...

    def page(self, tenant_id: str, after: int, size: int) -> AsyncIterator[AgentRecord]:
        """Yields at most `size` agents whose number follows `after`, by number."""
        ...

    async def change(self, tenant_id: str, id_agente: int, fields: dict[str, Any]) -> AgentRecord | None:
        """Changes fields of an agent and returns it; None where there is none."""
        ...

    async def delete(self, tenant_id: str, id_agente: int) -> bool:
        """Deletes an agent; False where there is none."""
        ...


class Conversations(Protocol):
    """Conversations of tenants, and their turns."""

    async def begin(self, tenant_id: str, fresh: ConversationRecord) -> bool:
        """Stores a new conversation; False where its session has one."""
        ...

    async def get(self, tenant_id: str, session_id: str) -> ConversationRecord | None:
        """Returns a conversation."""
        ...

    def page(
        self, tenant_id: str, before: tuple[int, str] | None, size: int, *, handed_off: bool
    ) -> AsyncIterator[ConversationRecord]:
        """Yields at most `size` conversations, the last active first, after the one of that time and session."""
        ...

    async def delete(self, tenant_id: str, session_id: str) -> bool:
        """Deletes a conversation with its turns; False where there is none."""
        ...

    async def take(self, tenant_id: str, session_id: str, owner: str, now_ms: int, until_ms: int) -> ConversationRecord | None:
        """Gives the right to the next turn to `owner` until `until_ms`; None while another has it, or for no such session."""
        ...

    async def change(self, tenant_id: str, uid: str, owner: str, fields: dict[str, Any]) -> bool:
        """Changes fields of a conversation whose turn `owner` has; False, and no change, where it has not."""
        ...

    async def add_turns(self, tenant_id: str, turns: Sequence[TurnRecord]) -> None:
        """Adds the turns whose identifier is not taken."""
        ...

    async def get_turn(self, tenant_id: str, message_id: str) -> TurnRecord | None:
        """Returns a turn."""
        ...

    async def change_turn(self, tenant_id: str, message_id: str, fields: dict[str, Any], *, owner: str = "") -> bool:
        """Changes fields of a turn; False, and no change, where there is none or, if named, `owner` does not write it."""
        ...

    async def turns(self, tenant_id: str, uid: str, *, last: int, before: int = 0) -> list[TurnRecord]:
        """Returns the last turns of a conversation, of those before the one of a number where it is not 0, oldest first."""
        ...
