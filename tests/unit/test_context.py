"""Who a call is made for, and what a handler's facts become."""

from __future__ import annotations

import time

import grpc
import pytest
from malla.embedding.v1 import embedding_pb2 as pb
from malla.ingestion.v1 import ingestion_pb2

from common.channel import call_options
from common.context import Context, Tier, current_context, with_context
from common.errors import DeadlineError, InvalidArgumentError, MissingContextError, UnauthenticatedError
from tests.fakes.calls import metadata, refused
from tests.fakes.shapes import answer_of, call, shapes

REQUEST = pb.EmbedRequest(texts=["x"])


class Rpc:
    """The gRPC context of a call."""

    def __init__(self, pairs: tuple[tuple[str, str], ...], remaining_s: float | None = None) -> None:
        self._pairs, self._remaining_s = pairs, remaining_s

    def invocation_metadata(self):
        return self._pairs

    def time_remaining(self):
        return self._remaining_s


class Servicer:
    """Handlers of two shapes that note facts."""

    seen: Context

    @with_context(tenant=True)
    async def unary(self, request, ctx: Context):
        assert ctx
        assert current_context() is ctx
        self.seen = ctx
        ctx.add_metric("model_downgraded", True)
        ctx.add_metric("tries", 2)
        ctx.add_metric("truncated", [1, 2])
        ctx.add_metric("chosen", {"model": "small"})
        ctx.add_metric("notice", "short")
        ctx.add_metric("nothing", None)
        return pb.EmbeddingResponse()

    @with_context(tenant=True)
    async def stream(self, request, ctx: Context):
        self.seen = ctx
        for number in range(2):
            ctx.add_metric("number", number)
            yield pb.EmbeddingResponse(message=f"part {number}")

    @with_context(tenant=True)
    async def failing(self, request, ctx: Context):
        ctx.add_metric("tries", 3)
        raise DeadlineError("vectors")

    @with_context(tenant=True, collection=True, session=True)
    async def strict(self, request, ctx: Context):
        self.seen = ctx
        return ingestion_pb2.CollectionResponse()

    @with_context(tenant=False)
    async def anyone(self, request, ctx: Context):
        return pb.EmbeddingResponse(message="hello")


def facts(response) -> dict[str, object]:
    return {key: _plain(value) for key, value in response.metadata.items()}


def _plain(value) -> object:
    if value.HasField("list_value"):
        return list(value.list_value)
    if value.HasField("struct_value"):
        return dict(value.struct_value)
    return getattr(value, value.WhichOneof("kind")) if not value.HasField("null_value") else None


async def test_metrics_of_a_unary_call_land_in_its_metadata():
    async with shapes({"unary_unary": Servicer().unary}) as channel:
        response = await call(channel, "unary_unary", REQUEST, metadata(request_id="r1"))
    assert response.success
    assert response.message == "OK"
    assert facts(response) == {
        "model_downgraded": True,
        "tries": 2,
        "truncated": [1, 2],
        "chosen": {"model": "small"},
        "notice": "short",
        "nothing": None,
        "request_id": "r1",
    }


async def test_metrics_of_a_stream_land_in_each_response():
    async with shapes({"unary_stream": Servicer().stream}) as channel:
        last = await answer_of("unary_stream", call(channel, "unary_stream", REQUEST, metadata(request_id="r1")))
    assert last.message == "part 1"
    assert facts(last) == {"number": 1, "request_id": "r1"}


async def test_metrics_of_a_failed_call_land_in_the_error(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "malla.rpc")
    async with shapes({"unary_unary": Servicer().failing}) as channel:
        failure = await refused(call(channel, "unary_unary", REQUEST, metadata(request_id="r1")))
    assert facts(failure.body) == {"tries": 3, "request_id": "r1"}
    [line] = [record for record in caplog.records if record.name == "malla.rpc"]
    assert (line.tenant_id, line.request_id, line.code, line.metrics) == ("acme", "r1", "DEADLINE_EXCEEDED", {"tries": 3})


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
async def test_a_call_without_a_tenant_is_refused(shape: str):
    handler = Servicer().unary if shape == "unary_unary" else Servicer().stream
    async with shapes({shape: handler}) as channel:
        failure = await refused(call(channel, shape, REQUEST))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert list(failure.detail("MissingContext").parts) == ["tenant"]


async def test_a_tenant_is_asked_for_only_where_needed():
    assert (await Servicer().anyone(REQUEST, Rpc(()))).message == "hello"
    with pytest.raises(UnauthenticatedError):
        await Servicer().unary(REQUEST, Rpc(()))


@pytest.mark.parametrize(
    ("pairs", "missing"),
    [
        (metadata(), ["collection", "session"]),
        (metadata(session_id="s"), ["collection"]),
        (metadata(collection_id="c"), ["session"]),
    ],
)
async def test_missing_parts_are_named(pairs, missing):
    with pytest.raises(MissingContextError) as refused:
        await Servicer().strict(ingestion_pb2.GetCollectionRequest(), Rpc(pairs))
    assert refused.value.details == {"parts": missing}
    assert all(part in refused.value.message for part in missing)


@pytest.mark.parametrize("name", ["collection_id", "session_id", "request_id"])
async def test_a_name_in_the_metadata_has_a_length(name):
    await Servicer().anyone(REQUEST, Rpc(metadata(**{name: "n" * 128})))
    with pytest.raises(InvalidArgumentError) as refused:
        await Servicer().anyone(REQUEST, Rpc(metadata(**{name: "n" * 129})))
    assert "must be at most 128 characters" in str(refused.value.details)


async def test_a_field_of_the_request_goes_before_metadata():
    servicer, pairs = Servicer(), metadata(collection_id="from-metadata", session_id="s")
    await servicer.strict(ingestion_pb2.GetCollectionRequest(collection_id="from-field"), Rpc(pairs))
    assert (servicer.seen.collection_id, servicer.seen.session_id) == ("from-field", "s")
    await servicer.strict(ingestion_pb2.GetCollectionRequest(), Rpc(pairs))
    assert servicer.seen.collection_id == "from-metadata"


def test_a_context_travels_whole():
    pairs = metadata(collection_id="c", session_id="s", request_id="r", tier="pro")
    ctx = Context.from_metadata(pairs)
    assert (ctx.tenant_id, ctx.tier) == ("acme", Tier.PRO)
    assert sorted(ctx.to_metadata()) == sorted(pairs)


def test_an_unknown_tier_is_the_lowest():
    assert Context.from_metadata(metadata(tier="platinum")).tier is Tier.FREE


def test_a_call_without_a_request_id_gets_one_of_its_own():
    first, second = Context.from_metadata(metadata()), Context.from_metadata(metadata())
    assert first.request_id != second.request_id
    assert first.request_id


def test_binary_metadata_is_no_context():
    assert Context.from_metadata([("x-tenant-id", b"acme")]).tenant_id == ""


def test_the_deadline_goes_along_and_only_gets_shorter():
    ctx = Context.from_metadata(metadata(), 5.0)
    assert 4.5 < call_options(ctx, most_s=30)["timeout"] <= 5
    assert call_options(ctx, most_s=1)["timeout"] == 1
    assert call_options(Context(), most_s=30)["timeout"] == 30


def test_a_passed_deadline_leaves_nothing_not_less():
    assert Context(deadline=time.monotonic() - 5).remaining_s(10) == 0
