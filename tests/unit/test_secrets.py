"""The filter that keeps secrets out of logs and errors. The secrets here are made up as the tests run."""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
import string
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from pydantic import Field, SecretStr, ValidationError

from common.errors import Code, InvalidArgumentError, NotFoundError, RemoteError, UnavailableError
from common.llm import LlmSettings
from common.logs import JsonFormatter, configure_logging
from common.secrets import MASK, Scrubber, hide, scrub, scrub_data
from common.settings import MeshSettings, ServerSettings, Settings
from common.status import to_status

WORD = "".join(secrets.choice(string.ascii_letters) for _ in range(40))
TOKEN = jwt.encode({"tenant": "acme"}, WORD, algorithm="HS256")
PEM = "-----BEGIN " + "PRIVATE KEY-----\n" + WORD + "\n-----END " + "PRIVATE KEY-----"


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """Logs as a server does, at DEBUG; tells what was written."""
    kept = sys.excepthook, threading.excepthook, logging.root.handlers[:], logging.root.level
    levels = {name: logging.getLogger(name).level for name in ("malla", "common", "services")}
    written = io.StringIO()
    configure_logging("DEBUG", "DEBUG")
    (handler,) = logging.root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written.getvalue
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, logging.root.handlers[:], level = kept
    logging.root.setLevel(level)
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {WORD}",
        f"{{'authorization': 'Bearer {WORD}'}}",
        f"authorization=Basic {base64.b64encode(WORD.encode()).decode()}",
        f"the token {TOKEN} is good",
        f"Incorrect API key provided: gs{'k'}_{WORD}. Find yours",
        f"key s{'k'}-proj-{WORD[:8]}****{WORD[-4:]}",
        f"connect to mongodb+srv://ana:{WORD}@db.example/malla?x=1 failed",
        f"amqp://:{WORD}@host",
        f"OPENAI_API_KEY={WORD}",
        f'{{"api_key": "{WORD}"}}',
        f'{{\\"password\\": \\"{WORD}\\"}}',
        f"client_secret={WORD}&grant_type=x",
        PEM,
    ],
    ids=lambda _: "text",  # the secrets are of this run; the names of tests are not
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    masked = scrub(text)
    assert MASK in masked
    for part in (WORD[:8], WORD[-4:], TOKEN[-20:], base64.b64encode(WORD.encode()).decode()[:20]):
        assert part not in masked


@pytest.mark.parametrize(
    "text",
    [
        "There is no collection 'manual'. Create it with POST /api/v1/collections.",
        "The token is missing or not valid. Send 'Authorization: Bearer <token>'; make one with `malla token create`.",
        "http://127.0.0.1:8080/api/v1/jobs/job-9f0549236a9840ff8a7a10c7a629d6e0",
        "GET mongodb://127.0.0.1:27017/malla", "max_tokens: 2000, page_token: must be one of ours", "ana@example.com wrote",
        '{"request_id": "7b1e2c3d4e5f60718293a4b5c6d7e8f9", "code": "OK"}', "the monkey's task-list is basic knowledge",
        "2026-11-22T04:00:00.000+00:00 idempotency_key abc/answer", "",
    ],
)  # fmt: skip
def test_what_is_none_is_left_alone(text: str) -> None:
    assert scrub(text) == text


def test_a_long_text_of_beginnings_of_tokens_is_read_once() -> None:
    text = "-eyJaaaaaa" * 100_000  # a megabyte, which took minutes when each beginning was followed to the end
    assert scrub(text) == text
    assert scrub(f"{text}-s{'k'}-{WORD}") == f"{text}-{MASK}"


@pytest.mark.parametrize(
    "secret", [WORD, f'qu"ote\\and {WORD[:6]}', f"ñandú/{WORD[:8]}@x", f"a b+c%{WORD[:5]}"], ids=lambda _: "secret"
)
def test_a_known_secret_is_masked_however_it_is_written(secret: str) -> None:
    scrubber = Scrubber()
    scrubber.hide(secret)
    for written in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret, safe=""), repr(secret)):
        assert MASK in scrubber.scrub(f"said {written} twice")
        assert secret not in scrubber.scrub(written)


def test_of_an_address_only_the_password_is_secret() -> None:
    scrubber = Scrubber()
    scrubber.hide("mongodb://ana:p%40ss-word@db.example:27017/?replicaSet=rs0")
    assert scrubber.scrub("p@ss-word p%40ss-word") == f"{MASK} {MASK}"
    scrubber.hide("mongodb://127.0.0.1:27017")
    assert scrubber.scrub("db.example 127.0.0.1:27017 ana") == "db.example 127.0.0.1:27017 ana"


def test_short_values_are_not_hunted() -> None:
    scrubber = Scrubber()
    scrubber.hide("none")
    scrubber.hide("")
    assert scrubber.scrub("none of it") == "none of it"


