"""The audit log: who did what to which resource, when, and with what result. No contents, no tokens.

A line for every call that changes something, spends words or touches a secret, and for every call that was refused its right;
for every other call too with MALLA_AUDIT_READS. It goes to the logger `malla.audit`, and to a file of its own where
MALLA_AUDIT_LOG names one. What the edge refuses never gets here; the proxy writes it down (envoy/parts.yaml.j2).
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import Field

from common.context import Context
from common.errors import Code
from common.secrets import scrub
from common.server._audit_file import AuditFile
from common.server._scopes import required_scope
from common.settings import Settings

log = logging.getLogger("malla.audit")

_REFUSED = frozenset({Code.UNAUTHENTICATED.value, Code.PERMISSION_DENIED.value})
# Called by servers for calls that are in the log already, but for this one, which changes the record.
_MESH_CHANGES = frozenset({"InternalIngest"})
# Messages whose identifiers name what a call was about. Others, such as a visitor, are about people.
_RESOURCES = frozenset({"collection", "document", "job", "agent", "conversation", "turn"})
_LONGEST_ID = 200


class AuditSettings(Settings):
    """What is written down, and where."""

    audit_log: Path | None = Field(
        default=None, description="File, or folder without a suffix, of the audit log; only the process's log where not set."
    )
    audit_reads: bool = Field(default=False, description="Whether calls that only read are written down, too.")
    audit_log_bytes: int = Field(default=16 * 1024 * 1024, gt=0, description="Size at which a new audit file is begun.")
    audit_log_files: int = Field(default=8, gt=0, description="Audit files kept; the oldest is removed for a new one.")


@dataclass
class AuditedCall:
    """A call that runs.

    Attributes:
        resources: What it is about, by the names of the fields that say so.
        reason: The error's, empty for none.
    """

    method: str
    metadata: Mapping[str, Any]
    ctx: Context
    resources: dict[str, str] = field(default_factory=dict)
    reason: str = ""


_current: ContextVar[AuditedCall | None] = ContextVar("malla_audit", default=None)


class AuditTrail:
    """Writes the lines of one server."""

    def __init__(self, settings: AuditSettings, server: str) -> None:
        self._server = server
        self._reads = settings.audit_reads
        path = settings.audit_log and settings.audit_log.expanduser()
        if path is not None and not path.suffix:
            path /= f"{server}.jsonl"
        self._file = None if path is None else AuditFile(path, settings.audit_log_bytes, settings.audit_log_files)
        # Whatever else a process says, it says this.
        log.setLevel(logging.INFO)

    def write(self, call: AuditedCall, code: str) -> None:
        """Writes down how a call ended, if it is one of those that are: `code` is a gRPC status by name."""
        if self._reads or is_audited(call.method) or code in _REFUSED:
            self._write(_line(self._server, call, code))

    def _write(self, facts: dict[str, Any]) -> None:
        log.info("audit", extra={"audit": facts})
        if self._file is not None:
            self._file.write(scrub(json.dumps(facts, ensure_ascii=False)))


@contextmanager
def watching(call: AuditedCall) -> Iterator[None]:
    """Makes a call the one that `note` adds to while the block runs."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


def note(message: Any) -> None:
    """Remembers which resources a request or a response names."""
    call = _current.get()
    if call is None:
        return
    for parts in _identifiers(message.DESCRIPTOR):
        value = message
        for part in parts:
            value = getattr(value, part)
        if value:
            call.resources.setdefault(parts[-1], str(value)[:_LONGEST_ID])


@functools.cache
def is_audited(method: str) -> bool:
    """Whether every call of a method is written down: it changes something, spends words or touches a secret."""
    scope = required_scope(method)
    name = method.rpartition("/")[2]
    if scope == "mesh":
        return name in _MESH_CHANGES
    return scope in {"write", "admin"} or (scope == "chat" and not _only_reads(method))


def _only_reads(method: str) -> bool:
    service, _, name = method.lstrip("/").partition("/")
    options = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name].GetOptions()
    return bool(options.Extensions[annotations_pb2.http].get)


@functools.cache
def _identifiers(message: Descriptor) -> tuple[tuple[str, ...], ...]:
    """Returns the paths of the identifiers in a message: its own, and those of the resource in it."""
    own: list[tuple[str, ...]] = [(one.name,) for one in message.fields if _is_identifier(one)]
    inner: list[tuple[str, ...]] = [
        (one.name, part.name)
        for one in message.fields
        if one.name in _RESOURCES and one.message_type is not None and not one.is_repeated
        for part in one.message_type.fields
        if _is_identifier(part)
    ]
    return tuple(own + inner)


def _is_identifier(one: FieldDescriptor) -> bool:
    named = (one.name.endswith("_id") and one.name != "request_id") or one.name.startswith("id_")
    return named and one.message_type is None and not one.is_repeated


def _line(server: str, call: AuditedCall, code: str) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "where": server,
        "tenant": call.ctx.tenant_id,
        "subject": call.metadata.get("x-user-id", ""),
        "scopes": sorted(call.ctx.scopes or ()),
        "client": _client(call.metadata.get("x-forwarded-for", "")),
        "what": call.method.lstrip("/"),
        "resources": call.resources,
        "code": code,
        "reason": call.reason,
        "request_id": call.ctx.request_id,
    }


def _client(forwarded_for: str) -> str:
    """Returns the address the edge saw: it appends it to whatever the caller claims."""
    return forwarded_for.rpartition(",")[2].strip()
