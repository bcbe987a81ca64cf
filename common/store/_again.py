"""Rides out a restart of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from common.errors import UnavailableError

T = TypeVar("T")

_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
# Raised when a wait is over: waiting once more would not help.
_WAITED_FOR = (NetworkTimeout, ServerSelectionTimeoutError)


async def again(operation: Callable[[], Awaitable[T]]) -> T:
    """Runs an operation, and anew where the connection was cut under it: a restart is over in a moment.

    For one that changes nothing more when it is done twice. The driver does so itself for what is read, and for what is written
    to a replica set. Raises UnavailableError where the database stays away.
    """
    for pause_s in _PAUSES_S:
        try:
            return await operation()
        except UnavailableError as error:
            cause = error.__cause__
            if not isinstance(cause, AutoReconnect) or isinstance(cause, _WAITED_FOR):
                raise
        await asyncio.sleep(pause_s)
    return await operation()
