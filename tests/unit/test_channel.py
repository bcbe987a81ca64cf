"""Which calls a channel makes again where a server answers UNAVAILABLE."""

from __future__ import annotations

from collections import Counter

import grpc
import pytest

from common.channel import open_channel


class Unavailable(grpc.GenericRpcHandler):
    """Refuses every call, and counts them."""

    def __init__(self):
        self.calls = Counter()

    def service(self, call):
        async def refuse(request, context):
            self.calls[call.method] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
async def refusing():
    handler = Unavailable()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        yield channel, handler.calls
    await server.stop(0)


async def tries(refusing, method):
    channel, calls = refusing
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await channel.unary_unary(method)(b"", timeout=10)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    return calls[method]


@pytest.mark.parametrize(
    "method",
    [
        "/malla.chat.v1.ChatService/Chat",
        "/malla.chat.v1.ChatService/StreamChat",
        "/malla.chat.v1.ChatService/TestConnection",
        "/malla.query.v1.QueryService/Query",
        "/malla.query.v1.QueryService/StreamQuery",
        "/malla.query.v1.InternalQueryService/InternalQuery",
    ],
)
async def test_what_calls_a_model_is_tried_once(refusing, method):
    assert await tries(refusing, method) == 1


@pytest.mark.parametrize(
    "method",
    [
        "/malla.ingestion.v1.IngestionService/GetCollection",
        "/malla.query.v1.QueryService/Search",
        "/malla.chat.v1.AgentService/GetAgent",
    ],
)
async def test_the_rest_is_tried_again(refusing, method):
    assert await tries(refusing, method) == 4
