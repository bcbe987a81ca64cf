"""The terminal conversation: what is typed, what is shown, and the agents behind it."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys

import pytest

from common.errors import NotFoundError, UnavailableError
from common.models import (
    Agent,
    ChatEvent,
    Citation,
    Conversation,
    DeleteAgentResponse,
    Delta,
    Done,
    Handoff,
    HandoffRule,
    StreamError,
    Turn,
    TurnRole,
    TurnState,
)

CITATION = Citation(index=1, document_id="a.md", title="Planes", text="$499 al mes", page=2)
ANSWER = [
    ChatEvent(sequence=1, delta=Delta(text="Cuesta ")),
    ChatEvent(sequence=2, delta=Delta(text="$499 [1].")),
    ChatEvent(sequence=3, done=Done(answer="Cuesta $499 [1].", citations=[CITATION])),
]
DELTA = ChatEvent(sequence=1, delta=Delta(text="Cuesta "))


class FakeMalla:
    """Answers what a test lays down, and keeps what it was asked."""

    def __init__(self):
        self.agents = {1: Agent(id_agente=1, name="Ana", handoff=HandoffRule(on_request=True, min_score=0.5))}
        self.conversations = {}
        self.asked = []
        self.changes = {}
        self.closed = []

    def __call__(self, address, token):
        assert (address, token) == ("mesh.example:443", "given")
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        self.closed.append("client")

    async def stream_chat(self, id_agente, session_id, mensaje, *, origin):
        self.asked.append((id_agente, session_id, mensaje))
        try:
            for event in self.events(mensaje):
                yield event
            if mensaje == "interrupted":
                signal.raise_signal(signal.SIGINT)
                await asyncio.sleep(60)
            if mensaje == "lost":
                raise UnavailableError("mesh")
        finally:
            self.closed.append(mensaje)

    def events(self, mensaje):
        if mensaje == "refused":
            raise NotFoundError("agent", "1", "List them.")
        failed = ChatEvent(sequence=2, error=StreamError(type="MODEL_FAILED", message="The model\nfailed."))
        handed = [ChatEvent(sequence=1, handoff=Handoff(reason="requested")), ChatEvent(sequence=2, done=Done())]
        known = {"fails": [DELTA, failed], "person": handed, "interrupted": [DELTA], "lost": [DELTA], "unended": [DELTA]}
        return known.get(mensaje, ANSWER)

    async def list_agents(self, *, page_size=0):
        for agent in self.agents.values():
            yield agent

    async def get_agent(self, id_agente):
        if id_agente not in self.agents:
            raise NotFoundError("agent", str(id_agente), "List them.")
        return self.agents[id_agente]

    async def create_agent(self, name, **fields):
        self.changes = fields
        return Agent(id_agente=2, name=name, **fields)

    async def update_agent(self, id_agente, **changes):
        self.changes = changes
        return (await self.get_agent(id_agente)).model_copy(update=changes)

    async def delete_agent(self, id_agente):
        self.agents.pop(id_agente)
        return DeleteAgentResponse(success=True, message="agent deleted")

    async def get_conversation(self, session_id):
        if session_id not in self.conversations:
            raise NotFoundError("conversation", session_id, "List them.")
        return self.conversations[session_id]

    async def hand_off(self, session_id, reason):
        found = await self.get_conversation(session_id)
        return found.model_copy(update={"handed_off": True, "handoff_reason": reason or "requested"})

    async def hand_back(self, session_id):
        return await self.get_conversation(session_id)


@pytest.fixture
def mesh(monkeypatch):
    fake = FakeMalla()
    monkeypatch.setattr("services.cli.session.MallaClient", fake)
    return fake


@pytest.fixture
def malla(mesh, run_malla, monkeypatch):
    monkeypatch.setenv("MALLA_ADDRESS", "mesh.example:443")
    monkeypatch.setenv("MALLA_TOKEN", "given")

    def run(*arguments, stdin=""):
        if isinstance(stdin, str):
            monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        return run_malla(*arguments)

    return run


@pytest.fixture
def typing(malla, monkeypatch):
    """Runs with a person at the terminal, who types these lines; KeyboardInterrupt is Ctrl-C at the prompt."""

    def run(*lines, arguments=("chat",)):
        left = iter(lines)

        def ask(prompt):
            line = next(left, EOFError)
            if isinstance(line, type):
                raise line
            return line

        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", terminal)
        monkeypatch.setattr("builtins.input", ask)
        monkeypatch.setitem(sys.modules, "readline", None)
        return malla(*arguments, stdin=None)

    return run


def test_an_answer_and_what_it_cites(malla, mesh):
    code, out, err = malla("chat", "--session", "s-1", stdin="  ¿Cuánto?  \n\n")
    assert (code, err) == (0, "")
    assert out == "Cuesta $499 [1].\n  [1] Planes (a.md, page 2)\n      $499 al mes\n"
    assert mesh.asked == [(1, "s-1", "¿Cuánto?")]
    assert mesh.closed == ["¿Cuánto?", "client"]


def test_for_machines_one_event_a_line(malla):
    code, out, _ = malla("chat", "--json", stdin="¿Cuánto?\n/sources\n")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert rows[0] == {"sequence": 1, "delta": {"text": "Cuesta "}}
    assert rows[2]["done"]["answer"] == "Cuesta $499 [1]."
    assert rows[3]["citations"][0]["document_id"] == "a.md"


@pytest.mark.parametrize(
    ("mensaje", "shown"),
    [
        ("fails", "Cuesta \nThe model failed.\n"),
        ("refused", "There is no agent '1'. List them.\n"),
        ("lost", "Cuesta \n"),
        ("unended", "Cuesta \n"),
    ],
)
def test_a_failure_is_one_line_and_the_conversation_goes_on(malla, mensaje, shown):
    code, out, err = malla("chat", stdin=f"{mensaje}\n¿Cuánto?\n")
    assert (code, err) == (1, "")
    assert out.startswith(shown)
    failure, answer = out.split("Cuesta $499")
    assert failure.removeprefix("Cuesta \n").count("\n") == 1
    assert answer


@pytest.mark.parametrize(("mensaje", "sequence"), [("refused", 1), ("lost", 2), ("unended", 2)])
def test_for_machines_every_stream_has_an_end(malla, mensaje, sequence):
    _, out, _ = malla("chat", "--json", stdin=mensaje)
    last = json.loads(out.splitlines()[-1])
    assert last["sequence"] == sequence
    assert set(last["error"]) == {"type", "code", "message", "details"}


def test_a_person_takes_over(malla):
    code, out, _ = malla("chat", stdin="person")
    assert code == 0
    assert out == "A person has the conversation (requested). /back gives it to the agent again.\n"


def test_ctrl_c_stops_the_answer_and_not_the_conversation(typing, mesh):
    code, out, _ = typing("interrupted", KeyboardInterrupt, "¿Cuánto?")
    assert code == 0
    assert "Cuesta \n[stopped]\n" in out
    assert mesh.closed == ["interrupted", "¿Cuánto?", "client"]
    assert mesh.asked[0][1] == mesh.asked[1][1]


def test_ctrl_c_stops_a_script(malla, mesh):
    code, _, _ = malla("chat", stdin="interrupted\n¿Cuánto?\n")
    assert code == 130
    assert mesh.closed == ["interrupted", "client"]


def test_who_answers_is_said_at_a_terminal(typing):
    code, out, _ = typing("/exit", "¿Cuánto?", arguments=("chat", "--session", "s-1"))
    assert (code, out) == (0, "Ana (agent 1), conversation s-1. /help lists the commands.\n")
    _, out, _ = typing(arguments=("chat", "--session", "s-1", "--json"))
    assert json.loads(out) == {"session_id": "s-1", "id_agente": 1}


def test_commands(malla, mesh):
    mesh.agents[2] = Agent(id_agente=2, name="Beto")
    turns = [
        Turn(role=TurnRole.USER, text="¿Hola?"),
        Turn(role=TurnRole.ASSISTANT, text="Bue", state=TurnState.CANCELLED),
        Turn(role=TurnRole.HUMAN, text="Soy Luis.", author="Luis"),
    ]
    mesh.conversations["s-1"] = Conversation(session_id="s-1", turns=turns)
    script = "/history\n/handoff muy enojado\n/back\n/agent 2\nhola\n/new\nhola\n/frob\n/agent dos\n/exit\nhola"
    code, out, _ = malla("chat", "--session", "s-1", stdin=script)
    assert code == 0
    for words in (
        "you: ¿Hola?\nagent: Bue [stopped]\nLuis: Soy Luis.\n",
        "A person has the conversation: muy enojado.",
        "Ana answers again.",
        "Beto (agent 2) answers from now on.",
        "There is no command /frob. /help lists them.",
        "such as /agent 2",
    ):
        assert words in out
    first, second = mesh.asked
    assert first == (2, "s-1", "hola")
    assert (second[0], second[1] != "s-1") == (2, True)


@pytest.mark.parametrize("command", ["/history", "/handoff", "/back"])
def test_a_conversation_that_has_not_begun(malla, command):
    code, out, _ = malla("chat", stdin=command)
    assert (code, out) == (0, "Nothing has been said in this conversation yet.\n")


def test_commands_for_machines(malla, mesh):
    mesh.conversations["s-1"] = Conversation(session_id="s-1")
    script = "/help\n/new\n/sources\n/history\n/agent 9\n"
    _, out, _ = malla("chat", "--json", "--session", "s-1", stdin="/history\n/handoff\n" + script)
    history, handoff, listing, new, sources, missing, unknown = map(json.loads, out.splitlines())
    assert history["conversation"]["session_id"] == "s-1"
    assert (handoff["handed_off"], handoff["handoff_reason"]) == (True, "requested")
    assert "/handoff [REASON]" in listing["commands"]
    assert new["session_id"].startswith("cli-")
    assert sources == {"citations": []}
    assert missing["error"]["type"] == "CONVERSATION_NOT_FOUND"
    assert unknown["error"]["type"] == "AGENT_NOT_FOUND"


def test_without_agents_it_says_what_to_do(malla, mesh):
    mesh.agents.clear()
    code, out, err = malla("chat", stdin="hola")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "malla agents create" in err
    code, out, _ = malla("agents", "list")
    assert code == 0
    assert "malla agents create" in out


@pytest.mark.parametrize(
    "arguments", [("chat", "--agent", "9"), ("agents", "show", "9"), ("agents", "update", "9", "--k", "1")]
)
def test_an_agent_that_is_not_there(malla, arguments):
    code, out, err = malla(*arguments)
    assert (code, out, err) == (1, "", "malla: There is no agent '9'. List them.\n")


def test_agents_are_listed_and_shown(malla, mesh):
    code, out, _ = malla("agents", "list")
    assert code == 0
    assert "Ana" in out
    _, out, _ = malla("agents", "show", "1")
    assert "when a person is asked for, below a score of 0.5" in out
    _, out, _ = malla("agents", "list", "--json")
    assert [agent["name"] for agent in json.loads(out)["agents"]] == ["Ana"]
    code, out, _ = malla("agents", "delete", "1", "--json")
    assert (code, json.loads(out)["success"], mesh.agents) == (0, True, {})


def test_an_agent_is_created(malla, mesh, tmp_path):
    (tmp_path / "how.txt").write_text("Sé breve.\n", encoding="utf-8")
    options = ["-c", "a", "--collection", "b", "--instructions", "@how.txt", "--temperature", "0", "--max-failures", "3"]
    code, out, _ = malla("agents", "create", "--name", "Eva", *options)
    assert code == 0
    assert "malla chat --agent 2" in out
    assert mesh.changes == {
        "instructions": "Sé breve.",
        "collections": ["a", "b"],
        "temperature": 0.0,
        "handoff": HandoffRule(on_request=True, max_failures=3),
    }


def test_only_what_is_named_is_changed(malla, mesh):
    malla("agents", "update", "1", "--no-handoff-on-request")
    assert mesh.changes == {"handoff": HandoffRule(on_request=False, min_score=0.5)}
    malla("agents", "update", "1", "-c", "", "--language", "", "--k", "0")
    assert mesh.changes == {"collections": [], "language": "", "k": 0}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("agents",), 2, "malla agents --help"),
        (("agents", "create"), 2, "--name"),
        (("agents", "create", "--name", "Eva", "--instructions", "@nowhere"), 1, "nowhere cannot be read"),
        (("agents", "create", "--name", "Eva", "--temperature", "3"), 2, "--temperature"),
        (("agents", "update", "1"), 1, "Say what to change"),
        (("agents", "show", "0"), 2, "malla agents show --help"),
        (("chat", "--agent", "one"), 2, "malla chat --help"),
    ],
)
def test_what_is_wrong_is_one_line(malla, arguments, status, words):
    code, out, err = malla(*arguments)
    assert (code, out, err.count("\n")) == (status, "", 1)
    assert words in err
