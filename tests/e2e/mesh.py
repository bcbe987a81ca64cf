"""Drives `malla` and the edge from outside, as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.settings import DESCRIPTORS, REPOSITORY

MALLA = Path(sys.executable).with_name("malla")
GRPCURL = Path(sys.executable).with_name("grpcurl")
SAMPLES = REPOSITORY / "samples"


@dataclass(frozen=True)
class Mesh:
    """A running mesh."""

    data_dir: Path
    url: str
    mesh_address: str
    token: str

    def http(self, token: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {token or self.token}"}, timeout=30)

    def malla(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return malla(*arguments, "--data-dir", str(self.data_dir), check=check)

    def status(self) -> dict[str, Any]:
        # Not 0 while something is down, which is what some tests look at.
        return json.loads(self.malla("status", "--json", check=False).stdout)

    def process(self, name: str) -> dict[str, Any]:
        return next(p for p in self.status()["processes"] if p["name"] == name)

    def token_for(self, tenant: str) -> str:
        made = self.malla("token", "create", "--tenant", tenant, "--tier", "enterprise", "--json")
        return json.loads(made.stdout)["token"]


def malla(*arguments: str, check: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {**clean_env(), **(env or {})}
    done = subprocess.run([MALLA, *arguments], capture_output=True, text=True, timeout=110, env=env, check=False)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def clean_env() -> dict[str, str]:
    """The environment without what would change where the mesh keeps its data."""
    dropped = ("MALLA_", "MONGODB_", "GROQ_", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


@contextmanager
def started(data_dir: Path, *arguments: str, **env: str) -> Iterator[Mesh]:
    up = malla("up", "--data-dir", str(data_dir), "--port", "0", "--detach", "--json", *arguments, env=env)
    told = json.loads(up.stdout)
    try:
        yield Mesh(data_dir, told["edge_url"], told["mesh_address"], told["token"])
    finally:
        pids = [
            p["pid"]
            for p in json.loads(malla("status", "--data-dir", str(data_dir), "--json", check=False).stdout)["processes"]
        ]
        malla("down", "--data-dir", str(data_dir))
        left = [pid for pid in pids if pid and is_alive(pid)]
        assert not left, f"processes left after malla down: {left}"


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def eventually(condition: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Waits until a condition holds; returns the seconds it took. An error of the condition counts as not yet."""
    began = time.monotonic()
    last: Exception | None = None
    while time.monotonic() - began < within_s:
        try:
            if condition():
                return time.monotonic() - began
        except (httpx.HTTPError, OSError, AssertionError, LookupError, ValueError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {within_s} s; last: {last!r}")


def create_collection(http: httpx.Client, collection_id: str, **fields: str) -> None:
    made = http.post("/api/v1/collections", json={"collection_id": collection_id, **fields})
    assert made.status_code == 200, made.text


def ingest_text(http: httpx.Client, collection_id: str, text: str, **fields: Any) -> dict[str, Any]:
    """Ingests a text and waits until it is searchable; returns its job."""
    accepted = http.post(f"/api/v1/collections/{collection_id}/documents", json={"text": text, **fields})
    assert accepted.status_code == 200, accepted.text
    return finished_job(http, accepted.json()["job_id"])


def finished_job(http: httpx.Client, job_id: str) -> dict[str, Any]:
    with http.stream("GET", f"/api/v1/jobs/{job_id}/watch") as events:
        jobs = [json.loads(line.removeprefix("data: "))["job"] for line in events.iter_lines() if line.startswith("data: ")]
    assert jobs, "the watch ended without an event"
    return jobs[-1]


def sse(http: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    with http.stream("POST", path, json=body, headers=headers) as response:
        assert response.status_code == 200, response.read()
        return [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line.strip()]


def grpcurl(mesh: Mesh, request: str, method: str) -> str:
    """Calls a method through the edge with grpcurl and the compiled contract; returns what it printed."""
    token = ("-H", f"authorization: Bearer {mesh.token}")
    return run_grpcurl("-protoset", str(DESCRIPTORS), *token, "-d", request, mesh.url.removeprefix("http://"), method)


def run_grpcurl(*arguments: str) -> str:
    done = subprocess.run([GRPCURL, "-plaintext", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
