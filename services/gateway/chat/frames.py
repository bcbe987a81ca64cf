"""The text frames: a visitor's message to a ChatRequest, a ChatEvent or a failure to an event."""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Any

import msgspec
from google.protobuf import json_format
from malla.chat.v1 import chat_pb2, event_pb2

from common.errors import InvalidArgumentError, MallaError

# The path says these, whatever the frame says.
_OF_THE_PATH = frozenset({"session_id", "sessionId", "id_agente", "idAgente"})


def parse_message(text: str, session_id: str, id_agente: int) -> chat_pb2.ChatRequest:
    """Returns the request that a frame asks for. Raises InvalidArgumentError for what is no message.

    Only the shape is checked here; lengths and ranges are the contract's, and checked by the server like those of every call.
    """
    request = chat_pb2.ChatRequest()
    try:
        json_format.ParseDict(_fields(text), request, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise InvalidArgumentError([("", str(error).rstrip("."))]) from None
    if not request.mensaje:
        raise InvalidArgumentError([("mensaje", "must not be empty")])
    request.session_id = session_id
    request.id_agente = id_agente
    return request


def _fields(text: str) -> dict[str, Any]:
    try:
        # As strict as a Protobuf text is: half a surrogate pair, which the standard library takes, cannot be sent on or back.
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidArgumentError([("", 'the frame is no JSON; send {"mensaje": "…"}')]) from None
    if not isinstance(message, dict):
        raise InvalidArgumentError([("", 'the frame is no JSON object; send {"mensaje": "…"}')])
    if not isinstance(message.get("visitor") or {}, dict):  # json_format takes a text for a message without fields
        raise InvalidArgumentError([("visitor", "must be an object")])
    return {name: value for name, value in message.items() if name not in _OF_THE_PATH}


def event_text(event: event_pb2.ChatEvent) -> str:
    """Returns an event as the edge's transcoder prints it: the proto's names, every primitive field."""
    if event.WhichOneof("event") == "delta":  # nearly all events are one; the way through json_format costs 15 times as much
        return f'{{"sequence":{event.sequence},"delta":{{"text":{encode_basestring(event.delta.text)}}}}}'
    row = json_format.MessageToDict(event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _compact(row)


def error_text(error: MallaError, sequence: int) -> str:
    """Returns the `error` event that ends a turn."""
    row = {"type": error.reason, "code": error.code.value, "message": error.message, "details": error.details}
    return _compact({"sequence": sequence, "error": row})


def _compact(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
