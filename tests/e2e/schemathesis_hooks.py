"""What schemathesis cannot know of the API: loaded by it, as tests/e2e/schemathesis.toml says."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from jsonschema import Draft202012Validator

_STREAMS = ("text/event-stream", "application/x-ndjson")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Never asks to wait for a change that does not come: that is a 504 after the deadline, rightly, and each takes as long."""
    if isinstance(body, dict):
        body.pop("min_seq", None)
    return body


@schemathesis.check
def every_event_fits(ctx: Any, response: Any, case: Any) -> None:
    """Every event of a stream is of the schema that the NDJSON form names: the SSE form has the same events as text."""
    media_type = response.headers.get("content-type", [""])[0].partition(";")[0]
    if response.status_code != 200 or media_type not in _STREAMS:
        return
    document = case.operation.schema.raw_schema
    content = document["paths"][case.operation.path][case.operation.method.lower()]["responses"]["200"]["content"]
    validator = Draft202012Validator({**content["application/x-ndjson"]["schema"], "components": document["components"]})
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.strip()]
    assert lines, "a stream without an event"
    for line in lines:
        validator.validate(json.loads(line))
