"""What streaming an answer costs: CPU per 1,000 tokens and the delay of the first token, Malla against a FastAPI relay.

Both relay 200-token answers of one upstream to concurrent clients that read server-sent events, and take turns, so that a busy
machine slows both; figures are medians over the rounds, and a ratio is of neighbours in time. Malla's figure is summed over
Envoy and every process of the mesh, and includes conversation history, storing turns and numbering events; the FastAPI relay
does none of that. `own code` leaves out what the kernel spends for the processes: more of them, more of it, the most on nested
virtual machines.

Run: python bench/relay.py [--seconds 8] [--rounds 3] [--litellm PYTHON]    PYTHON: of an environment that has litellm[proxy]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
from peers.machine import cpu, free_port

HERE = Path(__file__).parent
MALLA = Path(sys.executable).with_name("malla")
TOKENS = 200


@dataclass(frozen=True)
class Relay:
    """Something that relays: where, how it is asked, and the processes it costs."""

    name: str
    url: str
    headers: dict[str, str]
    pids: list[int]
    openai: bool = False
    """Whether it speaks OpenAI's chat completions instead of the call centre's API."""

    def body(self) -> dict[str, object]:
        """A message in a conversation of its own."""
        if self.openai:
            return {"model": "m", "messages": [{"role": "user", "content": "hola"}], "stream": True}
        return {"id_agente": 1, "mensaje": "hola", "session_id": uuid.uuid4().hex}

    def text(self, line: str) -> str:
        """The piece of the answer in a line of a stream; empty where it has none."""
        if '"delta"' not in line:
            return ""
        event = json.loads(line.removeprefix("data: "))
        if not self.openai:
            return str(event["delta"]["text"])
        return str((event["choices"][0]["delta"].get("content") if event["choices"] else "") or "")


@contextmanager
def process(*command: str, port: int, python: str = sys.executable) -> Iterator[int]:
    """Runs a server until the block ends. Yields its pid."""
    quiet = None if python == sys.executable else subprocess.DEVNULL
    with subprocess.Popen([python, *command], stdout=quiet, stderr=quiet) as running:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    if running.poll() is not None:
                        raise RuntimeError(f"{command[0]} did not start") from None
                    time.sleep(0.05)
            yield running.pid
        finally:
            running.terminate()


@contextmanager
def litellm(python: str, upstream: str) -> Iterator[Relay]:
    """A LiteLLM proxy in front of the upstream, from an environment that has `litellm[proxy]`."""
    port = free_port()
    params = {"model": "openai/m", "api_base": upstream, "api_key": "none"}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"  # JSON is YAML
        open_to_all = {"dangerously_permit_weak_or_unset_master_key": True}
        models = [{"model_name": "m", "litellm_params": params}]
        config.write_text(json.dumps({"model_list": models, "general_settings": open_to_all}))
        program = str(Path(python).with_name("litellm"))
        with process(
            program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), port=port, python=python
        ) as pid:
            yield Relay("LiteLLM proxy", f"http://127.0.0.1:{port}/v1/chat/completions", {}, [pid], openai=True)


@contextmanager
def mesh(upstream: str) -> Iterator[Relay]:
    """A mesh whose model is the upstream, with one agent."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "GROQ_API_KEY": uuid.uuid4().hex, "GROQ_BASE_URL": upstream}
        up = subprocess.run(
            [MALLA, "up", "--data-dir", folder, "--port", "0", "--detach", "--json"], env=env, capture_output=True, check=True
        )
        told = json.loads(up.stdout)
        try:
            status = json.loads(
                subprocess.run([MALLA, "status", "--data-dir", folder, "--json"], capture_output=True, check=False).stdout
            )
            headers = {"authorization": f"Bearer {told['token']}"}
            httpx.post(f"{told['edge_url']}/api/v1/agents", json={"name": "bench"}, headers=headers).raise_for_status()
            pids = [row["pid"] for row in status["processes"]]
            yield Relay("Malla (Envoy + all processes)", f"{told['edge_url']}/api/v1/groq/chat/stream", headers, pids)
        finally:
            subprocess.run([MALLA, "down", "--data-dir", folder], capture_output=True, check=True)


async def read_answer(client: httpx.AsyncClient, relay: Relay) -> tuple[float, int]:
    """Returns the first token's delay in ms, and how many events the answer took."""
    delay_ms, events = 0.0, 0
    async with client.stream("POST", relay.url, json=relay.body(), headers=relay.headers) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            text = relay.text(line)
            if text:
                events += 1
                if events == 1:
                    delay_ms = (time.time() - float(text.split()[0][1:])) * 1000
            elif '"error"' in line:
                raise RuntimeError(line)
    return delay_ms, events


