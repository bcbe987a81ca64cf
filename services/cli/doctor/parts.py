"""The parts of the mesh: processes, proxy, database, embedding, indexes."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import httpx
from pydantic import SecretStr

from common.client import InternalClient, MallaClient
from common.context import Context, Tier
from common.errors import Code, MallaError
from common.models import EmbeddingKind, IndexState
from common.settings import StoreSettings
from common.store import hello, open_store
from services.cli.doctor.findings import Finding, Patient, failed, ok, warning
from services.cli.doctor.machine import skew
from services.cli.launcher.state import MeshState

_SLOW_MS = 500.0
_MOST_NAMES = 5
_COLLECTION = "doctor"
_INDEX_DEADLINE_S = 120.0
_LOGS = "`malla logs -n 100 --level WARNING` says why."


def state_of(patient: Patient) -> MeshState:
    """Returns what is written about the mesh, which runs."""
    if patient.state is None:
        raise ValueError("the mesh does not run in this data dir")
    return patient.state


def client_of(patient: Patient) -> MallaClient:
    """Returns the client of the mesh, which runs."""
    if patient.client is None:
        raise ValueError("the mesh does not run")
    return patient.client


async def processes(patient: Patient) -> AsyncIterator[Finding]:
    """Whether every process serves."""
    rows = state_of(patient).processes
    ill = 0
    for row in rows:
        alive = row.process is not None and row.process.is_alive
        if row.process is not None and row.process.is_stopped:
            ill += 1
            yield failed(
                f"{row.name} was stopped by a signal, and does nothing",
                f"Let it go on: `kill -CONT {row.process.pid}`.",
                process=row.name,
            )
            continue
        why = await row.check.failure(timeout_s=5.0) if alive else "does not run"
        if why:
            ill += 1
            yield failed(f"{row.name} {why}", f"It is restarted by itself. See `malla logs {row.name}`.", process=row.name)
        elif row.restarts and row.last_exit and "request" not in row.last_exit:
            yield warning(
                f"{row.name} was restarted {row.restarts} times, last: {row.last_exit}", f"See `malla logs {row.name}`."
            )
    if not ill:
        yield ok(f"{len(rows)} processes serve")


async def proxy(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the proxy is live with both listeners, and knows a healthy server of each kind."""
    async with httpx.AsyncClient(base_url=f"http://{state_of(patient).admin_address}", trust_env=False, timeout=5) as admin:
        live = (await admin.get("/ready")).text.strip()
        listeners = (await admin.get("/listeners?format=json")).json().get("listener_statuses", [])
        clusters = (await admin.get("/clusters?format=json")).json()["cluster_statuses"]
    names = {row["name"] for row in listeners}
    if live != "LIVE" or not {"edge", "mesh"} <= names:
        yield failed(
            f"the proxy is {live}, with the listeners {', '.join(sorted(names)) or 'none'}", "Try `malla restart proxy`."
        )
        return
    sick = [row["name"] for row in clusters if row.get("host_statuses") and not any(map(_is_healthy, row["host_statuses"]))]
    if sick:
        yield failed(f"the proxy finds no healthy {', '.join(sick)}", _LOGS)
    else:
        yield ok(f"live, {len(names)} listeners, {len(clusters)} clusters")


def _is_healthy(host: dict[str, dict[str, object]]) -> bool:
    return "failed_active_health_check" not in host["health_status"]


async def clock(patient: Patient) -> AsyncIterator[Finding]:
    """Clocks of the database and of the proxy against ours."""
    before = time.time()
    there = await hello(_mongodb_uri(patient), most_s=5.0)
    if there is not None:
        yield skew("database", there, (before, time.time()))
    else:
        yield ok("the database does not tell its time")


