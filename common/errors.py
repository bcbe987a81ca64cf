"""The exception tree. An exception owns its gRPC code, a stable reason and details; one interceptor translates them.

Nothing here imports grpc or generated code, so that domain and use cases can raise. Sources: AIP-193, google.rpc.ErrorInfo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from common.secrets import scrub, scrub_data


class Code(StrEnum):
    """The gRPC status codes a call can fail with, by name."""

    CANCELLED = "CANCELLED"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNKNOWN = "UNKNOWN"


class MallaError(Exception):
    """Base of every failure that is told to a caller.

    Attributes:
        code: gRPC status code.
        reason: Stable identifier in upper snake case; clients branch on it.
        details: Facts about the failure; fields of the message `detail_message`.
        retry_after_s: How long to wait before the next try; None where a retry is no use or needs no wait.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: str = "INTERNAL"
    detail_message: ClassVar[str | None] = None

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None, retry_after_s: float | None = None) -> None:
        # An error is told to callers, stored and logged: what it quotes must hold no secret, wherever it ends up.
        self.message = scrub(message)
        super().__init__(self.message)
        self.details: dict[str, Any] = scrub_data(details or {})
        self.retry_after_s = retry_after_s


class InternalError(MallaError):
    """A bug. The message says nothing about its cause; the log does."""


class RemoteError(MallaError):
    """A failure another server reported; code, reason and details are that server's.

    Attributes:
        request_id: Of the call that failed, as that server logged it; empty where it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Code,
        reason: str,
        details: Mapping[str, Any],
        retry_after_s: float | None,
        request_id: str = "",
    ) -> None:
        super().__init__(message, details=details, retry_after_s=retry_after_s)
        self.request_id = scrub(request_id)
        self.code = code  # type: ignore[misc]  # the one error whose code is data
        self.reason = reason


class NotFoundError(MallaError):
    """The tenant has no such resource."""

    code = Code.NOT_FOUND
    detail_message = "malla.common.v1.ResourceNotFound"

    def __init__(self, resource_type: str, resource_id: str, hint: str) -> None:
        super().__init__(
            f"There is no {resource_type} '{resource_id}'. {hint}",
            details={"resource_type": resource_type, "resource_id": resource_id},
        )
        self.reason = f"{resource_type.upper()}_NOT_FOUND"


class AlreadyExistsError(MallaError):
    """The identifier is taken."""

    code = Code.ALREADY_EXISTS
    detail_message = "malla.common.v1.ResourceExists"

    def __init__(self, resource_type: str, resource_id: str) -> None:
        super().__init__(
            f"The {resource_type} '{resource_id}' already exists. Use it, or choose another identifier.",
            details={"resource_type": resource_type, "resource_id": resource_id},
        )
        self.reason = f"{resource_type.upper()}_ALREADY_EXISTS"


class InvalidArgumentError(MallaError):
    """Fields of the request break a rule."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"
    detail_message = "malla.common.v1.InvalidFields"

    def __init__(self, violations: Iterable[tuple[str, str]]) -> None:
        rows = [{"field": field, "description": description} for field, description in violations]
        rules = "; ".join(f"{row['field']}: {row['description']}" if row["field"] else row["description"] for row in rows)
        super().__init__(f"The request is invalid: {rules}.", details={"violations": rows})


class MissingContextError(MallaError):
    """A required part of the call context is missing."""

    code = Code.INVALID_ARGUMENT
    reason = "MISSING_CONTEXT"
    detail_message = "malla.common.v1.MissingContext"

    def __init__(self, parts: Iterable[str]) -> None:
        names = list(parts)
        super().__init__(
            f"The call names no {' and no '.join(names)}. Send it as call metadata or as a field of the request.",
            details={"parts": names},
        )


