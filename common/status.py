"""Exceptions to `google.rpc.Status` and back (AIP-193).

Details, in this order: ErrorInfo, the typed detail, BadRequest and RetryInfo where they apply, last the ErrorResponse, which is
the HTTP body: the edge cuts it out of the transcoded status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from malla.common.v1 import envelope_pb2, errors_pb2

from common.errors import Code, MallaError, RemoteError, UnavailableError
from common.models import Error, ErrorResponse
from common.protobuf import from_message, to_message
from common.secrets import scrub_data

DOMAIN = "malla"

# A status travels in the headers after the answer: gRPC refuses some of more than 8 KiB, and all of more than 16.
_MOST_BYTES = 6_000
_MOST_OF_MESSAGE = 300
_MOST_OF_TEXT = 100
_MOST_ITEMS = 6


def error_of(error: MallaError) -> Error:
    """Returns the error as data."""
    return Error(type=error.reason, code=error.code.value, details=error.details)


def to_status(error: MallaError, metadata: Mapping[str, Any]) -> status_pb2.Status:
    """Returns the status that tells a caller of `error`, shortened where it would be too long to be sent.

    `metadata` must hold `request_id`.
    """
    status = _status(error, error.message, error.details, metadata)
    if _sent_bytes(status) <= _MOST_BYTES:
        return status
    message = _shortened(error.message, _MOST_OF_MESSAGE)
    return _status(error, message, _shortened(error.details), metadata)


def _status(error: MallaError, message: str, facts: Mapping[str, Any], metadata: Mapping[str, Any]) -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code.value), message=message)
    for detail in _details(error, message, facts, metadata):
        status.details.append(_packed(detail))
    return status


def _sent_bytes(status: status_pb2.Status) -> int:
    """Returns what a status takes: its message percent-encoded, and all of it in base64."""
    return len(quote(status.message, safe=" ")) + len(status.SerializeToString()) * 4 // 3


def _shortened(value: Any, most_of_text: int = _MOST_OF_TEXT) -> Any:
    """Cuts a text that is long, and keeps the first items where there are many."""
    if isinstance(value, str):
        return value if len(value) <= most_of_text else value[:most_of_text] + "…"
    if isinstance(value, Mapping):
        return {_shortened(key): _shortened(one) for key, one in [*value.items()][:_MOST_ITEMS]}
    if isinstance(value, list | tuple):
        return [_shortened(one) for one in value[:_MOST_ITEMS]]
    return value


def _details(error: MallaError, message: str, facts: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[Message]:
    request_id = str(metadata.get("request_id", ""))
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"request_id": request_id})
    ]
    if error.detail_message is not None:
        typed = getattr(errors_pb2, error.detail_message.rpartition(".")[2])()
        details.append(json_format.ParseDict(dict(facts), typed, ignore_unknown_fields=True))
    if "violations" in facts:
        violations = [error_details_pb2.BadRequest.FieldViolation(**row) for row in facts["violations"]]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(retry)
    told = Error(type=error.reason, code=error.code.value, details=dict(facts))
    body = ErrorResponse(message=message, error=told, metadata=scrub_data(metadata))
    details.append(to_message(body, envelope_pb2.ErrorResponse))
    return details


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def from_rpc_error(error: grpc.aio.AioRpcError, dependency: str) -> MallaError:
    """Returns the failure a server reported, or UnavailableError when `dependency` could not be reached at all."""
    body = error_response_of(error)
    if body.error is None:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(dependency)
        body.error = Error(type=error.code().name, code=error.code().name)
    return RemoteError(
        body.message or (error.details() or ""),
        code=_code_of(body.error.code),
        reason=body.error.type,
        details=body.error.details,
        retry_after_s=_retry_after_s(body.error.details),
        request_id=str(body.metadata.get("request_id", "")),
    )


def _code_of(name: str) -> Code:
    return Code(name) if name in set(Code) else Code.UNKNOWN


def error_response_of(error: grpc.aio.AioRpcError) -> ErrorResponse:
    """Returns the error body a failed call carries; one with `error=None` when it carries none."""
    details = dict(error.trailing_metadata() or ()).get(rpc_status.GRPC_DETAILS_METADATA_KEY)
    if isinstance(details, bytes):
        for detail in reversed(status_pb2.Status.FromString(details).details):
            body = envelope_pb2.ErrorResponse()
            if detail.Unpack(body):
                return from_message(ErrorResponse, body)
    return ErrorResponse(message=error.details() or "")


def _retry_after_s(details: Mapping[str, Any]) -> float | None:
    milliseconds = details.get("retry_after_ms")
    return None if milliseconds is None else float(milliseconds) / 1000
