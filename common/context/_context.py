"""The call context: who asks, in which collection and conversation, until when."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opentelemetry import trace

from common.context._scopes import header_of, scopes_of
from common.models import StageUsage, TokenUsage

TENANT_KEY = "x-tenant-id"
COLLECTION_KEY = "x-collection-id"
SESSION_KEY = "x-session-id"
REQUEST_KEY = "x-request-id"
TIER_KEY = "x-tier"
SCOPE_KEY = "x-scope"


class Tier(StrEnum):
    """What a tenant has paid for."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"


@dataclass
class Context:
    """The context of one call. True in a boolean test, so that code may ask `if ctx:` of an optional one.

    Attributes:
        scopes: What the caller's token is good for; None for a call that no token began, a service's own.
        deadline: Monotonic time in seconds at which the caller gives up; None without one.
        metrics: What `add_metric` noted; lands in the response `metadata`, the trace span and the log line.
        spent: What `add_usage` noted, step by step, for the ledger.
        span: The span of the call, where the facts land, whichever work notes them.
    """

    tenant_id: str = ""
    collection_id: str = ""
    session_id: str = ""
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tier: Tier = Tier.FREE
    scopes: frozenset[str] | None = None
    deadline: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    spent: list[StageUsage] = field(default_factory=list)
    span: trace.Span = field(default_factory=trace.get_current_span, repr=False, compare=False)

    @classmethod
    def from_metadata(cls, metadata: Iterable[tuple[str, str | bytes]], time_remaining_s: float | None = None) -> Context:
        """Reads the context from call metadata. An unknown tier is the lowest."""
        values = {key: value for key, value in metadata if isinstance(value, str)}
        tier = values.get(TIER_KEY, "")
        return cls(
            tenant_id=values.get(TENANT_KEY, ""),
            collection_id=values.get(COLLECTION_KEY, ""),
            session_id=values.get(SESSION_KEY, ""),
            request_id=values.get(REQUEST_KEY) or uuid.uuid4().hex,
            tier=Tier(tier) if tier in set(Tier) else Tier.FREE,
            scopes=scopes_of(values[SCOPE_KEY]) if SCOPE_KEY in values else None,
            deadline=None if time_remaining_s is None else time.monotonic() + time_remaining_s,
        )

    def to_metadata(self) -> list[tuple[str, str]]:
        """Returns the metadata that carries this context to the next server."""
        pairs = {
            TENANT_KEY: self.tenant_id,
            COLLECTION_KEY: self.collection_id,
            SESSION_KEY: self.session_id,
            REQUEST_KEY: self.request_id,
            TIER_KEY: self.tier.value,
            SCOPE_KEY: "" if self.scopes is None else header_of(self.scopes),
        }
        return [(key, value) for key, value in pairs.items() if value]

    def remaining_s(self, most: float) -> float:
        """Returns the seconds left until the deadline, at most `most`, never negative."""
        if self.deadline is None:
            return most
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def add_metric(self, name: str, value: Any) -> None:
        """Notes a fact about the call."""
        self.metrics[name] = value
        self.span.set_attribute(f"malla.{name}", value if isinstance(value, bool | int | float) else str(value))

    def add_usage(self, stage: str, usage: TokenUsage) -> None:
        """Notes tokens that a step of the call consumed. They are consumed whatever becomes of the call."""
        self.spent.append(usage.as_stage(stage))

    def __bool__(self) -> bool:
        return True


_current: ContextVar[Context | None] = ContextVar("malla_context", default=None)


def current_context() -> Context | None:
    """Returns the context of the call being served, or None outside a call."""
    return _current.get()


@contextmanager
def use_context(ctx: Context) -> Iterator[Context]:
    """Makes `ctx` the current one, for log lines and error bodies made further out."""
    token = _current.set(ctx)
    try:
        yield ctx
    finally:
        _current.reset(token)
