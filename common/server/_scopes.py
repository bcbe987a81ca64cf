"""Which scope opens a method: what its option in the contract says (malla/common/v1/scope.proto)."""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pool
from malla.common.v1 import scope_pb2

from common.context import Context
from common.errors import MissingScopeError

_NOBODY = "unspecified"


def check_scope(method: str, ctx: Context) -> None:
    """Checks that the token behind a call opens a method.

    A call without scopes is a service's own: what comes through the edge always has some, if only the word for none.

    Args:
        method: Path of the method, "/malla.query.v1.QueryService/Search".
        ctx: For whom it is called.

    Raises:
        MissingScopeError: The token lacks the method's scope.
    """
    if ctx.scopes is None:
        return
    required = required_scope(method)
    if required != "mesh" and required not in ctx.scopes - {_NOBODY}:
        raise MissingScopeError(required, ctx.scopes)


def required_scope(method: str) -> str:
    """Returns the name of the scope as tokens have it; "unspecified" for a method that is without one, or unknown."""
    try:
        return _scope_of(method)
    except KeyError:
        return _NOBODY


@functools.cache
def _scope_of(method: str) -> str:
    service, _, name = method.lstrip("/").partition("/")
    options = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name].GetOptions()
    number: Any = options.Extensions[scope_pb2.scope]  # type: ignore[index]  # its stub does not say of what
    return scope_pb2.Scope.Name(number).removeprefix("SCOPE_").lower()
