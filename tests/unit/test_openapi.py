"""The OpenAPI document against the compiled contract it is made from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from common.settings import DESCRIPTORS
from services.gateway.openapi import build_document
from services.gateway.openapi.contract import Binding, Contract, Method

VERBS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document(DESCRIPTORS.read_bytes())


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(DESCRIPTORS.read_bytes())


def public(contract: Contract) -> list[tuple[Method, Binding]]:
    return [(m, b) for m in contract.methods for b in m.bindings if not b.path.startswith("/internal")]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            assert verb in VERBS
            yield path, verb, operation


def operation(document: dict[str, Any], identifier: str) -> dict[str, Any]:
    return next(op for _, _, op in operations(document) if op["operationId"] == identifier)


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_every_public_method_is_documented(document, contract):
    expected = {(b.path, b.verb) for _, b in public(contract)} | {("/healthz", "get"), ("/readyz", "get")}
    assert expected == {(path, verb) for path, verb, _ in operations(document)}
    assert len(public(contract)) >= 15


def test_nothing_internal_is_documented(document):
    text = json.dumps(document)
    assert "/internal" not in text
    assert not [name for name in document["components"]["schemas"] if name.startswith("Internal")]


def test_operations_say_what_their_methods_say(document, contract):
    for method, binding in public(contract):
        found = document["paths"][binding.path][binding.verb]
        assert found["operationId"].startswith(f"{method.service}.{method.name}")
        assert found["tags"] == [method.service]
        assert method.description
        assert found["description"] == method.description
        assert method.description.startswith(found["summary"])


def test_identifiers_are_unique(document):
    identifiers = [op["operationId"] for _, _, op in operations(document)]
    assert len(identifiers) == len(set(identifiers))


def test_every_reference_resolves(document):
    references = {node["$ref"] for node in walk(document) if isinstance(node, dict) and "$ref" in node}
    assert references
    for reference in references:
        assert resolve(document, reference)


def test_every_component_is_used_and_described(document):
    references = {node["$ref"] for node in walk(document) if isinstance(node, dict) and "$ref" in node}
    for kind in ("schemas", "responses"):
        for name, component in document["components"][kind].items():
            assert f"#/components/{kind}/{name}" in references
            assert component["description"], name


def test_every_field_has_its_comment(document):
    for name, schema in document["components"]["schemas"].items():
        for field, value in schema.get("properties", {}).items():
            assert value.get("description"), f"{name}.{field}"


def test_path_variables_are_parameters(document):
    for path, _, found in operations(document):
        named = [p["name"] for p in found.get("parameters", []) if p["in"] == "path"]
        assert sorted(named) == sorted(re.findall(r"\{([^}]+)\}", path))
        assert all(p["required"] for p in found.get("parameters", []) if p["in"] == "path")


def test_only_the_open_routes_need_no_token(document):
    assert document["security"] == [{"bearerAuth": []}]
    scheme = document["components"]["securitySchemes"]["bearerAuth"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert {path for path, _, op in operations(document) if op.get("security") == []} == {"/healthz", "/readyz"}


def test_every_failure_has_the_one_shape(document):
    statuses = {"400", "401", "403", "404", "409", "413", "429", "503", "504", "default"}
    for path, _, found in operations(document):
        failures = {status: reply for status, reply in found["responses"].items() if status != "200"}
        assert set(failures) == statuses or path in {"/healthz", "/readyz"}
        for reply in failures.values():
            content = resolve(document, reply["$ref"])["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
            assert set(content["example"]) == {"success", "message", "error", "metadata"}
    shape = document["components"]["schemas"]["ErrorResponse"]
    assert shape["required"] == ["success", "message", "error", "metadata"]
    assert shape["properties"]["success"]["const"] is False
    assert set(document["components"]["schemas"]["Error"]["properties"]) == {"type", "code", "details"}


def test_streams_are_sse_and_ndjson(document, contract):
    streams = [(m, b) for m, b in public(contract) if m.streams_response]
    assert streams
    for method, binding in streams:
        content = document["paths"][binding.path][binding.verb]["responses"]["200"]["content"]
        assert set(content) == {"text/event-stream", "application/x-ndjson"}
        for media_type in content.values():
            assert media_type["schema"] == {"$ref": f"#/components/schemas/{method.response.rsplit('.', 1)[1]}"}


def test_an_upload_is_a_raw_body(document):
    upload = operation(document, "IngestionService.UploadDocument")
    assert upload["requestBody"]["content"] == {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    query = {p["name"] for p in upload["parameters"] if p["in"] == "query"}
    assert {"document_id", "metadata.title", "metadata.tags", "request_id"} <= query
    assert not any(name.startswith("file") for name in query)


def test_a_body_leaves_out_what_the_path_holds(document):
    create = operation(document, "IngestionService.CreateDocument")
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert "collection_id" not in body["properties"]
    assert body["required"] == ["text"]


def test_rules_become_keywords(document):
    schemas = document["components"]["schemas"]
    question = schemas["QueryRequest"]
    assert question["required"] == ["collection_id", "query"]
    assert (question["properties"]["query"]["minLength"], question["properties"]["query"]["maxLength"]) == (1, 4000)
    assert (question["properties"]["k"]["minimum"], question["properties"]["k"]["maximum"]) == (0, 100)
    assert (question["properties"]["temperature"]["minimum"], question["properties"]["temperature"]["maximum"]) == (0, 2)
    texts = schemas["EmbedRequest"]["properties"]["texts"]
    assert (texts["minItems"], texts["maxItems"], texts["items"]["maxLength"]) == (1, 256, 20000)
    collection = schemas["CreateCollectionRequest"]
    assert collection["properties"]["collection_id"]["pattern"] == "^[a-z0-9][a-z0-9_-]{0,63}$"
    assert collection["required"] == ["collection_id"]


@pytest.mark.parametrize(
    ("schema", "field", "expected"),
    [
        ("Job", "seq", {"type": "string", "format": "int64"}),
        ("Job", "chunks_done", {"type": "integer", "format": "int32"}),
        ("Job", "created_at", {"type": "string", "format": "date-time"}),
        ("Job", "state", {"$ref": "#/components/schemas/Job.State"}),
        ("Error", "details", {"type": "object", "additionalProperties": True}),
        ("QueryResponse", "metadata", {"type": "object", "additionalProperties": {}}),
        ("QueryResponse", "citations", {"type": "array", "items": {"$ref": "#/components/schemas/Citation"}}),
        ("Embedding", "values", {"type": "array", "items": {"type": "number", "format": "float"}}),
    ],
)
def test_types_are_those_of_protobuf_json(document, schema, field, expected):
    found = document["components"]["schemas"][schema]["properties"][field]
    assert expected.items() <= found.items()


def test_enums_are_named_and_explained(document):
    mode = document["components"]["schemas"]["SearchRequest.Mode"]
    assert mode["enum"] == ["MODE_UNSPECIFIED", "HYBRID", "DENSE", "LEXICAL"]
    assert "`DENSE`: Vectors only" in mode["description"]


def test_oneofs_are_told(document):
    assert "at most one of `retrieval`, `delta`" in document["components"]["schemas"]["ChatEvent"]["description"]


def test_examples_hold_the_required_fields(document):
    for _, _, found in operations(document):
        media_type = found.get("requestBody", {}).get("content", {}).get("application/json")
        if media_type is None:
            continue
        schema = media_type["schema"]
        schema = resolve(document, schema["$ref"]) if "$ref" in schema else schema
        assert list(media_type["example"]) == schema.get("required", [])


def test_the_document_is_stable(document):
    assert json.dumps(build_document(DESCRIPTORS.read_bytes())) == json.dumps(document)
