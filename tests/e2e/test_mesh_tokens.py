"""Tokens of a mesh that runs, as its operator handles them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx

from tests.e2e.mesh import GRPCURL, Mesh, eventually, run_grpcurl


def made(mesh: Mesh, *arguments: str) -> str:
    told = mesh.malla("token", "create", "--tenant", "tokens", "--tier", "pro", *arguments, "--json")
    token: str = json.loads(told.stdout)["token"]
    return token


def status_of(mesh: Mesh, token: str, path: str = "/api/v1/collections", **body: str) -> int:
    with mesh.http(token) as http:
        return (http.post(path, json=body) if body else http.get(path)).status_code


def test_a_token_opens_what_its_scopes_say(mesh: Mesh) -> None:
    reader = made(mesh, "--scope", "read")
    assert status_of(mesh, reader) == 200
    asked = {"collection_id": "none", "query": "¿?"}
    assert status_of(mesh, reader, "/api/v1/search", **asked) == 404
    with mesh.http(reader) as http:
        for path, body, scope in [
            ("/api/v1/query", asked, "chat"),
            ("/api/v1/collections", {"collection_id": "mine"}, "write"),
            ("/api/v1/groq/verify-api-key", {}, "admin"),
        ]:
            refused = http.post(path, json=body)
            assert refused.status_code == 403
            assert refused.json()["error"]["type"] == "MISSING_SCOPE"
            assert f"--scope {scope}" in refused.json()["message"]


def test_a_token_is_revoked_while_the_mesh_runs(mesh: Mesh) -> None:
    token, other = made(mesh), made(mesh)
    assert status_of(mesh, token) == 200
    mesh.malla("token", "revoke", token)
    eventually(lambda: status_of(mesh, token) == 401, within_s=20, what="the token is refused")
    with mesh.http(token) as http:
        assert http.get("/api/v1/collections").json()["error"]["type"] == "TOKEN_REVOKED"
    assert status_of(mesh, other) == 200


def test_a_new_key_signs_at_once_and_the_old_one_lives_on(mesh: Mesh) -> None:
    old = made(mesh)
    mesh.malla("token", "rotate")
    assert status_of(mesh, made(mesh)) == 200  # the command returns when the proxy knows the key
    assert status_of(mesh, old) == 200


def test_a_server_takes_calls_from_the_mesh_only(mesh: Mesh) -> None:
    address = f"127.0.0.1:{mesh.process('query')['port']}"
    assert "malla.query.v1.QueryService" in run_grpcurl(address, "list")
    assert "SERVING" in run_grpcurl(address, "grpc.health.v1.Health/Check")
    call = ("-H", "x-tenant-id: default", "-d", '{"collection_id": "c", "query": "q"}')
    past = subprocess.run(
        [GRPCURL, "-plaintext", *call, address, "malla.query.v1.QueryService/Search"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert past.returncode != 0
    assert "takes calls from the mesh only" in past.stderr
    gateway = mesh.process("gateway")["port"]
    pages = httpx.get(f"http://127.0.0.1:{gateway}/healthz")
    assert pages.status_code == 200


def test_the_mesh_key_is_in_one_file_of_its_owner(mesh: Mesh) -> None:
    path = mesh.data_dir / "keys" / "mesh.key"
    key = path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    told = json.dumps(mesh.status()) + mesh.malla("status").stdout
    running = [Path(f"/proc/{one['pid']}") for one in mesh.status()["processes"]]
    texts = [told, *((one / "cmdline").read_text() for one in running), *((one / "environ").read_text() for one in running)]
    texts += [one.read_text(errors="replace") for one in (mesh.data_dir / "logs").rglob("*") if one.is_file()]
    texts += [(mesh.data_dir / name).read_text() for name in ("envoy.yaml", "mesh.json")]
    assert not [text[:100] for text in texts if key in text]
