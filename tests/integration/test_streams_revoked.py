"""A stream does not outlive the token it was opened with, once that is revoked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from malla.ingestion.v1 import ingestion_pb2 as pb

from common.identity import publish_revoked
from common.settings import StoreSettings
from common.store import Store
from common.tokens import KeyRing, RevokedToken
from tests.fakes.calls import metadata, refused
from tests.fakes.ingestion import Bench, ingestion, settings_of


def watch(bench: Bench, job_id: str, token_id: str) -> AsyncIterator[pb.JobResponse]:
    caller = metadata("acme", token_id=token_id)
    return aiter(bench.stub.WatchJob(pb.WatchJobRequest(job_id=job_id), metadata=caller, timeout=30))


async def test_a_revoked_token_cuts_its_streams_and_no_others(
    store: Store, store_settings: StoreSettings, tmp_path: Path
) -> None:
    keys = KeyRing.open(tmp_path / "keys")
    publish_revoked(tmp_path, keys)
    settings = settings_of(store_settings, revoked_tokens=tmp_path / "revoked.json")
    async with ingestion(settings, store) as bench:
        bench.embedder.hold()
        await bench.collection("manual")
        job_id = (await bench.create("uno dos", "doc")).job_id
        streams = ended, kept, unnamed = [watch(bench, job_id, token) for token in ("one", "two", "")]
        assert [(await anext(stream)).job.job_id for stream in streams] == [job_id] * 3

        keys.book.revoke([RevokedToken(jti="one", expires_at=int(time.time()) + 60)])
        publish_revoked(tmp_path, keys)
        for stream in (ended, watch(bench, job_id, "one")):  # the other began before the proxy knew
            failure = await refused(stream)
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")

        bench.embedder.release()
        for stream in (kept, unnamed):
            assert [response.job.state async for response in stream][-1] == pb.Job.SUCCEEDED
