"""Examples of bodies, answers and events, each read as the message it stands for: one that does not fit raises ParseError."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from services.gateway.openapi.contract import Method
from services.gateway.openapi.example_values import EVENTS, FIELDS, REQUESTS, RESPONSES
from services.gateway.openapi.rules import Schema

_BY_TYPE: dict[str, Any] = {"string": "texto", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}


class Examples:
    """Makes the examples of a contract."""

    def __init__(self, descriptors: bytes) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptors).file:
            self._pool.Add(file)

    def bodies(self, method: Method, field: str, schema: Schema) -> Schema:
        """Returns the named examples of a request's body.

        Args:
            method: Whose.
            field: The field that is the body; empty where the whole request is.
            schema: The body's, for a method that the values do not know: its required fields are the example.
        """
        values = REQUESTS.get(method.full_name)
        if values is None:
            return {"requerido": {"value": required_fields(schema)}}
        for value in values.values():
            json_format.ParseDict(value, self._new(method.request))
        return {name: {"value": value[field] if field else value} for name, value in values.items()}

    def answer(self, method: Method) -> Any | None:
        """Returns an answer as the edge prints it; None where there is no example."""
        value = RESPONSES.get(method.full_name)
        return None if value is None else self._printed(method.response, value)

    def stream(self, method: Method) -> list[str]:
        """Returns the events of a stream, one a line; none where there is no example."""
        return [
            json.dumps(self._printed(method.response, event), ensure_ascii=False) for event in EVENTS.get(method.full_name, ())
        ]

    def _printed(self, message: str, value: dict[str, Any]) -> Any:
        return json_format.MessageToDict(
            json_format.ParseDict(value, self._new(message)),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=self._pool,
        )

    def _new(self, name: str) -> Message:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))()


def required_fields(schema: Schema) -> dict[str, Any]:
    """Returns an example of an object schema that holds its required fields."""
    properties = schema["properties"]
    return {name: FIELDS.get(name, _BY_TYPE.get(properties[name].get("type", "object"))) for name in schema.get("required", [])}


def parameter_example(name: str) -> Any | None:
    """Returns an example of a parameter of a path; None where there is none."""
    return FIELDS.get(name)
