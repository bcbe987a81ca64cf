"""What the doctor says of a mesh that is ill, and while none runs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import NotFoundError, UnavailableError
from common.models import (
    Agent,
    ChatEvent,
    Collection,
    Conversation,
    Delta,
    Done,
    TestConnectionResponse,
    Turn,
    VerifyApiKeyResponse,
)
from services.cli.doctor import Check, Outcome, Patient, examine, machine, model, parts, run
from services.cli.settings import CliSettings


def patient(tmp_path, client=None, **settings):
    return Patient(CliSettings(_env_file=None, data_dir=tmp_path, **settings), None, client, "default")


async def found(look, someone):
    return [(finding.outcome, f"{finding.said} {finding.advice}") async for finding in look(someone)]


class Client:
    """A mesh whose model behaves as told."""

    def __init__(self, *, valid=True, message="ok", events=(), stored=()):
        self.key = VerifyApiKeyResponse(success=True, message=message, valid=valid)
        self.events, self.stored, self.deleted = events, stored, []

    async def verify_api_key(self):
        return self.key

    async def test_connection(self, *, timeout_s):
        return TestConnectionResponse(success=True, message="", provider="groq", model="m", latency_ms=12.0)

    async def create_agent(self, name, **_options):
        return Agent(id_agente=7, name=name)

    async def delete_agent(self, id_agente):
        self.deleted.append(id_agente)

    async def delete_conversation(self, session_id):
        self.deleted.append(session_id)

    async def get_conversation(self, session_id):
        return Conversation(session_id=session_id, turns=[Turn(text=text) for text in self.stored])

    async def stream_chat(self, _id_agente, _session_id, _mensaje, **_options):
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event


def answer(*texts):
    deltas = [ChatEvent(sequence=number, delta=Delta(text=text)) for number, text in enumerate(texts, 1)]
    return (*deltas, ChatEvent(sequence=len(texts) + 1, done=Done(answer="".join(texts))))


async def test_a_key_that_is_refused_says_where_to_correct_it(tmp_path):
    [(outcome, said)] = await found(model.key, patient(tmp_path, Client(valid=False, message="Groq does not accept the key.")))
    assert outcome is Outcome.FAILED
    assert "does not accept" in said
    assert ".env" in said


async def test_no_key_is_a_warning_with_what_still_works(tmp_path):
    [(outcome, said)] = await found(model.key, patient(tmp_path, Client(valid=False, message="No key is set.")))
    assert outcome is Outcome.WARNING
    assert "quotes" in said


async def test_a_conversation_that_is_stored_is_well_and_removed(tmp_path):
    client = Client(events=answer("Ho", "la"), stored=["Di hola.", "Hola"])
    outcomes = [outcome for outcome, _said in await found(model.conversation, patient(tmp_path, client))]
    assert outcomes == [Outcome.OK, Outcome.OK]
    assert len(client.deleted) == 2


async def test_an_answer_that_is_not_stored_is_a_failure(tmp_path):
    client = Client(events=answer("Hola"), stored=["Di hola."])
    _stream, (outcome, said) = await found(model.conversation, patient(tmp_path, client))
    assert outcome is Outcome.FAILED
    assert "not in the conversation" in said


async def test_a_slow_stream_is_told_with_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "_SLOW_FIRST_MS", 0.0)
    client = Client(events=answer("Hola"), stored=["Hola"])
    (outcome, said), _stored = await found(model.conversation, patient(tmp_path, client))
    assert outcome is Outcome.WARNING
    assert "slow: first words after" in said
    assert "GROQ_MODEL" in said


async def test_what_the_check_made_is_removed_also_where_the_stream_breaks(tmp_path):
    client = Client(events=[UnavailableError("query server")])
    with pytest.raises(UnavailableError):
        await found(model.conversation, patient(tmp_path, client))
    assert client.deleted == [7]


async def test_without_a_mesh_it_says_so_and_checks_what_can_be(tmp_path):
    said = [(name, finding.outcome) async for name, finding in examine(patient(tmp_path, edge_port=0))]
    assert said[0] == ("mesh", Outcome.FAILED)
    assert {"disk", "ports", "token", "outbox"} <= {name for name, _outcome in said}
    assert [outcome for _name, outcome in said].count(Outcome.FAILED) == 1


async def test_a_check_that_breaks_stops_no_other_and_tells_no_secret(tmp_path, monkeypatch):
    async def broken(_patient):
        raise RuntimeError("mongodb://ana:hunter2@db")
        yield

    looks = {"broken": broken, "disk": machine.disk}
    monkeypatch.setattr(run, "CHECKS", [Check(name, look, needs_mesh=False) for name, look in looks.items()])
    said = [(name, finding.said) async for name, finding in examine(patient(tmp_path))]
    assert said[1] == ("broken", "cannot be checked: RuntimeError")
    assert said[2][0] == "disk"


async def test_a_wrong_setting_is_named_with_where_to_correct_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLA_TLS_CERT", "tls.crt")
    found = {name: finding async for name, finding in examine(patient(tmp_path))}
    assert "set all three, or none" in found["certificates"].said
    assert ".env" in found["certificates"].advice


async def test_a_name_that_nothing_reads_is_told_with_the_one_that_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("GROQ_API_KEI=x\nMALLA_BANANA=1\nMALLA_LOG_LEVEL=INFO\n")
    said = dict(text.split(" is no setting", 1) for _outcome, text in await found(machine.settings, patient(tmp_path)))
    assert "Did you mean GROQ_API_KEY?" in said["GROQ_API_KEI"]
    assert ".env.example" in said["MALLA_BANANA"]
    assert "MALLA_LOG_LEVEL" not in said


async def test_a_full_disk_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_TOO_LITTLE_BYTES", 2**60)
    [(outcome, _said)] = await found(machine.disk, patient(tmp_path))
    assert outcome is Outcome.FAILED


async def test_usage_that_waits_for_long_is_stuck(tmp_path, monkeypatch):
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "query-1-a.outbox").write_text(json.dumps({"_id": 1}))
    assert (await found(machine.outbox, patient(tmp_path)))[0][0] is Outcome.OK
    monkeypatch.setattr(machine, "_STUCK_S", -1.0)
    assert (await found(machine.outbox, patient(tmp_path)))[0][0] is Outcome.FAILED


@pytest.mark.parametrize(("ahead_s", "outcome"), [(0, Outcome.OK), (-60, Outcome.FAILED), (60, Outcome.FAILED)])
def test_another_clock_may_differ_by_seconds_only(ahead_s, outcome):
    now = time.time()
    there = datetime.now(UTC) + timedelta(seconds=ahead_s)
    assert machine.skew("database", there, (now, time.time())).outcome is outcome


class Collections:
    """A mesh with these collections, by name and model, that serves these models."""

    def __init__(self, models, served):
        self.models, self.served = models, served

    async def list_collections(self):
        for name, of in self.models.items():
            yield Collection(collection_id=name, model=of)

    async def embed(self, _texts, *, kind, model):
        if model == "slow":
            raise UnavailableError("embedding")
        if model not in self.served:
            raise NotFoundError("model", model, "It serves others.")


async def test_collections_whose_model_is_served_no_more_are_named_with_both_ways_out(tmp_path):
    models = {"a": "old", "b": "new", "c": "old", "empty": "", **{f"d{number}": "older" for number in range(7)}}
    one, other = await found(parts.models, patient(tmp_path, Collections(models, {"new"})))
    assert one[0] is other[0] is Outcome.WARNING
    assert "'old': 'a', 'c' can be searched by words only" in one[1]
    assert "malla reindex --collection a" in one[1]
    assert "MALLA_EMBEDDING_MODEL" in one[1]
    assert "'d4' and 2 more" in other[1]


@pytest.mark.parametrize("models", [{}, {"empty": ""}, {"a": "new", "b": "new"}])
async def test_models_that_are_served_are_well(tmp_path, models):
    [(outcome, _said)] = await found(parts.models, patient(tmp_path, Collections(models, {"new"})))
    assert outcome is Outcome.OK


async def test_a_server_that_is_away_is_no_model_that_is_not_served(tmp_path):
    with pytest.raises(UnavailableError):
        await found(parts.models, patient(tmp_path, Collections({"a": "slow"}, set())))
