"""Every public method of the contract, and how one tenant tries it on what belongs to another.

Nothing here lists methods: they come from the compiled contract. What a new field of a request is filled with must be said
below, in one of three tables; `fields_of` fails for a field that is in none of them.
"""

from __future__ import annotations

import base64
import importlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from common.proxy import PUBLIC
from common.settings import DESCRIPTORS

NEVER: dict[str, Any] = {
    "collection_id": "never-there-collection",
    "document_id": "never-there-document",
    "job_id": "job-never-there",
    "id_agente": 1987654321,
    "session_id": "never-there-session",
}
"""Fields that name something of a tenant's, and a value that names nothing. A new kind of resource gets a row here, and one in
the set-up of the tests that use this (`Owned`)."""

FILLERS: dict[str, Any] = {
    "texts": ["hola"],
    "query": "¿Qué dice?",
    "text": "Un texto de otro.",
    "filename": "otro.txt",
    "file": {"content_type": "text/plain", "data": base64.b64encode(b"Un archivo de otro.").decode()},
    "mensaje": "¿Qué dice?",
    "agent": {"name": "Otro", "collections": ["{collection_id}"]},
    "collection": {"description": "de otro"},
    "update_mask": {"UpdateCollection": "description", "UpdateAgent": "name"},
    "author": "otro",
    "reason": "otro",
}
"""What a request needs beside. "{field}" becomes the resource's identifier; of a mapping by method names one is chosen."""

LEFT_OUT = {
    *("page_size", "page_token", "request_id", "language", "description", "dense_weight", "metadata", "kind", "model", "state"),
    *("k", "filter", "mode", "min_seq", "explain", "context", "temperature", "max_tokens", "origin", "visitor", "handed_off"),
    *("start_time", "end_time", "days", "group_by", "token_type"),
}
"""Fields that may stay empty and name nothing of a tenant's."""

MAKES_ITS_OWN = {"CreateCollection"}
"""Methods whose identifier names what they make: B makes its own thing of that name."""

_MODULES = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
_WITHOUT_MEANING = {
    "date",
    "content-length",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit",
    "accept-encoding",
}
REQUEST_ID = "isolation-test"


@dataclass(frozen=True)
class Binding:
    """One HTTP form of a method."""

    verb: str
    path: str
    body: str


@dataclass(frozen=True)
class Rpc:
    """One public method."""

    method: MethodDescriptor
    bindings: tuple[Binding, ...]

    @property
    def name(self) -> str:
        return str(self.method.name)

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.name}"

    @property
    def area(self) -> str:
        """The area of the contract it is in: ingestion, query, chat."""
        return str(self.method.full_name.split(".")[1])

    @property
    def resources(self) -> list[str]:
        """The fields of a request that name a resource."""
        return [field.name for field in self.method.input_type.fields if field.name in NEVER]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Answer:
    """What a caller was told: a status, and everything else that could differ."""

    code: str
    said: str
    head: tuple[tuple[str, str], ...]


def public_rpcs() -> list[Rpc]:
    """Returns every method that the edge routes."""
    for file in _MODULES:
        if file.name.startswith("malla/"):
            importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(service.name) for service in PUBLIC]
    return [Rpc(method, tuple(_bindings(method))) for service in services for method in service.methods]


def _bindings(method: MethodDescriptor) -> Iterator[Binding]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        assert verb, f"{method.full_name} has no HTTP path"
        yield Binding(verb.upper(), getattr(one, verb), one.body)


