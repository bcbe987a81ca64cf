"""`@with_context`: turns a gRPC handler's raw context into a `Context`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from common.context._context import COLLECTION_KEY, REQUEST_KEY, SESSION_KEY, Context, current_context
from common.errors import InvalidArgumentError, MissingContextError, UnauthenticatedError

if TYPE_CHECKING:
    from google.protobuf.message import Message

Handler = Callable[[Any, Any, Any], Any]

# What metadata name goes into logs, traces and the ledger; fields of a request have rules of the contract.
_LONGEST_NAME = 128


def with_context(*, tenant: bool = True, collection: bool = False, session: bool = False) -> Callable[[Handler], Handler]:
    """Gives a handler `ctx: Context` in place of the gRPC context, and completes its responses.

    The context comes from call metadata; the collection and session may also be fields of the request. A response's `success`,
    `message` and `metadata` are filled in where the handler left them empty.

    Args:
        tenant: The call must name a tenant.
        collection: The call must name a collection.
        session: The call must name a session.

    Raises:
        UnauthenticatedError: No tenant.
        MissingContextError: No collection or session although required.
        InvalidArgumentError: A name in the metadata is too long.
    """
    required = [name for name, wanted in (("collection", collection), ("session", session)) if wanted]

    def decorate(handler: Handler) -> Handler:
        def enter(request: Any, rpc: Any) -> Context:
            ctx = current_context() or Context.from_metadata(rpc.invocation_metadata() or (), rpc.time_remaining())
            return _checked(ctx, request, tenant, required)

        if inspect.isasyncgenfunction(handler):

            @functools.wraps(handler)
            async def stream(self: Any, request: Any, rpc: Any) -> AsyncIterator[Any]:
                ctx = enter(request, rpc)
                async for response in handler(self, request, ctx):
                    yield _completed(response, ctx)

            return stream

        @functools.wraps(handler)
        async def unary(self: Any, request: Any, rpc: Any) -> Any:
            ctx = enter(request, rpc)
            return _completed(await cast("Awaitable[Any]", handler(self, request, ctx)), ctx)

        return unary

    return decorate


def _checked(ctx: Context, request: Any, tenant: bool, required: list[str]) -> Context:
    if tenant and not ctx.tenant_id:
        raise UnauthenticatedError
    named = ((COLLECTION_KEY, ctx.collection_id), (SESSION_KEY, ctx.session_id), (REQUEST_KEY, ctx.request_id))
    if too_long := [key for key, value in named if len(value) > _LONGEST_NAME]:
        raise InvalidArgumentError([(key, f"must be at most {_LONGEST_NAME} characters") for key in too_long])
    # A field of the request is what the caller works on; metadata says it only for calls without such a field.
    ctx.collection_id = getattr(request, "collection_id", "") or ctx.collection_id
    ctx.session_id = getattr(request, "session_id", "") or ctx.session_id
    missing = [name for name in required if not getattr(ctx, f"{name}_id")]
    if missing:
        raise MissingContextError(missing)
    return ctx


def _completed(response: Message, ctx: Context) -> Message:
    fields = response.DESCRIPTOR.fields_by_name
    if "success" in fields and "metadata" in fields:
        filled = cast("Any", response)
        filled.success = True
        filled.message = filled.message or "OK"
        for name, value in {**ctx.metrics, "request_id": ctx.request_id}.items():
            _set_value(filled.metadata[name], value)
    return response


def _set_value(target: Any, value: Any) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, list | tuple):
        target.list_value.extend(value)
    elif isinstance(value, Mapping):
        target.struct_value.update(value)
    elif value is None:
        target.null_value = 0
    else:
        target.string_value = str(value)
