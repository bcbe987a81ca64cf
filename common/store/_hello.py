"""Asking a database whether it is well, without reading anybody's rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from common.errors import UnavailableError


async def hello(uri: str, *, most_s: float) -> datetime | None:
    """Returns the database's own time, None where it tells none. Raises UnavailableError after `most_s` without an answer."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri, serverSelectionTimeoutMS=int(most_s * 1000))
    try:
        there = (await client.admin.command("hello")).get("localTime")
    except PyMongoError:
        raise UnavailableError("database") from None
    finally:
        await client.close()
    return there.replace(tzinfo=there.tzinfo or UTC) if isinstance(there, datetime) else None
