"""The audit log: which calls are in it, and the file it is kept in."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest
from malla.chat.v1 import chat_pb2
from malla.ingestion.v1 import ingestion_pb2

from common.context import Context
from common.server._audit import AuditedCall, AuditSettings, AuditTrail, is_audited, note, watching
from common.server._audit_file import AuditFile
from tests.fakes.isolation import public_rpcs

READS = {
    *("ListCollections", "GetCollection", "ListDocuments", "GetDocument", "GetJob", "WatchJob", "ListJobs"),
    *("Search", "Embed", "GetUsage", "ListUsageRecords", "ListModels", "TestConnection", "ListAgents", "GetAgent"),
    *("ListConversations", "GetConversation"),
}
DELETE = "/malla.ingestion.v1.IngestionService/DeleteDocument"
GET = "/malla.ingestion.v1.IngestionService/GetDocument"


@pytest.mark.parametrize("rpc", public_rpcs(), ids=str)
def test_every_call_that_changes_something_is_written_down(rpc) -> None:  # type: ignore[no-untyped-def]
    told = f"{rpc.name}: add it to READS if it changes nothing, spends no words and touches no secret"
    assert is_audited(rpc.path) is (rpc.name not in READS), told


def test_of_the_servers_own_calls_only_those_that_change_the_record() -> None:
    assert is_audited("/malla.ingestion.v1.InternalIngestionService/InternalIngest")
    assert not is_audited("/malla.embedding.v1.InternalEmbeddingService/InternalEmbed")
    assert not is_audited("/malla.query.v1.InternalQueryService/InternalSearch")


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def trail(folder: Path, **changes: object) -> AuditTrail:
    return AuditTrail(AuditSettings(audit_log=folder, _env_file=None, **changes), "ingestion")  # type: ignore[arg-type]


def test_a_line_says_who_what_which_and_how_it_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ctx = Context(tenant_id="acme", request_id="r-1", scopes=frozenset({"write", "read"}))
    call = AuditedCall(DELETE, {"x-user-id": "ana", "x-forwarded-for": "1.2.3.4, 10.0.0.7", "authorization": "Bearer x"}, ctx)
    with watching(call):
        note(ingestion_pb2.DeleteDocumentRequest(collection_id="manual", document_id="luces"))
    call.reason = "DOCUMENT_NOT_FOUND"
    with caplog.at_level(logging.INFO, "malla.audit"):
        trail(tmp_path).write(call, "NOT_FOUND")
    (line,) = lines_of(tmp_path / "ingestion.jsonl")
    assert line.pop("time")
    assert line == {
        "where": "ingestion",
        "tenant": "acme",
        "subject": "ana",
        "scopes": ["read", "write"],
        "client": "10.0.0.7",
        "what": DELETE.removeprefix("/"),
        "resources": {"collection_id": "manual", "document_id": "luces"},
        "code": "NOT_FOUND",
        "reason": "DOCUMENT_NOT_FOUND",
        "request_id": "r-1",
    }
    (record,) = caplog.records
    assert vars(record)["audit"]["request_id"] == "r-1"


def test_what_was_made_is_named_and_what_was_said_is_not() -> None:
    call = AuditedCall(DELETE, {}, Context())
    with watching(call):
        visitor = chat_pb2.Visitor(visitor_id="visitor", email="eva@example.com")
        note(chat_pb2.ChatRequest(id_agente=3, session_id="s-1", mensaje="hola", request_id="k", visitor=visitor))
        note(chat_pb2.ChatResponse(answer="adiós", session_id="s-1", message_id="m-1"))
        note(chat_pb2.AgentResponse(agent=chat_pb2.Agent(id_agente=7, instructions="di")))
        note(ingestion_pb2.DocumentUploadResponse(job_id="j-1", document=ingestion_pb2.Document(document_id="d" * 900)))
    made = {"id_agente": "3", "session_id": "s-1", "message_id": "m-1", "job_id": "j-1", "document_id": "d" * 200}
    assert call.resources == made


def test_reads_are_written_down_where_asked_for_and_refusals_always(tmp_path: Path) -> None:
    for folder, reads in ((tmp_path / "without", False), (tmp_path / "with", True)):
        one = trail(folder, audit_reads=reads)
        for code in ("OK", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"):
            one.write(AuditedCall(GET, {}, Context(tenant_id="acme")), code)
    assert [line["code"] for line in lines_of(tmp_path / "without/ingestion.jsonl")] == ["PERMISSION_DENIED", "UNAUTHENTICATED"]
    assert len(lines_of(tmp_path / "with/ingestion.jsonl")) == 4


def test_outside_a_call_nothing_is_noted() -> None:
    note(ingestion_pb2.DeleteDocumentRequest(collection_id="manual"))


def test_a_file_is_bounded_and_the_newest_lines_are_kept(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "a.jsonl", 100, 3)
    for number in range(100):
        file.write(f"line {number:04d}")
    kept = sorted(tmp_path.glob("a.jsonl*"))
    assert [path.name for path in kept] == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    assert all(path.stat().st_size <= 110 for path in kept)
    lines = [line for path in kept[::-1] for line in path.read_text().splitlines()]
    assert lines == [f"line {number:04d}" for number in range(100 - len(lines), 100)]
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "a.jsonl", 1000, 3)
    file.write("one")
    (tmp_path / "a.jsonl").rename(tmp_path / "old")
    file.write("two")
    assert ((tmp_path / "old").read_text(), (tmp_path / "a.jsonl").read_text()) == ("one\n", "two\n")


def test_a_single_file_is_emptied_when_full(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "a.jsonl", 10, 1)
    for word in ("one", "two", "three", "four"):
        file.write(word)
    assert [path.name for path in tmp_path.glob("a.jsonl*")] == ["a.jsonl"]
    assert (tmp_path / "a.jsonl").read_text() == "four\n"


def _write(path: Path, name: str, count: int) -> None:
    file = AuditFile(path, 20_000, 1000)
    for number in range(count):
        file.write(json.dumps({"name": name, "number": number, "filling": "x" * 100}))


def test_lines_of_many_writers_are_all_there_and_whole(tmp_path: Path) -> None:
    """Each has a descriptor of its own, as each process has."""
    path = tmp_path / "a.jsonl"
    writers = [threading.Thread(target=_write, args=(path, name, 400)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line) for file in tmp_path.glob("a.jsonl*") for line in file.read_text().splitlines()]
    assert {(line["name"], line["number"]) for line in lines} == {(name, number) for name in "abcd" for number in range(400)}
    assert len(lines) == 1600
    assert len(list(tmp_path.glob("a.jsonl*"))) > 2


def test_a_disk_that_takes_nothing_stops_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    file = AuditFile(tmp_path / "file" / "a.jsonl", 1000, 3)
    for _ in range(3):
        file.write("line")
    assert len(caplog.records) == 1