def test_data_keeps_its_shape() -> None:
    data = {"a": [f"Bearer {WORD}", 1, None], "code": Code.NOT_FOUND, "b": {"c": True}}
    assert scrub_data(data) == {"a": [f"Bearer {MASK}", 1, None], "code": Code.NOT_FOUND, "b": {"c": True}}


def test_settings_make_their_secrets_known() -> None:
    class Keys(Settings):
        some_key: SecretStr = Field(default=SecretStr(""))
        some_number: int = 1

    value = WORD[::-1]
    Keys(some_key=SecretStr(value), _env_file=None)  # type: ignore[call-arg]
    assert scrub(f"upstream said {value}") == f"upstream said {MASK}"
    with pytest.raises(ValidationError) as wrong:
        Keys(some_number=f"Bearer {value}", _env_file=None)  # type: ignore[call-arg,arg-type]
    assert value not in str(wrong.value)


@pytest.mark.parametrize(
    "error",
    [
        RemoteError(
            f"said Bearer {WORD}", code=Code.UNKNOWN, reason="X", details={"a": [{"b": f"Bearer {WORD}"}]}, retry_after_s=None
        ),
        NotFoundError("collection", TOKEN, "Look."),
        InvalidArgumentError([("texts", f"holds password={WORD}")]),
        UnavailableError(f"mongodb://ana:{WORD}@host"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_hold_no_secret(error: Any) -> None:
    told = (
        f"{error} {error!r} {error.message} {error.details} {to_status(error, {'request_id': 'r', 'notice': f'Bearer {WORD}'})}"
    )
    assert WORD not in told
    assert TOKEN not in told
    assert MASK in told


def test_records_arguments_extras_and_tracebacks_are_scrubbed(logged: Callable[[], str]) -> None:
    hide(WORD)
    log = logging.getLogger("some.library")
    log.debug("sent %s", {"authorization": WORD}, extra={"headers": [("x", f"{WORD}\nmore")]})
    try:
        try:
            raise ValueError(f"first {WORD}")
        except ValueError as first:
            raise RuntimeError(WORD) from first
    except RuntimeError:
        log.exception("failed", stack_info=True)
    lines = [json.loads(line) for line in logged().splitlines()]
    assert WORD not in logged()
    assert len(lines) == 2
    assert "ValueError" in lines[1]["exception"]
    assert "stack" in lines[1]


def test_uncaught_exceptions_and_warnings_are_scrubbed_lines(logged: Callable[[], str]) -> None:
    hide(WORD)
    try:
        raise ValueError(WORD)
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)

    def fail() -> None:
        raise ValueError(WORD)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    lines = [json.loads(line) for line in logged().splitlines()]
    assert [line["level"] for line in lines] == ["CRITICAL", "CRITICAL"]
    assert WORD not in logged()


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (LlmSettings, "GROQ_TIMEOUT", "The setting GROQ_TIMEOUT is wrong: "),
        (ServerSettings, "MALLA_PORT", "The setting MALLA_PORT is wrong: "),
        (MeshSettings, "MALLA_TLS_KEY", "The settings do not fit each other: MALLA_TLS_CERT, MALLA_TLS_KEY and MALLA_TLS_CA"),
    ],
)
def test_a_process_that_ends_for_a_wrong_setting_names_it_in_one_line(
    logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch, kind: type[Settings], name: str, told: str
) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ValidationError) as raised:
        kind(_env_file=None)
    sys.excepthook(ValidationError, raised.value, raised.value.__traceback__)
    [line] = [json.loads(line) for line in logged().splitlines()]
    assert line["level"] == "CRITICAL"
    assert line["message"].startswith(told)
    assert "exception" not in line


def test_libraries_have_a_level_of_their_own(logged: Callable[[], str]) -> None:
    configure_logging("DEBUG", "INFO")
    assert logging.getLogger("malla.rpc").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("pymongo.command").isEnabledFor(logging.DEBUG)
    configure_logging("WARNING", "DEBUG")
    assert not logging.getLogger("pymongo.command").isEnabledFor(logging.INFO)
    assert not logging.getLogger("malla.rpc").isEnabledFor(logging.INFO)


def test_a_masked_line_is_still_json() -> None:
    record = logging.makeLogRecord({"msg": f'a "Bearer {WORD}" mongodb://a:{WORD}@h', "levelname": "INFO", "name": "x"})
    assert json.loads(JsonFormatter().format(record))["message"] == f'a "Bearer {MASK}" mongodb://a:{MASK}@h'


def test_no_text_takes_forever() -> None:
    """Nothing in the shapes may backtrack: with one that does, this does not end."""
    for piece in (
        "://",
        "://:",
        "Bearer ",
        "eyJ",
        "api_key=",
        "a@",
        "-----BEGIN ",
        "-----BEGIN PRIVATE",
        "sk-",
        ":::",
        "key: ",
    ):
        assert scrub(piece * 50_000)
