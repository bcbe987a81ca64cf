"""What commands say beside their result: notices of `malla up`, the doctor's last line, a server's facts with `--json`."""

from __future__ import annotations

import json

import pytest

from common.errors import Code, NotFoundError, RemoteError
from common.llm import LlmRouter, LlmSettings
from services.cli import main as cli
from services.cli.commands import doctor
from services.cli.commands.up import show_mesh
from services.cli.doctor.findings import failed, ok, warning
from services.cli.launcher.state import MeshPhase, MeshState
from services.cli.notices import NO_MODEL, notices

MODEL_SETTINGS = [f"{name}_{what}" for name in ("GROQ", "OPENAI", "OLLAMA") for what in ("API_KEY", "BASE_URL", "MODEL")]
WELL, DOUBTFUL, ILL = ok("well"), warning("slow", "Wait."), failed("broken", "Mend it.")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No model is configured, and no `.env` of the checkout is read."""
    monkeypatch.chdir(tmp_path)
    for name in MODEL_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def malla(bare, run_malla):
    return run_malla


def a_mesh(tmp_path):
    return MeshState(phase=MeshPhase.READY, data_dir=tmp_path, logs=tmp_path / "logs", edge_url="http://127.0.0.1:1")


def test_a_mesh_without_a_model_says_so_once_it_is_ready(bare, tmp_path, capsys):
    show_mesh(a_mesh(tmp_path), as_json=False)
    [line] = [line for line in capsys.readouterr().out.splitlines() if "GROQ_API_KEY" in line]
    assert line == NO_MODEL
    show_mesh(a_mesh(tmp_path), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["success"], said["notices"]) == (True, [NO_MODEL])
    bare.setenv("GROQ_API_KEY", "some")
    show_mesh(a_mesh(tmp_path), as_json=False)
    assert "GROQ_API_KEY" not in capsys.readouterr().out
    show_mesh(a_mesh(tmp_path), as_json=True)
    assert json.loads(capsys.readouterr().out)["notices"] == []


@pytest.mark.parametrize(
    "configured",
    [
        {},
        {"GROQ_API_KEY": " "},
        {"GROQ_API_KEY": "some"},
        {"OPENAI_API_KEY": "some"},
        {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m"},
        {"OPENAI_MODEL": "m"},
        {"OLLAMA_BASE_URL": "http://127.0.0.1:1"},
        {"OLLAMA_MODEL": "m"},
    ],
    ids=lambda configured: "+".join(configured) or "none",
)
async def test_it_is_told_exactly_where_answers_are_quotes(bare, configured):
    for name, value in configured.items():
        bare.setenv(name, value)
    async with LlmRouter(LlmSettings()) as router:
        assert notices() == ([] if router.available else [NO_MODEL])


def test_settings_of_the_model_that_are_wrong_do_not_stop_a_mesh_that_is_ready(bare):
    bare.setenv("GROQ_TIMEOUT", "soon")
    assert notices() == []


@pytest.mark.parametrize(
    ("findings", "status", "line"),
    [
        ([WELL, WELL], 0, "All is well: 2 findings."),
        ([WELL, DOUBTFUL, WELL], 0, "Nothing has failed; 1 of 3 findings are warnings."),
        ([WELL, ILL], 1, "1 of 2 findings are failures."),
        ([DOUBTFUL, ILL], 1, "1 of 2 findings are failures, 1 are warnings."),
    ],
)
def test_the_doctor_says_all_is_well_only_where_it_is(bare, malla, tmp_path, findings, status, line):
    async def examined(_patient, *, spend):
        for finding in findings:
            yield "check", finding

    bare.setattr(doctor, "examine", examined)
    code, out, _ = malla("doctor", "--data-dir", str(tmp_path))
    assert (code, out.splitlines()[-1]) == (status, line)
    code, out, _ = malla("doctor", "--data-dir", str(tmp_path), "--json")
    said = json.loads(out)
    assert (code, said["message"], said["success"]) == (status, line, not status)


def raising(error):
    def app(**_options):
        raise error

    return app


def test_what_a_server_tells_of_a_failure_is_passed_on_to_machines(bare, malla):
    details = {"resource_type": "collection", "resource_id": "x"}
    told = RemoteError(
        "There is none.", code=Code.NOT_FOUND, reason="NONE", details=details, retry_after_s=None, request_id="r-1"
    )
    bare.setattr(cli, "app", raising(told))
    code, out, err = malla("search", "--json")
    assert (code, out) == (1, "")
    assert json.loads(err) == {
        "success": False,
        "message": "There is none.",
        "error": {"type": "NONE", "code": "NOT_FOUND", "details": details},
        "metadata": {"request_id": "r-1"},
    }


def test_a_failure_on_this_side_has_details_and_no_request(bare, malla):
    bare.setattr(cli, "app", raising(NotFoundError("key", "k", "Make one.")))
    body = json.loads(malla("token", "--json")[2])
    assert (body["error"]["details"], body["metadata"]) == ({"resource_type": "key", "resource_id": "k"}, {})


def test_a_choice_that_there_is_not_is_answered_without_the_name_of_an_exception(malla):
    code, _, err = malla("token", "create", "--tenant", "a", "--tier", "gold")
    assert code == 2
    assert "'gold' is not one of 'free', 'pro', 'enterprise'" in err
    assert "error," not in err
