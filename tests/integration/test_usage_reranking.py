"""What a cross-encoder takes for a search or an answer has a row of its own, with what the embedding server counted."""

from __future__ import annotations

from typing import Any

import pytest
from malla.query.v1 import query_pb2 as pb
from malla.query.v1 import query_pb2_grpc as rpc

from common.channel import open_channel
from services.query.adapters.extractive import ExtractiveAnswerer
from services.query.adapters.reranker import MeshReranker
from services.query.bootstrap import Adapters, services
from services.query.settings import QuerySettings
from tests.fakes.accounting import LIMITS, MemoryAccounting
from tests.fakes.calls import metadata
from tests.fakes.chat_bench import BILL, LIGHT, QUESTION
from tests.fakes.cross_encoder import FakeCrossEncoder
from tests.fakes.engine import FakeEngine
from tests.fakes.query import MemoryRecord, WordEmbedder
from tests.fakes.servers import channel_to, embedding_server

QUERIES = {"Search": (rpc.QueryServiceStub, "query"), "InternalQuery": (rpc.InternalQueryServiceStub, "internal")}


@pytest.mark.parametrize("name", list(QUERIES))
async def test_reranking_has_its_row(name: str):
    record, words, accounting = MemoryRecord(), WordEmbedder(), MemoryAccounting()
    collection = record.create()
    record.publish(collection, "luces", 1, LIGHT)
    record.publish(collection, "facturas", 1, BILL)
    settings = QuerySettings(_env_file=None, port=0, drain_grace_s=1)
    async with embedding_server(FakeEngine(), FakeCrossEncoder()) as address, open_channel(address) as embedding:
        given: dict[str, Any] = {"record": record, "embedder": words, "accounting": accounting}
        given |= {"answerer": ExtractiveAnswerer(words), "reranker": MeshReranker(embedding)}
        adapters = Adapters(**dict.fromkeys(Adapters.__dataclass_fields__) | given)
        async with channel_to(settings, services(settings, adapters, LIMITS)) as channel:
            stub, operation = QUERIES[name]
            kind = pb.SearchRequest if name == "Search" else pb.QueryRequest
            request = kind(collection_id="manual", query=QUESTION)
            response: Any = await getattr(stub(channel), name)(request, metadata=metadata("acme"), timeout=20)
    usage = response.usage if name == "Search" else response.data.usage
    (row,) = [row for row in accounting.rows.values() if row.stage == "reranking"]
    assert (row.token_type, row.operation, row.provider, row.model) == ("embedding", operation, "fake", "fake-pairs")
    assert row.total_tokens > 0
    assert {stage.stage: stage.total_tokens for stage in usage.stages}.get("reranking") == row.total_tokens
    assert accounting.open == []
