"""The OpenAPI document against the compiled contract it is made from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import protovalidate
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from jsonschema import Draft202012Validator
from malla.chat.v1 import chat_pb2  # noqa: F401  # the pool knows the messages that were imported
from malla.embedding.v1 import embedding_pb2  # noqa: F401
from malla.ingestion.v1 import ingestion_pb2  # noqa: F401
from malla.query.v1 import query_pb2, usage_pb2  # noqa: F401
from openapi_spec_validator import OpenAPIV31SpecValidator

from common.settings import DESCRIPTORS
from services.gateway.openapi import build_document
from services.gateway.openapi.contract import Binding, Contract, Method
from services.gateway.openapi.example_values import EVENTS, REQUESTS, RESPONSES
from services.gateway.openapi.statuses import Statuses

VERBS = {"get", "put", "post", "delete", "patch"}
OPEN = {"/healthz", "/readyz"}
WEBSOCKET = "/api/v1/groq/chat/stream/{session_id}/{id_agente}"


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


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def message_of(name: str, value: Any) -> Any:
    """Reads a value as a message. Raises ParseError for a field that the message has not."""
    found = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))()
    return json_format.ParseDict(value, found)


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_the_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_public_method_is_documented(document, contract):
    expected = {(b.path, b.verb) for _, b in public(contract)} | {(path, "get") for path in (*OPEN, WEBSOCKET)}
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
        assert found["description"] == f"{method.description}\n\nNeeds a token with the scope `{method.scope}`."
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
    for kind in ("schemas", "responses", "headers", "parameters"):
        for name, component in document["components"][kind].items():
            assert f"#/components/{kind}/{name}" in references
            assert component["description"], name


def test_every_field_has_its_comment(document):
    for name, schema in document["components"]["schemas"].items():
        assert "properties" in schema or "enum" in schema, name
        for field, value in schema.get("properties", {}).items():
            assert value.get("description"), f"{name}.{field}"


def test_path_variables_are_parameters(document):
    for path, _, found in operations(document):
        in_path = [p for p in found["parameters"] if p.get("in") == "path"]
        assert sorted(p["name"] for p in in_path) == sorted(re.findall(r"\{([^}]+)\}", path))
        assert all(p["required"] for p in in_path)
        assert {"$ref": "#/components/parameters/RequestId"} in found["parameters"]


def test_every_operation_names_the_scope_it_needs(document, contract):
    assert document["security"] == [{"bearerAuth": []}]
    scheme = document["components"]["securitySchemes"]["bearerAuth"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for method, binding in public(contract):
        assert document["paths"][binding.path][binding.verb]["security"] == [{"bearerAuth": [method.scope]}]
        assert f"- `{method.scope}`: " in scheme["description"]
    assert operation(document, "ChatService.VerifyApiKey")["security"] == [{"bearerAuth": ["admin"]}]
    assert {path for path, _, op in operations(document) if op["security"] == []} == OPEN


def test_every_failure_has_the_one_shape(document):
    for path, _, found in operations(document):
        failures = {status: reply for status, reply in found["responses"].items() if status not in {"200", "101"}}
        always = {"400", "431", "500"} | (set() if path in OPEN else {"401", "403", "429", "503"})
        assert always <= set(failures)
        for reply in failures.values():
            content = resolve(document, reply["$ref"])["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
            fits(document, content["schema"], content["example"])
    shape = document["components"]["schemas"]["ErrorResponse"]
    assert shape["required"] == ["success", "message", "error", "metadata"]
    assert shape["properties"]["success"]["const"] is False
    assert set(document["components"]["schemas"]["Error"]["properties"]) == {"type", "code", "details"}


def test_no_status_is_left_open(document):
    assert not [path for path, _, found in operations(document) if "default" in found["responses"]]


@pytest.mark.parametrize(
    ("identifier", "status", "says"),
    [
        ("AgentService.GetAgent", "404", "`NOT_FOUND` if there is none."),
        ("IngestionService.CreateCollection", "409", "`ALREADY_EXISTS` if the identifier is taken."),
        ("ConversationService.AddTurn", "400", "`FAILED_PRECONDITION` if it is the bot's."),
        ("ChatService.StreamChat", "409", "`ABORTED` when another turn of the conversation does not end in time."),
        ("QueryService.StreamQuery", "404", "`NOT_FOUND` for an unknown collection."),
        ("IngestionService.UploadDocument", "400", "`INVALID_ARGUMENT` for a content type that cannot be read."),
    ],
)
def test_a_status_says_what_the_comment_says_of_it(document, identifier, status, says):
    assert operation(document, identifier)["responses"][status]["description"].endswith(says)


def test_only_what_takes_a_body_can_be_sent_too_much(document, contract):
    for _, binding in public(contract):
        assert ("413" in document["paths"][binding.path][binding.verb]["responses"]) is bool(binding.body)
    assert "404" not in Statuses(contract).of(next(m for m in contract.methods if m.name == "ListModels"), with_body=False)


def test_limits_tell_when_to_try_again(document):
    headers = document["components"]["responses"]["TooManyRequests"]["headers"]
    assert set(headers) == {"X-Request-Id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    assert "Retry-After" in document["components"]["responses"]["ServiceUnavailable"]["headers"]


def test_streams_are_sse_and_ndjson(document, contract):
    streams = [(m, b) for m, b in public(contract) if m.streams_response]
    assert streams
    for method, binding in streams:
        content = document["paths"][binding.path][binding.verb]["responses"]["200"]["content"]
        assert set(content) == {"text/event-stream", "application/x-ndjson"}
        event = {"$ref": f"#/components/schemas/{method.response.rsplit('.', 1)[1]}"}
        assert content["application/x-ndjson"]["schema"] == event
        assert content["text/event-stream"]["schema"]["properties"]["data"]["contentSchema"] == event
        lines = content["application/x-ndjson"]["example"].splitlines()
        assert content["text/event-stream"]["example"] == "".join(f"data: {line}\n\n" for line in lines)
        for line in lines:
            fits(document, event, json.loads(line))


def test_the_websocket_is_described(document, contract):
    handshake = document["paths"][WEBSOCKET]["get"]
    assert {"101", "400", "401", "403", "426", "429", "503"} <= set(handshake["responses"])
    assert handshake["security"] == [{"bearerAuth": ["chat"]}]
    frames = handshake["x-websocket"]
    assert frames["subprotocols"] == ["malla.v1", "malla.bearer.<token>"]
    sent = frames["send"]["schema"]
    assert (sent["required"], "session_id" in sent["properties"]) == (["mensaje"], False)
    fits(document, sent, frames["send"]["example"])
    assert frames["receive"]["schema"] == {"$ref": "#/components/schemas/ChatEvent"}
    for event in frames["receive"]["examples"]:
        fits(document, frames["receive"]["schema"], json.loads(event))


def test_an_upload_is_a_raw_body(document):
    upload = operation(document, "IngestionService.UploadDocument")
    assert upload["requestBody"]["content"]["application/octet-stream"]["schema"] == {"type": "string", "format": "binary"}
    query = {p["name"] for p in upload["parameters"] if p.get("in") == "query"}
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


def test_what_is_not_said_has_its_default(document):
    schemas = document["components"]["schemas"]
    listing = {p["name"]: p["schema"] for p in operation(document, "AgentService.ListAgents")["parameters"] if "name" in p}
    assert (listing["page_size"]["default"], listing["page_size"]["maximum"]) == (50, 1000)
    assert schemas["SearchRequest"]["properties"]["mode"]["default"] == "HYBRID"
    assert schemas["CreateCollectionRequest"]["properties"]["language"]["default"] == "es"
    assert "default" not in schemas["CreateCollectionRequest"]["properties"]["description"]


def test_allowed_values_become_enums(document):
    parameters = {p["name"]: p["schema"] for p in operation(document, "UsageService.GetUsage")["parameters"] if "name" in p}
    assert parameters["group_by"]["items"]["enum"] == ["day", "model", "token_type", "operation", "provider"]
    assert parameters["group_by"]["uniqueItems"] is True


def test_what_goes_both_ways_has_two_forms(document):
    schemas = document["components"]["schemas"]
    assert "required" not in schemas["AgentInput"]
    assert set(schemas["Agent"]["required"]) == {"id_agente", "name", "instructions", "model", "language", "collections", "k"}
    update = operation(document, "AgentService.UpdateAgent")
    assert update["requestBody"]["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/AgentInput"


def test_oneofs_are_told(document):
    event = document["components"]["schemas"]["ChatEvent"]
    assert "at most one of `retrieval`, `delta`" in event["description"]
    fits(document, event, {"sequence": 1, "heartbeat": {}})
    both = {"sequence": 1, "heartbeat": {}, "delta": {"text": "a"}}
    assert not Draft202012Validator({**event, "components": document["components"]}).is_valid(both)


def test_every_body_has_an_example_that_fits(document):
    for _, _, found in operations(document):
        media_type = found.get("requestBody", {}).get("content", {}).get("application/json")
        if media_type is not None:
            assert media_type["examples"], found["operationId"]
            for example in media_type["examples"].values():
                fits(document, media_type["schema"], example["value"])


def test_every_answer_that_is_exemplified_fits(document):
    for path, _, found in operations(document):
        content = found["responses"].get("200", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            fits(document, content["schema"], content["example"])
        else:
            assert found["operationId"] not in RESPONSES, path


def test_the_example_values_are_of_methods_there_are(contract):
    names = {method.full_name for method, _ in public(contract)}
    assert {*REQUESTS, *RESPONSES, *EVENTS} <= names


@pytest.mark.parametrize("name", REQUESTS)
def test_examples_pass_the_rules_of_the_contract(contract, name):
    method = next(method for method in contract.methods if method.full_name == name)
    in_path = re.findall(r"\{([^}]+)\}", method.bindings[0].path)
    for value in REQUESTS[name].values():
        whole = {**{field: 1 if field == "id_agente" else "user-123" for field in in_path}, **value}
        protovalidate.validate(message_of(method.request, whole))


def test_the_document_is_stable(document):
    assert json.dumps(build_document(DESCRIPTORS.read_bytes())) == json.dumps(document)
