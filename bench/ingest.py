"""Ingesting through the mesh against the engine alone in this process, on the same chunks; and how search fares meanwhile.

The two take turns, so that a busy machine slows both; a ratio is of neighbours in time. The engine's turn is embedding only.
The mesh's turn is everything: Envoy, upload, storing, extraction, chunking, embedding, publishing, the query server following
along. Each document says its own mark in every paragraph and heading, so that no cache of vectors helps.
Asked: at least 0.9 of the engine's rate, and a 99th percentile of searches of at most twice the idle one plus one batch.

A batch is what the embedding server may compute at a time while a question waits: MALLA_EMBEDDING_BULK_MS. A turn of much
text tells the rate while ingestion goes on; one of little tells how it begins and ends. A sample has about ten passages: what a
document takes by itself weighs there, and less in longer ones, made of several samples.

Run: python bench/ingest.py [--rounds 3] [--samples 72] [--parts 1 4]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common.client import MallaClient
from common.models import EmbeddingKind, JobState
from common.settings import REPOSITORY
from services.embedding.adapters.e5 import load_onnx_engine
from services.embedding.ports import Engine
from services.embedding.settings import EmbeddingSettings
from services.ingestion.adapters.chunking import chunk
from services.ingestion.domain.records import Extracted
from services.ingestion.settings import IngestionSettings

MALLA = Path(sys.executable).with_name("malla")
SAMPLES = REPOSITORY / "samples"
COLLECTION = "bench"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LEAST_SHOWN_MS = 0.05


class Mesh(NamedTuple):
    """A running mesh."""

    address: str
    token: str
    processes: dict[str, int]


class Turn(NamedTuple):
    """What one turn took."""

    chunks_per_s: float
    cpu_ms_per_chunk: float
    cpu_ms_of: dict[str, float]


@contextmanager
def running_mesh() -> Iterator[Mesh]:
    """Runs a mesh on free ports until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--data-dir", folder, "--json"]
        up = subprocess.run([MALLA, "up", "--port", "0", "--detach", *where], capture_output=True, text=True, check=True)
        try:
            told = json.loads(up.stdout)
            status = subprocess.run([MALLA, "status", *where], capture_output=True, text=True, check=True)
            processes = {row["name"]: row["pid"] for row in json.loads(status.stdout)["processes"]}
            yield Mesh(told["edge_url"].removeprefix("http://"), told["token"], processes)
        finally:
            subprocess.run([MALLA, "down", "--data-dir", folder], capture_output=True, check=True)


def texts() -> list[str]:
    """Returns the Markdown documents of the Spanish samples."""
    return [path.read_text() for path in sorted((SAMPLES / "nopal-fibra/es").glob("*.md"))]


def questions() -> list[str]:
    """Returns the Spanish questions of the samples."""
    rows = map(json.loads, (SAMPLES / "questions.jsonl").read_text().splitlines())
    return [row["question"] for row in rows if row["language"] == "es"]


def fresh_documents(count: int, parts: int = 1) -> list[str]:
    """Returns documents of so many samples each, whose every paragraph is new."""
    samples = texts()
    made = []
    for i in range(count):
        mark = uuid.uuid4().hex[:6]
        whole = "\n\n".join(samples[(i * parts + j) % len(samples)].strip() for j in range(parts))
        # In headings, too: those stand above what is embedded of tables.
        made.append("\n\n".join(_marked(part, mark) for part in whole.split("\n\n")))
    return made


def _marked(paragraph: str, mark: str) -> str:
    if paragraph.startswith("|"):
        return paragraph
    return re.sub(r"^(#+) ", rf"\1 {mark} ", paragraph) if paragraph.startswith("#") else f"{mark} {paragraph}"


def passages(documents: list[str]) -> list[str]:
    """Returns what the mesh will embed of the documents, title and headings with each passage."""
    settings = IngestionSettings()
    found = []
    for document in documents:
        title = document.partition("\n")[0].lstrip("# ")
        for passage in chunk(Extracted(document, title), settings.chunk_tokens, settings.chunk_overlap_tokens):
            found.append("\n".join(part for part in (title, passage.heading, passage.text) if part))
    return found


def engine_turn(engine: Engine, documents: list[str], batch: int) -> Turn:
    """Embeds the documents' passages in this process, a batch after the other."""
    found = passages(documents)
    began, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(found), batch):
        engine.embed(found[start : start + batch], EmbeddingKind.PASSAGE)
    spent = time.perf_counter() - began
    return Turn(len(found) / spent, 1000 * (time.process_time() - cpu) / len(found), {})


