"""The model: its key, its provider, how fast it streams, and whether what it said is stored."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from common.client import MallaClient
from common.errors import Code, MallaError
from services.cli.doctor.findings import Finding, Patient, failed, ok, warning
from services.cli.doctor.parts import client_of

_SLOW_FIRST_MS = 5000.0
_SLOW_TOKEN_MS = 250.0
_DEADLINE_S = 60.0
_NO_MODEL = "Set GROQ_API_KEY in .env and restart query; until then answers are quotes from documents."


async def key(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the provider takes the key. The key itself never leaves the query server."""
    found = await client_of(patient).verify_api_key()
    if found.valid:
        yield ok(found.message)
    elif found.message.startswith("No key"):
        yield warning("no key is set", _NO_MODEL)
    else:
        yield failed(found.message, "Correct the key in .env, then `malla restart query`.")


async def provider(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the model answers a word, and how fast."""
    try:
        found = await client_of(patient).test_connection(timeout_s=_DEADLINE_S)
    except MallaError as error:
        if error.code is Code.FAILED_PRECONDITION:
            yield warning("no model is configured", _NO_MODEL)
        else:
            yield failed(error.message, "Check the key, GROQ_BASE_URL and the way out of this network.")
        return
    said = f"{found.provider} {found.model} answers in {found.latency_ms:.0f} ms"
    if found.success:
        yield ok(said, latency_ms=found.latency_ms, model=found.model)
    else:
        yield failed(found.message, "Check the key, GROQ_BASE_URL and the way out of this network.")


@dataclass
class _Measured:
    """One streamed answer."""

    began: float = field(default_factory=time.perf_counter)
    first_ms: float = 0.0
    last_ms: float = 0.0
    deltas: int = 0
    answer: str = ""
    error: str = ""

    @property
    def token_ms(self) -> float:
        return (self.last_ms - self.first_ms) / max(1, self.deltas - 1)


async def conversation(patient: Patient) -> AsyncIterator[Finding]:
    """Streams an answer in a conversation of its own, reads that one back, and deletes it."""
    client = client_of(patient)
    session_id = f"malla-doctor-{uuid.uuid4().hex[:12]}"
    agent = await client.create_agent("malla doctor", instructions="Answer in one short sentence.")
    try:
        measured = await _measure(client, agent.id_agente, session_id)
        yield _stream_finding(measured)
        if not measured.error:
            turns = (await client.get_conversation(session_id)).turns
            yield _stored_finding(measured.answer in [turn.text for turn in turns], len(turns))
            await client.delete_conversation(session_id)
    finally:
        await client.delete_agent(agent.id_agente)


async def _measure(client: MallaClient, id_agente: int, session_id: str) -> _Measured:
    measured = _Measured()
    async with aclosing(client.stream_chat(id_agente, session_id, "Di hola.", timeout_s=_DEADLINE_S, max_tokens=64)) as events:
        async for event in events:
            now_ms = (time.perf_counter() - measured.began) * 1000
            if event.delta is not None:
                measured.first_ms = measured.first_ms or now_ms
                measured.last_ms, measured.deltas = now_ms, measured.deltas + 1
            elif event.done is not None:
                measured.answer = event.done.answer
            elif event.error is not None:
                measured.error = event.error.message
    return measured


def _stream_finding(measured: _Measured) -> Finding:
    if measured.error:
        return failed(f"a streamed answer ended in: {measured.error}", "See `malla logs query --level WARNING`.")
    said = f"first words after {measured.first_ms:.0f} ms, then {measured.token_ms:.0f} ms a piece, {measured.deltas} pieces"
    facts = {"first_ms": round(measured.first_ms, 1), "token_ms": round(measured.token_ms, 1), "pieces": measured.deltas}
    if measured.first_ms > _SLOW_FIRST_MS or measured.token_ms > _SLOW_TOKEN_MS:
        advice = "Choose a faster model (GROQ_MODEL), fewer passages (k), or look where the time goes: docs/debugging.md."
        return warning(f"slow: {said}", advice, **facts)
    return ok(said, **facts)


def _stored_finding(is_stored: bool, turns: int) -> Finding:
    if is_stored:
        return ok(f"a conversation of {turns} turns was stored, read back and deleted")
    return failed("the answer was streamed but is not in the conversation", "Check the database above, and `malla logs query`.")
