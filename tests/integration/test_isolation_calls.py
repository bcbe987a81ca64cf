"""What a tenant cannot have costs the same whether another has it or nobody: the same database calls, each keyed by tenant.

Every command that reaches the database while the real servers are called is looked at. "Never a difference in timing class" is
asserted so, not with a stopwatch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from malla.ingestion.v1 import ingestion_pb2 as pb
from pymongo import monitoring

from common.settings import StoreSettings
from common.store import CollectionRecord, Store, open_store
from common.tracking import TrackingSettings, open_accounting
from tests.fakes.calls import metadata
from tests.fakes.chat_bench import chatting
from tests.fakes.ingestion import ingestion, settings_of
from tests.fakes.isolation import NEVER, Rpc, attempts, fields_of, names_resource, public_rpcs
from tests.fakes.query import MemoryRecord

A, B = "acme", "intruder"
MANY = 6
CALLER = metadata(B, tier="enterprise")
_ADMINISTRATION = {
    "getMore",
    "killCursors",
    "createIndexes",
    "hello",
    "ping",
    "ismaster",
    "endSessions",
    "saslStart",
    "dropDatabase",
    "buildInfo",
}
OF_NO_TENANT = {
    ("jobs", "findAndModify"): "a worker leases the oldest job, whoever's it is",
    ("jobs", "find"): "old jobs are removed, whoever's they are",
    ("jobs", "aggregate"): "a gauge counts the jobs that wait",
    ("uploads", "find"): "uploads that a crash interrupted are removed, whoever's they are",
    ("collections", "find"): "deletions that a crash interrupted are finished, whoever's they are",
}
"""Commands without a tenant, and why. Anything else without one fails here."""


@dataclass
class Calls(monitoring.CommandListener):
    """The commands that reach the database while it is on."""

    on: bool = False
    seen: list[tuple[str, str, Any]] = field(default_factory=list)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.on and event.command_name not in _ADMINISTRATION:
            target = event.command.get(event.command_name)
            self.seen.append((str(target), event.command_name, _filters(dict(event.command))))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass

    def of(self, tenant: str, begin: int) -> list[Any]:
        """Returns the shapes of what was asked for a tenant since `begin`: collection, command, the fields of each filter.

        Its budget is left out: that is leased by the piece, and so now and then.
        """
        return [
            (target, command, [sorted(one) for one in filters])
            for target, command, filters in self.seen[begin:]
            if target != "budgets" and any(one.get("tenant_id") == tenant for one in filters)
        ]


CALLS = Calls()
monitoring.register(CALLS)  # type: ignore[no-untyped-call]


def _filters(command: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what a command is about: its filters, or the rows it adds."""
    if "documents" in command:
        return [dict(row) for row in command["documents"]]
    if "pipeline" in command:
        return [dict(stage["$match"]) for stage in command["pipeline"] if "$match" in stage] or [{}]
    parts = [*command.get("updates", ()), *command.get("deletes", ())]
    if parts:
        return [_plain(part["q"]) for part in parts]
    return [_plain(command.get("filter") or command.get("query") or {})]


def _plain(query: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a filter with its equalities as bare values; the store writes them as `$eq`."""
    return {name: value.get("$eq", value) if isinstance(value, Mapping) else value for name, value in query.items()}


@pytest.fixture
async def listened(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A record whose client was made after the listener was registered."""
    known = MemoryRecord.collection

    async def told(self: MemoryRecord, tenant_id: str, collection_id: str) -> CollectionRecord | None:
        # The query server's record is in memory here; what is asked of it counts as well.
        CALLS.seen.append(("collections", "find", [{"tenant_id": tenant_id, "collection_id": collection_id}]))
        return await known(self, tenant_id, collection_id)

    monkeypatch.setattr(MemoryRecord, "collection", told)
    async with open_store(store_settings) as store:
        CALLS.seen.clear()
        CALLS.on = True
        yield store
        CALLS.on = False


async def tried(channel: grpc.aio.Channel, rpc: Rpc, resources: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Calls a method as tenant B; returns the answer's code and the shapes of the database calls it took."""
    request = json_format.ParseDict(fields_of(rpc, resources), message_factory.GetMessageClass(rpc.method.input_type)())
    parse = message_factory.GetMessageClass(rpc.method.output_type).FromString
    begin = len(CALLS.seen)
    try:
        if rpc.method.client_streaming:
            await channel.stream_unary(rpc.path, _serialized, parse)(iter([request]), metadata=CALLER, timeout=20)
        elif rpc.method.server_streaming:
            async for _ in channel.unary_stream(rpc.path, _serialized, parse)(request, metadata=CALLER, timeout=20):
                pass
        else:
            await channel.unary_unary(rpc.path, _serialized, parse)(request, metadata=CALLER, timeout=20)
        code = "OK"
    except grpc.aio.AioRpcError as error:
        code = error.code().name
    return code, CALLS.of(B, begin)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


async def assert_same_calls(channel: grpc.aio.Channel, area: Sequence[str], owned: Mapping[str, Sequence[Any]]) -> None:
    rpcs = [rpc for rpc in public_rpcs() if rpc.area in area and names_resource(rpc)]
    assert len(rpcs) >= MANY
    for rpc in rpcs:
        await tried(channel, rpc, NEVER)  # the first call of a tenant leases a part of its own budget
        never = await tried(channel, rpc, NEVER)
        assert never[1], f"{rpc.path} asked the database nothing: the test does not see its calls"
        for resources in attempts(rpc, {**{name: [value] for name, value in NEVER.items()}, **owned}):
            assert await tried(channel, rpc, resources) == never, f"{rpc.path} on {resources}"


def assert_keyed_by_tenant() -> None:
    """Checks every command since the start of the test, those of the workers and of tenant A's own calls among them."""
    assert CALLS.seen
    for target, command, filters in CALLS.seen:
        if (target, command) not in OF_NO_TENANT:
            assert all(one.get("tenant_id") for one in filters), f"{command} on {target} without a tenant: {filters}"


async def test_ingestion(listened: Store, store_settings: StoreSettings) -> None:
    async with ingestion(settings_of(store_settings), listened) as bench:
        await bench.collection("manual", A)
        job = await bench.ingested("La clave es azul.", "doc")
        owned = {"collection_id": ["manual"], "document_id": ["doc"], "job_id": [job.job_id]}
        await assert_same_calls(bench.channel, ["ingestion"], owned)
        await bench.call("DeleteDocument", pb.DeleteDocumentRequest(collection_id="manual", document_id="doc"), A)
        await bench.call("DeleteCollection", pb.DeleteCollectionRequest(collection_id="manual"), A)
    assert_keyed_by_tenant()


async def test_query_and_chat(listened: Store, tmp_path: Path) -> None:
    ledger = TrackingSettings(outbox_dir=tmp_path, _env_file=None)
    async with (
        open_accounting(ledger, listened, server="query") as accounting,
        chatting(listened, accounting=accounting) as bench,
    ):
        number = await bench.agent(tenant=A)
        for session in ("s-1", "s-2"):
            await bench.say(tenant=A, id_agente=number, session_id=session)
        await bench.call("HandOff", tenant=A, session_id="s-2")
        owned = {"collection_id": ["manual"], "id_agente": [number], "session_id": ["s-1", "s-2"]}
        await assert_same_calls(bench.channel, ["query", "chat"], owned)
        await bench.call("DeleteConversation", tenant=A, session_id="s-1")
        await bench.call("DeleteAgent", tenant=A, id_agente=number)
    assert_keyed_by_tenant()
