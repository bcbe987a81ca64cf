"""Calls about conversations."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from malla.chat.v1 import chat_pb2 as pb

from common.client._caller import Calls, keyed
from common.client._pages import pages
from common.models import (
    Conversation,
    ConversationResponse,
    ConversationsListResponse,
    DeleteConversationResponse,
    Turn,
    TurnResponse,
)
from common.protobuf import from_message


class ConversationCalls(Calls):
    """Calls about conversations."""

    async def list_conversations(self, *, handed_off: bool = False, page_size: int = 0) -> AsyncGenerator[Conversation, None]:
        """Yields the conversations without their turns, the last active first, fetching page after page.

        Args:
            handed_off: Only those a human has.
            page_size: How many to fetch at once; 0 for the usual number.
        """

        async def page(token: str) -> ConversationsListResponse:
            request = pb.ListConversationsRequest(page_size=page_size, page_token=token, handed_off=handed_off)
            response = await self._caller.unary(self._conversations.ListConversations, request)
            return from_message(ConversationsListResponse, response)

        async for response in pages(page):
            for conversation in response.conversations:
                yield conversation

    async def get_conversation(self, session_id: str) -> Conversation:
        """Reads a conversation with all its turns, page after page. Raises a MallaError of code NOT_FOUND if there is none."""

        async def page(token: str) -> ConversationResponse:
            request = pb.GetConversationRequest(session_id=session_id, page_token=token)
            return from_message(ConversationResponse, await self._caller.unary(self._conversations.GetConversation, request))

        newest_first = [response.conversation or Conversation() async for response in pages(page)]
        turns = [turn for conversation in reversed(newest_first) for turn in conversation.turns]
        return newest_first[0].model_copy(update={"turns": turns})

    async def delete_conversation(self, session_id: str) -> DeleteConversationResponse:
        """Deletes a conversation with its turns. Raises a MallaError of code NOT_FOUND if there is none."""
        request = pb.DeleteConversationRequest(session_id=session_id)
        response = await self._caller.unary(self._conversations.DeleteConversation, request)
        return from_message(DeleteConversationResponse, response)

    async def hand_off(self, session_id: str, reason: str = "") -> Conversation:
        """Gives a conversation to a human; the bot is silent until it is handed back. Returns it with its newest turns."""
        request = pb.HandOffRequest(session_id=session_id, reason=reason)
        return _conversation(await self._caller.unary(self._conversations.HandOff, request))

    async def hand_back(self, session_id: str) -> Conversation:
        """Gives a conversation back to the bot. Returns it with its newest turns."""
        request = pb.HandBackRequest(session_id=session_id)
        return _conversation(await self._caller.unary(self._conversations.HandBack, request))

    async def add_turn(self, session_id: str, mensaje: str, *, author: str = "", request_id: str = "") -> Turn:
        """Stores what a human said. Raises a MallaError of code FAILED_PRECONDITION while the bot has the conversation.

        Args:
            session_id: The conversation.
            mensaje: The words.
            author: Who said it; shown with the turn.
            request_id: Idempotency key: a repeated call with it stores nothing more.
        """
        request = pb.AddTurnRequest(session_id=session_id, mensaje=mensaje, author=author, request_id=keyed(request_id))
        response = await self._caller.unary(self._conversations.AddTurn, request)
        return from_message(TurnResponse, response).turn or Turn()


def _conversation(response: pb.ConversationResponse) -> Conversation:
    return from_message(ConversationResponse, response).conversation or Conversation()
