"""Exceptions on their way to the caller and back: status, details, and nothing of what is none of the caller's business."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import code_pb2
from grpc_status import rpc_status
from malla.embedding.v1 import embedding_pb2 as pb

from common import errors
from common.errors import Code, MallaError
from common.status import from_rpc_error, to_status
from tests.fakes.calls import failure_of, metadata, refused
from tests.fakes.shapes import SHAPES, answer_of, call, raising, reading, shapes

ERRORS = [
    errors.InternalError("Something failed inside."),
    errors.NotFoundError("collection", "manual", "Create it."),
    errors.AlreadyExistsError("collection", "manual"),
    errors.InvalidArgumentError([("texts[1]", "must not be blank"), ("", "too much")]),
    errors.MissingContextError(["collection", "session"]),
    errors.UnauthenticatedError(),
    errors.LimitExceededError("upload_bytes", allowed=1000, actual=2000, hint="Split it."),
    errors.OverloadedError("embedding", retry_after_s=1.25),
    errors.DeadlineError("embeddings"),
    errors.UnsupportedContentError("'image/png' cannot be ingested.", content_type="image/png", supported=["text/plain"]),
    errors.UnreadableDocumentError("It is damaged.", details={"content_type": "application/pdf"}),
    errors.UnavailableError("database"),
    errors.NotFromMeshError(),
    errors.MissingScopeError("write", ["chat", "read"]),
    errors.TokenExpiredError(),
    errors.TokenRevokedError(),
    errors.StorageFullError(),
]
OK = pb.EmbedRequest(texts=["hello", "there"])


def by_name(error: MallaError) -> str:
    return type(error).__name__


def as_rpc_error(error: MallaError) -> grpc.aio.AioRpcError:
    status = rpc_status.to_status(to_status(error, {"request_id": "r1"}))
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, details=status.details)


@pytest.mark.parametrize("error", ERRORS, ids=by_name)
def test_a_status_carries_the_error_and_ends_with_the_http_body(error: MallaError):
    failure = failure_of(as_rpc_error(error))
    assert failure.code.name == error.code.value
    assert failure.names[0] == "ErrorInfo"
    assert failure.names[-1] == "ErrorResponse"
    assert failure.details[0].domain == "malla"
    assert failure.details[0].metadata["request_id"] == "r1"
    assert failure.reason == error.reason == failure.body.error.type
    assert failure.body.message == error.message == failure.message
    assert failure.body.metadata["request_id"].string_value == "r1"
    if error.detail_message:
        assert failure.names[1] == error.detail_message.rpartition(".")[2]


@pytest.mark.parametrize("error", ERRORS, ids=by_name)
def test_an_error_comes_back_from_the_wire_as_it_was(error: MallaError):
    back = from_rpc_error(as_rpc_error(error), "embedding server")
    assert (back.code, back.reason, back.message, back.details) == (error.code, error.reason, error.message, error.details)
    assert isinstance(back, errors.RemoteError)
    assert back.request_id == "r1"


def test_every_exception_is_covered_here():
    def family(kind: type[MallaError]) -> set[type[MallaError]]:
        return {kind}.union(*(family(child) for child in kind.__subclasses__() if child.__module__ == "common.errors"))

    assert family(MallaError) - {MallaError, errors.RemoteError} == {type(error) for error in ERRORS}


def test_details_come_in_order():
    overloaded = failure_of(as_rpc_error(errors.OverloadedError("embedding", retry_after_s=1.25)))
    assert overloaded.names == ["ErrorInfo", "Overloaded", "RetryInfo", "ErrorResponse"]
    assert overloaded.detail("RetryInfo").retry_delay.ToMilliseconds() == 1250
    invalid = failure_of(as_rpc_error(errors.InvalidArgumentError([("a", "b")])))
    assert invalid.names == ["ErrorInfo", "InvalidFields", "BadRequest", "ErrorResponse"]


def test_a_retry_delay_survives_the_way_through_another_server():
    back = from_rpc_error(as_rpc_error(errors.OverloadedError("embedding", retry_after_s=1.25)), "embedding server")
    assert back.retry_after_s == 1.25
    again = failure_of(as_rpc_error(back))
    assert again.detail("RetryInfo").retry_delay.ToMilliseconds() == 1250


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_any_status_a_peer_or_proxy_can_send_becomes_an_error(code: grpc.StatusCode):
    bare = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no healthy upstream")
    error = from_rpc_error(bare, "embedding server")
    assert error.message
    if code is grpc.StatusCode.UNAVAILABLE:
        assert isinstance(error, errors.UnavailableError)
        assert "embedding server" in error.message
    else:
        assert (error.code, error.reason) == (code.name, code.name)
    assert to_status(error, {}).code == code_pb2.Code.Value(code.name)


def test_a_code_is_a_grpc_code():
    assert {code.value for code in Code} <= {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_tells_an_error_the_same_way(shape: str):
    async with shapes({shape: raising(shape, errors.NotFoundError("collection", "manual", "Create it."))}) as channel:
        failure = await refused(call(channel, shape, OK, metadata(request_id="r9")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert failure.body.error.details["resource_id"] == "manual"
    assert failure.body.metadata["request_id"].string_value == "r9"


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_unexpected_exception_keeps_its_words_to_the_log(shape: str, caplog: pytest.LogCaptureFixture):
    secret = "mongodb://root:hunter2@db.internal"
    async with shapes({shape: raising(shape, ValueError(secret))}) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer_of(shape, call(channel, shape, OK, metadata(request_id="r9")))
    failure = failure_of(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "r9" in failure.message
    sent = [str(failure), *(str(value) for _, value in caught.value.trailing_metadata())]
    assert not [text for text in sent if "hunter2" in text or "ValueError" in text]
    assert any(record.exc_info and secret in str(record.exc_info[1]) for record in caplog.records)


@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
async def test_an_error_behind_responses_still_has_its_status(shape: str):
    async with shapes({shape: raising(shape, errors.DeadlineError("vectors"), after=2)}) as channel:
        seen = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for response in call(channel, shape, OK):
                seen.append(response.message)
    assert seen == ["before", "before"]
    assert failure_of(caught.value).reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_checks_the_rules_of_the_contract(shape: str):
    async with shapes({shape: reading(shape)}) as channel:
        assert (await answer_of(shape, call(channel, shape, OK))).message == "hello there"
        failure = await refused(call(channel, shape, pb.EmbedRequest(texts=["fine", ""])))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert failure.detail("BadRequest").field_violations[0].field == "texts[1]"


async def test_what_a_handler_aborts_itself_is_left_alone():
    async def aborting(request, rpc):
        await rpc.abort(grpc.StatusCode.ABORTED, "as I say")

    async with shapes({"unary_unary": aborting}) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "unary_unary", OK)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "as I say")