def fields_of(rpc: Rpc, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a request about these resources. Fails for a field nobody has thought about."""
    filled = {}
    for field in rpc.method.input_type.fields:
        if field.name in NEVER:
            filled[field.name] = resources[field.name]
        elif field.name in FILLERS:
            filled[field.name] = _filler(FILLERS[field.name], rpc, resources)
        elif field.name not in LEFT_OUT:
            pytest.fail(
                f"{rpc.method.full_name} has the field '{field.name}', and tests/fakes/isolation.py does not know it. Add it to"
                " NEVER if it names something of a tenant's, to FILLERS if the call needs it, to LEFT_OUT if it may stay empty."
            )
    return filled


def _filler(value: Any, rpc: Rpc, resources: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and rpc.name in value:
        return value[rpc.name]
    text = json.dumps(value)
    for name, identifier in resources.items():
        text = text.replace(f"{{{name}}}", str(identifier))
    return json.loads(text)


def attempts(rpc: Rpc, owned: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yields every combination of a tenant's resources that a request of the method can name; one without any for none."""
    names = list(NEVER)
    wanted = set(rpc.resources) | {
        name for name in names if f"{{{name}}}" in json.dumps(FILLERS.get("agent")) and _has_agent(rpc)
    }
    for values in itertools.product(*(owned[name] if name in wanted else [NEVER[name]] for name in names)):
        yield dict(zip(names, values, strict=True))


def _has_agent(rpc: Rpc) -> bool:
    return any(field.name == "agent" for field in rpc.method.input_type.fields)


def names_resource(rpc: Rpc) -> bool:
    """Whether a request names something that is there already."""
    return (bool(rpc.resources) or _has_agent(rpc)) and rpc.name not in MAKES_ITS_OWN


def over_http(client: httpx.Client, rpc: Rpc, binding: Binding, fields: Mapping[str, Any]) -> Answer:
    """Calls a method by one of its HTTP forms."""
    rest, path = dict(fields), binding.path
    for name in list(rest):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(str(rest.pop(name)), safe=""))
    content, headers = b"", {"x-request-id": REQUEST_ID}
    if binding.body == "file":
        file = rest.pop("file")
        content, headers["content-type"] = base64.b64decode(file["data"]), file["content_type"]
    elif binding.body:
        body = rest if binding.body == "*" else rest.pop(binding.body)
        rest = {} if binding.body == "*" else rest
        content, headers["content-type"] = json.dumps(body).encode(), "application/json"
    with client.stream(binding.verb, path, params=rest, content=content, headers=headers) as response:
        said = response.read().decode()
    head = tuple(sorted((k, v) for k, v in response.headers.items() if k not in _WITHOUT_MEANING))
    return Answer(str(response.status_code), said, head)


def over_grpc(channel: grpc.Channel, rpc: Rpc, fields: Mapping[str, Any], metadata: Mapping[str, str | bytes]) -> Answer:
    """Calls a method by gRPC."""
    request = json_format.ParseDict(dict(fields), message_factory.GetMessageClass(rpc.method.input_type)())
    parse = message_factory.GetMessageClass(rpc.method.output_type).FromString
    streams = (rpc.method.client_streaming, rpc.method.server_streaming)
    shape = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
    }[streams]
    call = shape(rpc.path, request_serializer=_serialized, response_deserializer=parse)
    sent = iter([request]) if streams[0] else request
    pairs = (*metadata.items(), ("x-request-id", REQUEST_ID))
    try:
        response = call(sent, metadata=pairs, timeout=30)
        answers = list(response) if streams[1] else [response]
    except grpc.RpcError as error:
        packed = dict(error.trailing_metadata() or ()).get(rpc_status.GRPC_DETAILS_METADATA_KEY, b"")
        said = json_format.MessageToJson(status_pb2.Status.FromString(packed))
        return Answer(error.code().name, said, (("grpc-message", error.details() or ""),))
    return Answer("OK", "".join(json_format.MessageToJson(one, ensure_ascii=False) for one in answers), ())


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def as_if(answer: Answer, tried: Mapping[str, Any], instead: Mapping[str, Any]) -> Answer:
    """Returns an answer with the identifiers of `tried` exchanged for those of `instead`."""

    def exchanged(text: str) -> str:
        for name, identifier in tried.items():
            text = text.replace(str(identifier), str(instead[name]))
        return text

    return Answer(answer.code, exchanged(answer.said), tuple((name, exchanged(value)) for name, value in answer.head))
