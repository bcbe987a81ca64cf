"""Messages and their Python views, there and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf import json_format, struct_pb2
from malla.chat.v1 import event_pb2
from malla.common.v1 import envelope_pb2, usage_pb2
from malla.embedding.v1 import embedding_pb2
from malla.ingestion.v1 import ingestion_pb2
from malla.query.v1 import query_pb2

from common import models
from common.protobuf import from_dict, from_message, to_dict, to_message

WHEN = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)

DOCUMENT = models.Document(
    document_id="plan",
    collection_id="manual",
    filename="señal.pdf",
    metadata=models.DocumentUploadMetadata(
        title="Señal", tags=["a", "b"], metadata={"year": 2026.0, "deep": {"list": [1.0, "x", None]}}
    ),
    state=models.DocumentState.FAILED,
    version=3,
    bytes=2**31 - 1,
    error=models.Error(type="UNREADABLE_DOCUMENT", code="INVALID_ARGUMENT", details={"page": 4.0, "why": ["x"]}),
    created_at=WHEN,
)
USAGE = models.TokenUsage(
    input_tokens=3, total_tokens=3, estimated=True, stages=[models.StageUsage(stage="answer", output_tokens=2)]
)

ROUND_TRIPS = {
    "scalars, enum, times, nested, lists, any JSON": (DOCUMENT, ingestion_pb2.Document),
    "64-bit numbers": (models.Job(job_id="j", seq=2**40, stage=models.JobStage.EMBED), ingestion_pb2.Job),
    "repeated messages": (USAGE, usage_pb2.TokenUsage),
    "bytes": (
        models.InternalEmbeddingData(vectors=b"\x00\xff\x80", dimensions=1, truncated=[0, 7]),
        embedding_pb2.InternalEmbeddingData,
    ),
    "map of any JSON": (
        models.InternalSearchResponse(
            success=True,
            message="OK",
            data=models.InternalSearchData(results=[models.SearchResult(chunk_id="c", score=0.5)], seq=9),
            metadata={"flag": True, "number": 1.5, "text": "ñ", "list": [1.0], "object": {"a": None}, "nothing": None},
        ),
        query_pb2.InternalSearchResponse,
    ),
    "an unset optional number": (models.SearchResult(chunk_id="c", page=None), query_pb2.SearchResult),
    "an optional number at zero": (models.SearchResult(chunk_id="c", page=0), query_pb2.SearchResult),
    "an explicit false": (models.ErrorResponse(message="no", error=models.Error(type="X")), envelope_pb2.ErrorResponse),
    "one event of many": (models.ChatEvent(sequence=4, delta=models.Delta(text="hola")), event_pb2.ChatEvent),
    "an event without fields": (models.ChatEvent(sequence=5, heartbeat=models.Heartbeat()), event_pb2.ChatEvent),
    "floats": (models.Embedding(values=[0.5, -0.25]), embedding_pb2.Embedding),
}


@pytest.mark.parametrize(("model", "message"), ROUND_TRIPS.values(), ids=ROUND_TRIPS.keys())
def test_a_view_becomes_a_message_and_comes_back(model, message):
    sent = to_message(model, message).SerializeToString()
    assert from_message(type(model), message.FromString(sent)) == model


def test_a_message_is_filled_and_not_only_its_view():
    message = to_message(DOCUMENT, ingestion_pb2.Document)
    assert message.state == ingestion_pb2.Document.FAILED
    assert message.created_at.ToDatetime(tzinfo=UTC) == WHEN
    assert not message.HasField("updated_at")
    assert message.metadata.tags == ["a", "b"]
    assert message.metadata.metadata["deep"]["list"][1] == "x"
    assert message.error.details["page"] == 4


def test_the_oneof_of_an_event_is_set():
    message = to_message(models.ChatEvent(heartbeat=models.Heartbeat()), event_pb2.ChatEvent)
    assert message.WhichOneof("event") == "heartbeat"


def test_an_unset_message_stays_unset():
    assert not to_message(models.Document(document_id="d"), ingestion_pb2.Document).HasField("metadata")
    assert "metadata" not in to_dict(ingestion_pb2.Document())


def test_an_empty_struct_stays_present():
    message = to_message(models.DocumentUploadMetadata(metadata={}), ingestion_pb2.DocumentUploadMetadata)
    assert message.HasField("metadata")


def test_python_values_are_plain():
    row = to_dict(json_format.ParseDict({"state": "RUNNING", "createdAt": "2026-03-01T12:30:15.25Z"}, ingestion_pb2.Job()))
    assert (row["state"], row["created_at"]) == ("RUNNING", WHEN)
    assert type(row["state"]) is str


def test_fields_the_message_lacks_are_left_out():
    assert from_dict({"text": "x", "unknown": 1}, event_pb2.Delta()).text == "x"


def test_any_json_value_in_a_map():
    message = envelope_pb2.ErrorResponse()
    message.metadata["a"].CopyFrom(
        struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(bool_value=True)]))
    )
    assert to_dict(message)["metadata"] == {"a": [True]}
