"""The gateway's routes, and the process as the launcher starts and stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from common.settings import REPOSITORY
from services.gateway.app import create_app
from services.gateway.assets import STATIC, SWAGGER_UI
from services.gateway.bootstrap import build_app

ASSETS = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


def assert_error(response: httpx.Response, status: int, kind: str, code: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"success", "message", "error", "metadata"}
    assert body["success"] is False
    assert body["message"]
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert isinstance(body["error"]["details"], dict)
    assert body["metadata"]["request_id"]


async def test_healthz(client):
    response = await client.get("/healthz")
    assert (response.status_code, response.json()["success"]) == (200, True)


async def test_openapi_is_served(client):
    response = await client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_forbid_foreign_and_inline_code(client, path):
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", response.text)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_everything_a_page_names_is_served_here(client, path):
    names = re.findall(r'(?:src|href)="([^"#]+)"', (await client.get(path)).text)
    assert len(names) > 3
    for name in names:
        assert name.startswith("/")
        assert (await client.get(name)).status_code == 200, name


@pytest.mark.parametrize("name", ASSETS)
async def test_assets_are_served_and_name_no_other_host(client, name):
    response = await client.get(f"/static/{name}")
    assert response.status_code == 200
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|[\"'(]//", response.text)


async def test_scripts_import_what_is_there():
    for script in STATIC.rglob("*.js"):
        for name in re.findall(r'from "(\.[^"]+)"', script.read_text()):
            assert (script.parent / name).is_file(), f"{script.name} imports {name}"


def test_scripts_never_read_text_as_html():
    for script in STATIC.rglob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script.read_text()), script


def test_both_languages_say_the_same():
    source = (STATIC / "console" / "texts.js").read_text()
    english, spanish = (dict(re.findall(r'^    (\w+): "(.*)",$', part, re.M)) for part in source.split("  es: {"))
    assert english.keys() == spanish.keys()
    for key in english:
        assert sorted(re.findall(r"\{\w+\}", english[key])) == sorted(re.findall(r"\{\w+\}", spanish[key])), key
    used = set(re.findall(r'data-i18n="(\w+)"', (STATIC / "console.html").read_text()))
    assert used <= english.keys()


def test_every_label_names_a_control():
    page = (STATIC / "console.html").read_text()
    controls = set(re.findall(r'<(?:input|select|textarea) id="([^"]+)"', page))
    assert controls == set(re.findall(r'<label for="([^"]+)"', page))
    assert 'aria-live="polite"' in page


def test_the_bundled_swagger_ui_reads_openapi_3_1():
    version = re.search(r"(\d+)\.\d+\.\d+$", SWAGGER_UI.name)
    assert version
    assert int(version[1]) >= 5


@pytest.mark.parametrize("name", ["swagger-ui.css", "swagger-ui-bundle.js"])
async def test_swagger_ui_is_served_from_its_package(client, name):
    assert (await client.get(f"/static/swagger/{name}")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v1/collections", "/static/nope.js", "/static/swagger/index.html", "/static/%2e%2e/app.py"]
)
async def test_an_unknown_path_is_the_one_error(client, path):
    response = await client.get(path, headers={"x-request-id": "request-7"})
    assert_error(response, 404, "ROUTE_NOT_FOUND", "NOT_FOUND")
    assert response.json()["metadata"]["request_id"] == "request-7"


async def test_a_wrong_method_is_the_one_error(client):
    response = await client.post("/docs")
    assert_error(response, 405, "METHOD_NOT_ALLOWED", "UNIMPLEMENTED")
    assert "GET" in response.headers["allow"]


async def test_a_bug_is_the_one_error_and_says_nothing_of_its_cause(monkeypatch):
    async def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("starlette.responses.FileResponse.__call__", fail)
    transport = httpx.ASGITransport(create_app({}), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        response = await client.get("/")
    assert_error(response, 500, "INTERNAL", "INTERNAL")
    assert "secret" not in response.text


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"MALLA_PORT": "0", "MALLA_HOST": "127.0.0.1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "services.gateway"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True) as running:
        yield running
        if running.poll() is None:
            running.kill()


def test_the_process_logs_its_port_serves_and_ends_cleanly(process):
    assert process.stderr
    row = json.loads(process.stderr.readline())
    assert row["message"] == "gateway listens"
    with httpx.Client(base_url=f"http://127.0.0.1:{row['port']}") as client:
        response = client.get("/healthz")
        assert response.status_code == 200
        assert "server" not in response.headers
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert all(json.loads(line) for line in err.splitlines())
