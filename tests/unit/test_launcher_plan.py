"""Ports, options and the processes of a mesh."""

from __future__ import annotations

import socket

import pytest

from services.cli.launcher.options import LaunchOptions, parse_arguments, parse_replicas
from services.cli.launcher.plan import Plan
from services.cli.launcher.ports import PortTakenError, choose_ports, is_free
from services.cli.launcher.state import MeshState
from services.cli.settings import CliSettings


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def make(tmp_path, previous=None, settings=None, **options):
    return Plan.make(LaunchOptions(tmp_path, **({"port": 0} | options)), settings or CliSettings(mongodb_uri=""), previous)


def test_a_port_with_a_listener_is_not_free(taken):
    assert not is_free(taken)


def test_ports_are_kept_where_they_are_free(taken):
    first = choose_ports({"a": 2, "b": 1}, {})
    assert choose_ports({"a": 2, "b": 1}, first) == first
    moved = choose_ports({"a": 2, "b": 1}, {**first, "b": [taken]})
    assert moved["a"] == first["a"]
    assert moved["b"] != [taken]


def test_no_port_is_given_twice():
    chosen = choose_ports({"a": 20, "b": 20}, {"a": [25_000] * 20}, exclude=25_001)
    flat = [port for ports in chosen.values() for port in ports]
    assert len(set(flat)) == 40
    assert 25_001 not in flat


def test_the_edge_port_asked_for_must_be_free(tmp_path, taken):
    with pytest.raises(PortTakenError, match=f"Port {taken} is taken"):
        make(tmp_path, port=taken)


def test_a_mesh_comes_back_on_its_ports(tmp_path):
    first = make(tmp_path)
    previous = MeshState(data_dir=tmp_path, logs=tmp_path, ports=first.ports)
    assert make(tmp_path, previous, port=None).ports == first.ports


def test_replicas_have_a_port_each_and_are_endpoints_of_the_proxy(tmp_path):
    plan = make(tmp_path, replicas={"embedding": 3})
    names = [spec.name for spec in plan.specs()]
    assert [name for name in names if name.startswith("embedding")] == ["embedding", "embedding-2", "embedding-3"]
    assert [endpoint.port for endpoint in plan.proxy().upstreams["embedding"]] == plan.ports["embedding"]
    proxy = plan.specs()[-1]
    assert {"embedding", "embedding-2", "embedding-3", "query"} == set(proxy.needs)


def test_with_a_database_elsewhere_none_is_started(tmp_path):
    plan = make(tmp_path, settings=CliSettings(mongodb_uri="mongodb://ana:hunter2@db.example:27017/?replicaSet=rs0"))
    specs = {spec.name: spec for spec in plan.specs()}
    assert "database" not in specs
    assert specs["query"].needs == ()
    assert specs["query"].env["MONGODB_URI"] == "mongodb://ana:hunter2@db.example:27017/?replicaSet=rs0"
    assert plan.shown_mongodb_uri == "mongodb://db.example:27017/?replicaSet=rs0"


def test_the_embedded_database_is_needed_by_those_that_keep_things(tmp_path):
    specs = {spec.name: spec for spec in make(tmp_path).specs()}
    assert specs["ingestion"].needs == specs["query"].needs == ("database",)
    assert specs["embedding"].needs == ()


def test_servers_hold_little_memory_that_they_do_not_use_unless_they_are_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert {spec.name: spec for spec in make(tmp_path).specs()}["query"].env["MALLOC_ARENA_MAX"] == "2"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    assert {spec.name: spec for spec in make(tmp_path).specs()}["query"].env["MALLOC_ARENA_MAX"] == "8"


def test_no_secret_is_on_a_command_line(tmp_path):
    plan = make(tmp_path, settings=CliSettings(mongodb_uri="mongodb://ana:hunter2@db.example:27017"))
    assert not [spec.name for spec in plan.specs() if "hunter2" in " ".join(spec.command)]


def test_options_survive_the_command_line(tmp_path):
    options = LaunchOptions(tmp_path, port=0, replicas={"query": 2}, guarded=False, embedded=True)
    given = parse_arguments([*options.to_arguments(), "--ready-fd", "7"])
    assert (given.options, given.ready_fd, given.guardian_pid) == (options, 7, None)


def test_replicas_are_a_name_and_a_number():
    assert parse_replicas(["query=2", "embedding=1"]) == {"query": 2, "embedding": 1}
    with pytest.raises(ValueError, match="invalid literal"):
        parse_replicas(["query"])