class UnauthenticatedError(MallaError):
    """The call carries no tenant: it did not come through the edge with a valid token."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    detail_message = "malla.common.v1.MissingContext"

    def __init__(self) -> None:
        super().__init__(
            "The call names no tenant. Call the edge with 'Authorization: Bearer <token>'; make one with `malla token create`.",
            details={"parts": ["tenant"]},
        )


class NotFromMeshError(MallaError):
    """A server was called past the mesh's listener."""

    code = Code.UNAUTHENTICATED
    reason = "NOT_FROM_MESH"

    def __init__(self) -> None:
        super().__init__(
            "This server takes calls from the mesh only. Call the mesh listener, or the edge with a token; "
            "`malla status` shows both."
        )


class TokenExpiredError(MallaError):
    """The token of an open connection is good no more."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The token has expired. Open the connection again with a new one from `malla token create`.")


class TokenRevokedError(MallaError):
    """The token of an open connection was revoked."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_REVOKED"

    def __init__(self) -> None:
        super().__init__("The token was revoked. Make another with `malla token create`.")


class MissingScopeError(MallaError):
    """The token is good, but not for this method."""

    code = Code.PERMISSION_DENIED
    reason = "MISSING_SCOPE"
    detail_message = "malla.common.v1.MissingScope"

    def __init__(self, required: str, granted: Iterable[str]) -> None:
        super().__init__(
            f"The token lacks the scope '{required}'. Make one that has it with "
            f"`malla token create --tenant <tenant> --scope {required}`.",
            details={"required": required, "granted": sorted(granted)},
        )


class LimitExceededError(MallaError):
    """What was sent is over a fixed limit."""

    code = Code.INVALID_ARGUMENT
    detail_message = "malla.common.v1.LimitExceeded"

    def __init__(self, limit: str, *, allowed: int, actual: int, hint: str) -> None:
        super().__init__(
            f"{limit.replace('_', ' ').capitalize()}: at most {allowed:,} allowed. {hint}",
            details={"limit": limit, "allowed": allowed, "actual": actual},
        )
        self.reason = f"{limit.upper()}_EXCEEDED"


class OverloadedError(MallaError):
    """A queue is full."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    detail_message = "malla.common.v1.Overloaded"

    def __init__(self, queue: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"The {queue} queue is full. Try again in {retry_after_s:.1f} s.",
            details={"queue": queue, "retry_after_ms": int(retry_after_s * 1000)},
            retry_after_s=retry_after_s,
        )


class DeadlineError(MallaError):
    """The caller's deadline passed before the work was done."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"

    def __init__(self, waiting_for: str) -> None:
        super().__init__(f"The deadline passed while waiting for {waiting_for}. Call again with a longer deadline.")


class UnsupportedContentError(MallaError):
    """The bytes cannot be ingested."""

    code = Code.INVALID_ARGUMENT
    reason = "UNSUPPORTED_CONTENT"
    detail_message = "malla.common.v1.UnsupportedContent"

    def __init__(self, message: str, *, content_type: str, supported: Iterable[str]) -> None:
        super().__init__(message, details={"content_type": content_type, "supported": list(supported)})


class UnreadableDocumentError(MallaError):
    """The bytes are not what their content type says, or hold no text."""

    code = Code.INVALID_ARGUMENT
    reason = "UNREADABLE_DOCUMENT"


class UnavailableError(MallaError):
    """A part of the mesh cannot be reached."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"
    detail_message = "malla.common.v1.DependencyUnavailable"

    def __init__(self, dependency: str, hint: str = "Try again shortly; `malla status` shows what is down.") -> None:
        super().__init__(f"The {dependency} cannot be reached. {hint}", details={"dependency": dependency}, retry_after_s=1.0)


class StorageFullError(MallaError):
    """The database has no room left. What it acknowledged before is safe."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STORAGE_FULL"

    def __init__(self) -> None:
        super().__init__(
            "The database has no room left, so nothing was stored. Free space on its disk (`malla status` shows the data dir), "
            "or delete documents, then try again.",
            retry_after_s=5.0,
        )