async def load(relay: Relay, clients: int, seconds: float) -> tuple[list[float], int, int]:
    """Keeps `clients` reading for some seconds. Returns first-token delays, answers and events."""
    delays: list[float] = []
    events = 0
    end = time.monotonic() + seconds

    async def one() -> None:
        nonlocal events
        async with httpx.AsyncClient(timeout=60) as client:
            while time.monotonic() < end:
                delay_ms, count = await read_answer(client, relay)
                delays.append(delay_ms)
                events += count

    await asyncio.gather(*(one() for _ in range(clients)))
    return delays, len(delays), events


class Cost(NamedTuple):
    """What a relay took in one round.

    Attributes:
        cpu_ms: CPU per 1,000 tokens.
        own_ms: Of it, in the processes' own code; the rest is the kernel's.
        rate: Tokens a second.
        first_ms: The first token's delay.
        events: Of one answer.
    """

    cpu_ms: float
    own_ms: float
    rate: float
    first_ms: float
    events: float


def read(relay: Relay, clients: int, seconds: float) -> tuple[list[float], int, int]:
    """What `load` returns, for a process to run."""
    return asyncio.run(load(relay, clients, seconds))


def measured(relay: Relay, clients: int, seconds: float, crowd: Executor) -> Cost:
    """Returns what one round took. One client reads here and tells the delay, the others in a process of their own.

    Whoever reads for sixteen finds most tokens waiting, and would measure itself.
    """
    before = cpu(relay.pids)
    others = crowd.submit(read, relay, clients - 1, seconds)
    delays, answers, events = read(relay, 1, seconds)
    answers, events = answers + others.result()[1], events + others.result()[2]
    after, tokens = cpu(relay.pids), answers * TOKENS
    all_ms, own_ms = ((a - b) * 1_000_000 / tokens for a, b in zip(after, before, strict=True))
    return Cost(all_ms, own_ms, tokens / seconds, median(delays), events / answers)


def compare(relays: list[Relay], clients: int, seconds: float, rounds: int, crowd: Executor) -> None:
    """Prints a row a relay: medians over the rounds, each CPU beside its share of the first one's in the same round."""
    for relay in relays:
        crowd.submit(read, relay, clients, 2).result()
    costs = [[measured(relay, clients, seconds, crowd) for relay in relays] for _ in range(rounds)]
    heads = f"{'ms CPU/1k':>9} {'ratio':>6} {'own code':>9} {'ratio':>6} {'tokens/s':>9} {'first tok ms':>12} {'events':>7}"
    print(f"  {'relay':32} {heads}")
    for i, relay in enumerate(relays):
        cost = Cost(*(median(column) for column in zip(*(row[i] for row in costs), strict=True)))
        ratio = median(row[i].cpu_ms / row[0].cpu_ms for row in costs)
        own_ratio = median(row[i].own_ms / row[0].own_ms for row in costs)
        print(
            f"  {relay.name:32} {cost.cpu_ms:9.0f} {ratio:6.2f} {cost.own_ms:9.0f} {own_ratio:6.2f}"
            f" {cost.rate:9.0f} {cost.first_ms:12.1f} {cost.events:7.0f}"
        )


@contextmanager
def relays_of(upstream: str, litellm_python: str | None) -> Iterator[list[Relay]]:
    """Runs every relay in front of an upstream."""
    port = free_port()
    with ExitStack() as stack:
        pid = stack.enter_context(process(str(HERE / "peers" / "fastapi_relay.py"), str(port), upstream, port=port))
        relays = [Relay("FastAPI + groq SDK", f"http://127.0.0.1:{port}/chat", {}, [pid])]
        if litellm_python:
            relays.append(stack.enter_context(litellm(litellm_python, upstream)))
        yield [*relays, stack.enter_context(mesh(upstream))]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--litellm", metavar="PYTHON", help="a Python whose environment has litellm[proxy]: one more peer")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for title, pause_ms, clients in (("a fast upstream, 16 clients", 0, 16), ("5 ms between tokens, 8 clients", 5, 8)):
        port = free_port()
        print(f"\n{title}")
        with (
            process(str(HERE / "peers" / "upstream.py"), str(port), str(pause_ms), port=port),
            relays_of(f"http://127.0.0.1:{port}", given.litellm) as relays,
            ProcessPoolExecutor(1, get_context("spawn")) as crowd,
        ):
            compare(relays, clients, given.seconds, given.rounds, crowd)


if __name__ == "__main__":
    main()
