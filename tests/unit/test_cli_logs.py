"""One log of all processes: order, filters, lines of others, following over a rotation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from services.cli.logs import Follower, Selection, read_logs
from services.cli.logs.lines import parse

CALL = {
    "time": "2026-11-22T05:00:05.000Z",
    "method": "POST",
    "path": "/a",
    "status": 503,
    "request_id": "r1",
    "duration_ms": 7,
}
NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)


def row(second, message, level="INFO", **fields):
    time = (NOW + timedelta(seconds=second)).isoformat(timespec="milliseconds")
    return json.dumps({"time": time, "level": level, "logger": "malla.x", "message": message, **fields})


@pytest.fixture
def folder(tmp_path):
    files = {
        "query.log.1": [row(0, "oldest", request_id="r1")],
        "query.log": [row(2, "asked", request_id="r1"), row(6, "failed", "ERROR", request_id="r2"), "Traceback"],
        "embedding.log": [row(3, "embedded", request_id="r1-7"), row(4, "other", "WARNING", request_id="r1x")],
        "access.log": [json.dumps(CALL)],
        "proxy.log": ["[2026-11-22 05:00:01.000][13318][warning][main] [source/server/server.cc:1028] caught SIGTERM"],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


NAMES = ["access", "embedding", "proxy", "query"]


def said(folder, most=100, **selection):
    return [line.message.split("] ")[-1] for line in read_logs(folder, NAMES, Selection(**selection), most)]


def test_all_processes_in_the_order_of_time(folder):
    assert said(folder) == ["caught SIGTERM", "asked", "embedded", "other", "POST /a 503 7 ms", "failed", "Traceback"]
    assert said(folder, most=2) == ["failed", "Traceback"]


def test_one_request_in_every_process_and_in_logs_put_aside(folder):
    assert said(folder, request_id="r1") == ["oldest", "asked", "embedded", "POST /a 503 7 ms"]


def test_by_level_and_by_age(folder):
    assert said(folder, level="ERROR") == ["POST /a 503 7 ms", "failed", "Traceback"]
    since = NOW + timedelta(seconds=4)
    assert said(folder, level="WARNING", since=since) == [
        "other",
        "POST /a 503 7 ms",
        "failed",
        "Traceback",
    ]


def test_what_no_one_of_ours_wrote():
    proxy = parse("proxy", "[2026-11-22 05:00:01.250][1][critical][main] out of memory")
    assert (proxy.time, proxy.level) == (NOW + timedelta(seconds=1.25), "CRITICAL")
    database = parse("database", "2026-11-22 05:00:08,208 - nx_27017 - ERROR - [13227] - no")
    assert database.time == datetime(2026, 11, 22, 5, 0, 8, 208000).astimezone(UTC)
    assert database.level == "ERROR"
    assert parse("query", '{"time": "2026', proxy).time == proxy.time
    quiet = parse("query", row(0, "calm"))
    assert parse("query", "Traceback (most recent call last):", quiet).level == "ERROR"


def test_a_line_for_people_has_its_fields_and_its_exception():
    line = parse("query", row(1, "failed", "ERROR", request_id="r1", empty="", exception="Traceback\n  at x"))
    assert str(line) == "05:00:01.000 query       ERROR    failed request_id=r1\nTraceback\n  at x"


def test_following_goes_on_over_both_kinds_of_rotation(folder):
    follower = Follower(folder)
    assert follower.news() == []

    def heard():
        return [line.message for line in follower.news()]

    query = folder / "query.log"
    with query.open("a") as file:
        file.write(row(7, "one") + "\n" + row(8, "half")[:20])
        file.flush()
        assert heard() == ["one"]
        file.write(row(8, "half")[20:] + "\n")
    assert heard() == ["half"]
    query.write_text(row(9, "emptied") + "\n")
    assert heard() == ["emptied"]
    query.rename(folder / "query.log.2")
    query.write_text(row(10, "renamed") + "\n")
    (folder / "late.log").write_text(row(11, "begun later") + "\n")
    assert heard() == ["renamed", "begun later"]