async def database(patient: Patient) -> AsyncIterator[Finding]:
    """A write that is read back, and how long that took."""
    settings = StoreSettings(mongodb_uri=SecretStr(_mongodb_uri(patient)))
    mark = uuid.uuid4().hex
    async with open_store(settings, wait=False) as store:
        rows = store.rows(patient.tenant, _COLLECTION)
        began = time.perf_counter()
        await store.ping()
        pinged = time.perf_counter()
        await rows.insert({"_id": mark, "made_at": int(time.time())})
        found = await rows.find_one({"_id": mark})
        took_ms = (time.perf_counter() - pinged) * 1000
        await rows.delete({"_id": mark})
    ping_ms = (pinged - began) * 1000
    said = f"answers in {ping_ms:.0f} ms; a write was read back in {took_ms:.0f} ms"
    facts = {"ping_ms": round(ping_ms, 1), "write_ms": round(took_ms, 1)}
    if found is None:
        yield failed("a write it acknowledged was not there", "Check its disk, and that it is one server or one replica set.")
    elif took_ms > _SLOW_MS:
        yield warning(
            said, "It is slow: every turn and job waits for it. Check its disk and what else runs beside it.", **facts
        )
    else:
        yield ok(said, **facts)


def _mongodb_uri(patient: Patient) -> str:
    return patient.settings.mongodb_uri.get_secret_value() or state_of(patient).mongodb_uri


async def embedding(patient: Patient) -> AsyncIterator[Finding]:
    """Whether a text becomes a vector."""
    began = time.perf_counter()
    text = f"malla doctor {uuid.uuid4().hex}"  # in no cache
    made = await client_of(patient).embed([text], kind=EmbeddingKind.QUERY)
    took_ms = (time.perf_counter() - began) * 1000
    norm = sum(value * value for value in made.embeddings[0].values) ** 0.5
    said = f"{made.model}, {made.dimensions} dimensions, one text in {took_ms:.0f} ms"
    facts = {"model": made.model, "dimensions": made.dimensions, "latency_ms": round(took_ms, 1)}
    if abs(norm - 1) > 0.01:
        yield failed(f"{said}, but its vectors have the length {norm:.2f}", "Remove the engine's cache and restart embedding.")
    elif took_ms > _SLOW_MS:
        yield warning(said, "The machine is busy, or the engine fell back: see `malla logs embedding`.", **facts)
    else:
        yield ok(said, **facts)


async def models(patient: Patient) -> AsyncIterator[Finding]:
    """Whether every collection's embedding model is served; the vectors of one that is not find nothing."""
    client = client_of(patient)
    collections: dict[str, list[str]] = {}
    async for known in client.list_collections():
        if known.model:  # none before its first document
            collections.setdefault(known.model, []).append(known.collection_id)
    unserved = 0
    for model, names in collections.items():
        try:
            await client.embed(["malla doctor"], kind=EmbeddingKind.QUERY, model=model)
        except MallaError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            unserved += 1
            yield warning(
                f"no embedding server serves '{model}': {_listed(names)} can be searched by words only",
                f"Compute the vectors anew: malla reindex --collection {names[0]}. Or serve the model again, by "
                "MALLA_EMBEDDING_ENGINE and MALLA_EMBEDDING_MODEL, or beside another by MALLA_EMBEDDING_MODELS.",
                model=model,
                collections=names,
            )
    if not unserved:
        yield ok(f"the models of all collections are served: {', '.join(collections)}" if collections else "none is in use")


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown


async def indexes(patient: Patient) -> AsyncIterator[Finding]:
    """Indexes against the record; those that differ are made anew."""
    ctx = Context(tenant_id=patient.tenant, tier=Tier.ENTERPRISE)
    try:
        async with InternalClient(state_of(patient).mesh_address) as mesh:
            found = await mesh.check_indexes(ctx, timeout_s=_INDEX_DEADLINE_S)
    except MallaError as error:
        yield failed(error.message, _LOGS)
        return
    checked = found.data.checks if found.data else []
    for index in checked:
        about = f"'{index.collection_id}': {'; '.join(index.differences[:3])}"
        if index.state is IndexState.REBUILT:
            yield warning(f"differed and was made anew: {about}", "Nothing to do; tell us if it happens again.")
        elif index.state is not IndexState.OK:
            yield failed(
                f"differs from the record: {about}", "Restart query with its snapshots removed: `malla restart query`."
            )
    if all(index.state is IndexState.OK for index in checked):
        chunks = sum(index.chunks for index in checked)
        yield ok(f"{len(checked)} collections of '{patient.tenant}', {chunks} chunks, agree with the record", chunks=chunks)