async def mesh_turn(client: MallaClient, mesh: Mesh, documents: list[str]) -> Turn:
    """Ingests the documents, eight side by side, until all are searchable."""
    gate = asyncio.Semaphore(8)

    async def one(text: str) -> int:
        async with gate:
            accepted = await client.upload_file(COLLECTION, text.encode(), filename=f"{uuid.uuid4().hex}.md")
            job = await client.wait_for_job(accepted.job_id)
        if job.state is not JobState.SUCCEEDED:
            raise RuntimeError(f"{job.state}: {job.error}")
        return job.chunks_total

    began, cpu = time.perf_counter(), cpu_s(mesh.processes)
    chunks = sum(await asyncio.gather(*map(one, documents)))
    spent, now = time.perf_counter() - began, cpu_s(mesh.processes)
    of = {name: 1000 * (now[name] - cpu[name]) / chunks for name in now}
    return Turn(chunks / spent, sum(of.values()), of)


async def searches(client: MallaClient, *, count: int = 0, until: asyncio.Event | None = None) -> list[float]:
    """Searches one after the other, with questions never asked before; returns the milliseconds of each."""
    asked, times = questions(), []
    while len(times) < count or (until is not None and not until.is_set()):
        question = f"{asked[len(times) % len(asked)]} {uuid.uuid4().hex[:4]}"
        began = time.perf_counter()
        await client.search(COLLECTION, question, k=5)
        times.append(1000 * (time.perf_counter() - began))
    return times


async def searched_meanwhile(client: MallaClient, mesh: Mesh, documents: list[str]) -> list[float]:
    """Searches while documents are ingested."""
    done = asyncio.Event()
    searching = asyncio.create_task(searches(client, until=done))
    try:
        await mesh_turn(client, mesh, documents)
    finally:
        done.set()
    return await searching


def p99(times: list[float]) -> float:
    """Returns the 99th percentile."""
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def cpu_s(processes: dict[str, int]) -> dict[str, float]:
    """Returns the processor seconds of processes, each with its children, so far."""
    names = {pid: name for name, pid in processes.items()}
    spent = dict.fromkeys(processes, 0.0)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        name = names.get(int(folder.name)) or names.get(int(fields[1]))
        if name is not None:
            spent[name] += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return spent


Pairs = list[tuple[Turn, Turn]]
"""What engine and mesh took, one turn after the other."""


async def measure(mesh: Mesh, engine: Engine, rounds: int, samples: int, lengths: list[int]) -> None:
    """Lets them take turns and prints the tables."""
    batch = IngestionSettings().embed_batch
    pairs: dict[int, Pairs] = {parts: [] for parts in lengths}
    idle: list[float] = []
    busy: list[float] = []
    async with MallaClient(mesh.address, mesh.token) as client:
        await client.create_collection(COLLECTION, language="es")
        await mesh_turn(client, mesh, fresh_documents(4))
        await searches(client, count=20)
        engine_turn(engine, fresh_documents(2), batch)
        for _ in range(rounds):
            for parts in lengths:
                documents = fresh_documents(samples // parts, parts)
                pairs[parts].append((engine_turn(engine, documents, batch), await mesh_turn(client, mesh, documents)))
            idle += await searches(client, count=100)
            busy += await searched_meanwhile(client, mesh, fresh_documents(samples))
    for parts in lengths:
        print_rates(f"ingest, documents of about {10 * parts} passages", pairs[parts])
    batch_ms = EmbeddingSettings().embedding_bulk_ms
    print(f"\n{'search, one at a time':<44}{'searches':>10}{'p50 ms':>10}{'p99 ms':>10}")
    for name, times in (("idle", idle), ("while documents are ingested", busy)):
        print(f"{name:<44}{len(times):>10}{statistics.median(times):>10.1f}{p99(times):>10.1f}")
    print(f"twice the idle p99 plus one batch of {batch_ms} ms: {2 * p99(idle) + batch_ms:.0f} ms")


def print_rates(title: str, pairs: Pairs) -> None:
    """Prints medians over the rounds: rates, their ratio in the same round, and whose CPU it is."""
    print(f"\n{title:<44}{'chunks/s':>10}{'CPU ms/chunk':>14}{'ratio':>8}")
    engine, mesh = zip(*pairs, strict=True)
    ratio = statistics.median(ours.chunks_per_s / alone.chunks_per_s for alone, ours in pairs)
    for name, turns, share in (("engine in this process", engine, 1.0), ("through the mesh", mesh, ratio)):
        rate, cpu = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
        print(f"{name:<44}{rate:>10.1f}{cpu:>14.1f}{share:>8.2f}")
    spent = {name: statistics.median(turn.cpu_ms_of[name] for turn in mesh) for name in mesh[0].cpu_ms_of}
    for name in sorted(spent, key=lambda name: -spent[name]):
        if spent[name] >= LEAST_SHOWN_MS:
            print(f"{'  of it ' + name:<44}{spent[name]:>24.1f}")


def main() -> None:
    """Starts, warms up, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=72, help="of each turn, about ten passages each")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 4], help="samples that a document is made of")
    options = parser.parse_args()
    settings = EmbeddingSettings()
    engine = load_onnx_engine(settings.embedding_cache_dir, settings.embedding_threads)
    with running_mesh() as mesh:
        asyncio.run(measure(mesh, engine, options.rounds, options.samples, options.parts))


if __name__ == "__main__":
    main()
