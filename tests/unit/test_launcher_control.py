"""What a supervisor is asked for: the socket, the order of a rolling restart; and keeping logs within bounds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from services.cli.launcher.command_socket import answering, ask
from services.cli.launcher.managed import RestartError
from services.cli.launcher.rolling import chosen
from services.cli.launcher.rotate import LogBounds, LogRotation
from tests.fakes.waiting import until

ALL = ["database", "embedding", "ingestion", "query", "query-2", "gateway", "proxy"]


async def test_the_socket_works_in_a_folder_whose_path_is_long(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()

    async def answer(asked):
        for name in asked["restart"]:
            yield {"process": name}
        yield {"done": True}

    async with answering(deep, answer):
        told = await asyncio.to_thread(lambda: list(ask(deep, {"restart": ["query"]})))
    assert told == [{"process": "query"}, {"done": True}]
    with pytest.raises(OSError, match="No such file"):
        list(ask(deep, {"restart": []}))


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([], ["database", "embedding", "ingestion", "query", "query-2", "proxy", "gateway"]),
        (["query"], ["query", "query-2"]),
        (["query-2"], ["query-2"]),
        (["gateway", "proxy"], ["proxy", "gateway"]),
        (["proxy"], ["proxy", "gateway"]),
    ],
)
def test_a_server_is_all_its_replicas_and_the_gateway_comes_after_the_proxy(names, order):
    assert chosen(names, ALL) == order


def test_an_unknown_process_is_told_with_those_there_are():
    with pytest.raises(RestartError, match=r"no process 'banana'.*database, embedding"):
        chosen(["query", "banana"], ALL)


@pytest.fixture
def admin():
    """An admin port that notes what it is asked."""
    asked = []

    class Admin(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        Thread(target=server.serve_forever).start()
        server.asked = asked
        yield server
        server.shutdown()


def rotation(tmp_path, admin=None, most_files=2):
    ports = [admin.server_port] if admin else []
    of_proxy = [tmp_path / "access.log"]
    return LogRotation(tmp_path, of_proxy, LogBounds(100, most_files), lambda: [f"127.0.0.1:{port}" for port in ports])


async def test_the_proxys_log_is_renamed_and_the_proxy_told(tmp_path, admin):
    access = tmp_path / "access.log"
    for number in range(4):
        access.write_text(str(number) * 100)
        await rotation(tmp_path, admin).look()
    assert admin.asked == ["/reopen_logs"] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log.1", "access.log.2"]
    assert (tmp_path / "access.log.1").read_text() == "3" * 100


async def test_a_small_log_stays(tmp_path, admin):
    (tmp_path / "access.log").write_text("x" * 99)
    (tmp_path / "query.log").write_text("x" * 99)
    await rotation(tmp_path, admin).look()
    assert admin.asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "query.log"]


async def test_a_process_goes_on_writing_while_its_log_is_put_aside(tmp_path):
    log = tmp_path / "query.log"
    write = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    with (
        log.open("ab") as output,
        subprocess.Popen(  # noqa: ASYNC220  # starting it takes no time
            [sys.executable, "-S", "-c", write], stdin=subprocess.PIPE, stdout=output, text=True
        ) as process,
    ):
        rounds = rotation(tmp_path, most_files=3)
        for number in range(3):
            process.stdin.write(str(number) * 100 + "\n")
            process.stdin.flush()
            await until(lambda: log.stat().st_size == 101)
            await rounds.look()
            assert log.stat().st_size == 0
        process.stdin.close()
    kept = [(tmp_path / f"query.log.{number}").read_text() for number in (1, 2, 3)]
    assert kept == ["2" * 100 + "\n", "1" * 100 + "\n", "0" * 100 + "\n"]
