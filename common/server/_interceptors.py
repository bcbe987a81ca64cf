"""What every call passes: the check of the proto's rules, one translator of errors, one log line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import grpc
from grpc_status import rpc_status

from common.context import Context, use_context
from common.errors import InternalError, InvalidArgumentError, MallaError
from common.server._audit import AuditedCall, AuditTrail, note, watching
from common.server._handlers import Undecodable, guarded
from common.server._mesh_key import MeshKey
from common.server._mesh_tls import MeshPeer
from common.server._scopes import check_scope
from common.server._token import Revocations
from common.server._tracing import observed
from common.status import to_status
from common.violations import violations_of

log = logging.getLogger("malla.rpc")
_OWN = "/malla."

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Admits a call, makes its context current, applies the `buf.validate` rules, translates exceptions, logs one line.

    One interceptor, not one for each: what wraps a stream is passed by every message of it.
    """

    def __init__(self, mesh_key: MeshKey, audit: AuditTrail, peer: MeshPeer, revocations: Revocations) -> None:
        self._mesh_key = mesh_key
        self._revocations = revocations
        self._peer = peer
        self._audit = audit
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def ended(self, most_s: float) -> bool:
        """Returns when no call runs, or after `most_s`, and says whether none does.

        gRPC does not wait for calls that it cancelled, and they may still have to count and store what they did.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), most_s)
        return self._idle.is_set()

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """Wraps the handlers of our own services; health and reflection speak for themselves."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith(_OWN):
            return handler
        # A call without streams is over in seconds; what lasts is not to outlive the token that opened it.
        lasts = handler.request_streaming or handler.response_streaming
        guard = observed(
            details.method, lambda rpc: self._call(details.method, rpc, lasts=lasts), streams=handler.response_streaming
        )
        return guarded(handler, guard, _admitted, note)

    @asynccontextmanager
    async def _call(self, method: str, rpc: Any, *, lasts: bool) -> AsyncIterator[None]:
        ctx = Context.from_metadata(rpc.invocation_metadata() or (), rpc.time_remaining())
        metadata = tuple(rpc.invocation_metadata() or ())
        audited = AuditedCall(method, dict(metadata), ctx)
        started = time.perf_counter()
        outcome = "OK"
        self._begin()
        try:
            self._peer.check(rpc)
            self._mesh_key.check(metadata)
            check_scope(method, ctx)
            with use_context(ctx), watching(audited):
                async with self._revocations.holding(dict(metadata)) if lasts else nullcontext():
                    yield
        except grpc.aio.AbortError:
            outcome = "ABORTED"
            raise
        except asyncio.CancelledError:
            outcome = "CANCELLED"
            raise
        except MallaError as error:
            outcome, audited.reason = error.code.value, error.reason
            await _abort(rpc, error, ctx)
        except Exception:
            outcome = "INTERNAL"
            log.exception("unexpected failure", extra={"method": method, "request_id": ctx.request_id})
            await _abort(rpc, _internal(ctx), ctx)
        finally:
            self._end()
            _log_call(method, outcome, time.perf_counter() - started, ctx)
            self._audit.write(audited, outcome)

    def _begin(self) -> None:
        self._running += 1
        self._idle.clear()

    def _end(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()


def _admitted(request: Any) -> Any:
    if isinstance(request, Undecodable):
        raise InvalidArgumentError([("", "the message cannot be read: it is cut, or a text in it is not UTF-8")])
    _validated(request)
    note(request)
    return request


def _validated(request: Any) -> None:
    violations = list(violations_of(request))
    if violations:
        raise InvalidArgumentError(violations)


def _internal(ctx: Context) -> MallaError:
    return InternalError(f"Something failed inside. The server's log has it under request id {ctx.request_id}.")


async def _abort(rpc: Any, error: MallaError, ctx: Context) -> None:
    status = to_status(error, {**ctx.metrics, "request_id": ctx.request_id})
    await rpc.abort_with_status(rpc_status.to_status(status))


def _log_call(method: str, outcome: str, seconds: float, ctx: Context) -> None:
    extra: dict[str, Any] = {
        "method": method,
        "code": outcome,
        "duration_ms": round(seconds * 1000, 2),
        "tenant_id": ctx.tenant_id,
        "request_id": ctx.request_id,
    }
    if ctx.metrics:
        extra["metrics"] = ctx.metrics
    log.info("call", extra=extra)
