"""What a broken rule of the contract is called: in words, whatever the field."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from buf.validate import validate_pb2
from google.protobuf import json_format, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from malla.chat.v1 import chat_pb2
from malla.embedding.v1 import embedding_pb2
from malla.ingestion.v1 import ingestion_pb2
from malla.query.v1 import query_pb2, usage_pb2

from common.violations import IN_WORDS, violations_of

FILES = (chat_pb2, embedding_pb2, ingestion_pb2, query_pb2, usage_pb2)


def patterns() -> Iterator[tuple[FieldDescriptor, str]]:
    """Yields every field of the contract that has a pattern."""
    left: list[Descriptor] = [one for file in FILES for one in file.DESCRIPTOR.message_types_by_name.values()]
    while left:
        message = left.pop()
        left += message.nested_types
        for field in message.fields:
            rules = field.GetOptions().Extensions[validate_pb2.field]
            for typed in (rules.string, rules.repeated.items.string):
                if typed.HasField("pattern"):
                    yield field, typed.pattern


def test_every_pattern_of_the_contract_is_told_in_words() -> None:
    found = {pattern for _, pattern in patterns()}
    assert len(found) > 2
    assert found == set(IN_WORDS), "add the words of a new pattern to common/violations.py, and remove those of none"


@pytest.mark.parametrize("words", IN_WORDS.values(), ids=lambda words: words[:30])
def test_words_are_no_expression(words: str) -> None:
    assert not re.search(r"[\^$\\{}\[\]]", words)


def test_a_broken_name_is_told_in_words() -> None:
    request = ingestion_pb2.CreateCollectionRequest(collection_id="Mi colección", language="esp")
    told = dict(violations_of(request))
    assert told["collection_id"].startswith("must be 1 to 64 lower-case letters, digits, '-' and '_'")
    assert "such as es or en" in told["language"]
    request = chat_pb2.ChatRequest(session_id="ñ", id_agente=1, mensaje="hola")
    assert dict(violations_of(request))["session_id"].startswith("must be 1 to 128 letters")


def test_other_rules_keep_their_words_and_their_path() -> None:
    assert dict(violations_of(query_pb2.SearchRequest(collection_id="a", query="b", k=-1))).keys() == {"k"}
    assert not list(violations_of(chat_pb2.ChatRequest(session_id="s", id_agente=1, mensaje="hola")))


@pytest.mark.parametrize(
    "time", [{"seconds": 10**15}, {"seconds": -(10**15)}, {"nanos": -1}, {"seconds": 5, "nanos": 2 * 10**9}], ids=str
)
def test_a_time_that_is_none_is_refused(time: dict[str, int]) -> None:
    request = usage_pb2.GetUsageRequest(end_time=Timestamp(**time))
    assert dict(violations_of(request))["end_time"].startswith("must be a time of the years")
    agent = chat_pb2.CreateAgentRequest(agent=chat_pb2.Agent(created_at=Timestamp(**time)))
    assert "agent.created_at" in dict(violations_of(agent))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_cannot_say_is_refused_at_any_depth(number: float) -> None:
    request = query_pb2.SearchRequest(collection_id="a", query="b")
    request.filter["year"] = {"in": [2024, number]}
    assert list(dict(violations_of(request)).values()) == ["must be a finite number"]
    visitor = chat_pb2.Visitor(metadata=struct_pb2.Struct(fields={"x": struct_pb2.Value(number_value=number)}))
    chat = chat_pb2.ChatRequest(session_id="s", id_agente=1, mensaje="hola", visitor=visitor)
    assert list(dict(violations_of(chat))) == ["visitor.metadata.fields[x]"]


def test_times_and_data_that_json_can_say_are_taken() -> None:
    request = usage_pb2.GetUsageRequest(
        start_time=Timestamp(seconds=-62_135_596_800), end_time=Timestamp(seconds=253_402_300_799)
    )
    assert not list(violations_of(request))
    filters = json_format.ParseDict({"a": {"in": [1.5, None, "x", True, [], {}]}}, struct_pb2.Struct())
    assert not list(violations_of(query_pb2.SearchRequest(collection_id="a", query="b", filter=filters)))


def test_free_metadata_have_a_size() -> None:
    request = ingestion_pb2.CreateDocumentRequest(collection_id="a", text="b")
    request.metadata.metadata["notes"] = "ñ" * 8_000
    assert not list(violations_of(request))
    request.metadata.metadata["notes"] = "ñ" * 10_000
    assert dict(violations_of(request)).keys() == {"metadata.metadata"}


def test_a_name_that_the_record_cannot_hold_is_refused_at_any_depth() -> None:
    request = ingestion_pb2.CreateDocumentRequest(collection_id="a", text="b")
    request.metadata.metadata.update({"notes": "a\0b", "": {"": None}, "a.b": [{"$set": 1}]})
    assert not list(violations_of(request))
    request.metadata.metadata["tags"] = [{"a\0": "b"}]
    [(path, told)] = violations_of(request)
    assert path == "metadata.metadata.fields[tags].list_value.values[0].struct_value.fields"
    assert "U+0000" in told
