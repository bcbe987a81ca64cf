"""A store that cannot be called without a tenant.

Written for MongoDB and for servers that speak its wire protocol: plain inserts, single-document updates with `$set`, `$inc` and
`$max`, unique indexes, no transactions, no `$setOnInsert`, no dates (times are integers).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
)

from common.errors import StorageFullError, UnavailableError
from common.settings import StoreSettings
from common.store._tracing import listeners

Row = dict[str, Any]
Query = Mapping[str, Any]
Order = Sequence[tuple[str, int]]

T = TypeVar("T")

_DUPLICATE_KEY = 11000
_OUT_OF_DISK_SPACE = 14031
_UNREACHABLE = (AutoReconnect, ConnectionFailure, ExecutionTimeout, NetworkTimeout)

_INDEXES: tuple[tuple[str, Order, bool], ...] = (
    ("collections", (("tenant_id", 1), ("collection_id", 1)), True),
    ("documents", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1)), True),
    ("jobs", (("state", 1), ("available_at", 1)), False),
    ("jobs", (("tenant_id", 1), ("collection_uid", 1)), False),
    ("changes", (("tenant_id", 1), ("collection_uid", 1), ("seq", 1)), True),
    ("changes", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1)), False),
    ("chunks", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1), ("version", 1), ("ordinal", 1)), False),
    # The embedded database uses indexes of one field only: without this one it reads every chunk to find a document's.
    ("chunks", (("document_id", 1),), False),
    ("agents", (("tenant_id", 1), ("request_id", 1)), False),
    ("conversations", (("tenant_id", 1), ("uid", 1)), False),
    ("conversations", (("tenant_id", 1), ("updated_at", -1)), False),
    ("turns", (("tenant_id", 1), ("conversation_uid", 1), ("number", 1)), False),
    ("blobs", (("tenant_id", 1), ("blob_id", 1), ("n", 1)), False),
    ("usage", (("tenant_id", 1), ("position", 1)), False),
)


class Rows:
    """The rows of one collection of the database that one tenant may see. Adds the tenant to every filter and every row.

    Every method raises UnavailableError when the database cannot be reached in time; those that write raise StorageFullError
    when it has no room left.
    """

    def __init__(self, collection: AsyncCollection[Row], scope: Query) -> None:
        self._collection = collection
        self._scope = dict(scope)

    async def insert(self, row: Row) -> bool:
        """Inserts a row; returns False, and changes nothing, where its key is taken."""
        try:
            await _run(self._collection.insert_one({**row, **self._scope}))
        except DuplicateKeyError:
            return False
        return True

    async def insert_missing(self, rows: Sequence[Row]) -> list[int]:
        """Inserts the rows whose key is not taken yet; returns the places in `rows` of those whose key is."""
        if not rows:
            return []
        try:
            await _run(self._collection.insert_many([{**row, **self._scope} for row in rows], ordered=False))
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            others = [failure for failure in failures if failure["code"] != _DUPLICATE_KEY]
            if any(_says_full(failure["code"], failure["errmsg"]) for failure in others):
                raise StorageFullError from error
            if others:
                raise
            return [failure["index"] for failure in failures]
        return []

    async def find_one(self, query: Query, *, order: Order | None = None) -> Row | None:
        """Returns the first row that matches."""
        return await _run(self._collection.find_one({**query, **self._scope}, sort=order))

    async def find(self, query: Query, *, order: Order, limit: int = 0, omit: Sequence[str] = ()) -> AsyncIterator[Row]:
        """Yields the rows that match, in order, at most `limit` of them (0 for all), without the fields in `omit`."""
        cursor = self._collection.find({**query, **self._scope}, dict.fromkeys(omit, 0) or None).sort(list(order)).limit(limit)
        for row in await _run(cursor.to_list()):
            yield row

    async def count(self, query: Query) -> int:
        """Returns how many rows match."""
        return await _run(self._collection.count_documents({**query, **self._scope}))

    async def sums(self, query: Query, *, by: str, fields: Sequence[str], any_of: Sequence[str] = ()) -> list[Row]:
        """Returns, for each value of the field `by`, the sums of `fields` and whether any row has those of `any_of`.

        The value is in `_id`, the number of rows in `rows`. One field only: the embedded database groups by one.
        """
        group: Row = {"_id": f"${by}", "rows": {"$sum": 1}}
        group |= {name: {"$sum": f"${name}"} for name in fields} | {name: {"$max": f"${name}"} for name in any_of}

        async def read() -> list[Row]:
            cursor = await self._collection.aggregate([{"$match": {**query, **self._scope}}, {"$group": group}])
            return await cursor.to_list()

        return await _run(read())

    async def update(self, query: Query, change: Query) -> bool:
        """Changes the first row that matches; returns whether there was one."""
        return (await _run(self._collection.update_one({**query, **self._scope}, change))).matched_count > 0

    async def update_returning(self, query: Query, change: Query, *, order: Order | None = None) -> Row | None:
        """Changes the first row that matches, atomically, and returns it as changed."""
        changed: Row | None = await _run(
            self._collection.find_one_and_update(
                {**query, **self._scope}, change, sort=order, return_document=ReturnDocument.AFTER
            )
        )
        return changed

    async def delete(self, query: Query) -> int:
        """Deletes the rows that match; returns how many there were."""
        return (await _run(self._collection.delete_many({**query, **self._scope}))).deleted_count


class Store:
    """The record of all tenants; every path to a row names the tenant, but for the workers' queue."""

    def __init__(self, database: AsyncDatabase[Row]) -> None:
        self._database = database

    def rows(self, tenant_id: str, name: str) -> Rows:
        """Returns the rows of collection `name` that belong to a tenant. Raises ValueError for no tenant."""
        if not tenant_id:
            raise ValueError("a store call needs a tenant")
        return Rows(self._database[name], {"tenant_id": tenant_id})

    def all_tenants(self, name: str) -> Rows:
        """Returns the rows of every tenant: for workers that lease the next piece of work, whoever's it is."""
        return Rows(self._database[name], {})

    async def ping(self) -> None:
        """Raises UnavailableError when the database does not answer."""
        await _run(self._database.command("ping"))

    async def prepare(self) -> None:
        """Creates the indexes that are missing."""
        for name, keys, unique in _INDEXES:
            await _run(self._database[name].create_index(list(keys), unique=unique))


@asynccontextmanager
async def open_store(settings: StoreSettings, *, wait: bool = True) -> AsyncIterator[Store]:
    """Connects to the record and prepares it. Raises UnavailableError when it does not answer in time.

    Without `wait` it is neither asked nor prepared: for a server that works without it, too, beside others that prepare it.
    """
    timeout_ms = int(settings.mongodb_timeout_s * 1000)
    client: AsyncMongoClient[Row] = AsyncMongoClient(
        settings.mongodb_uri.get_secret_value(),
        timeoutMS=timeout_ms,
        serverSelectionTimeoutMS=timeout_ms,
        appname="malla",
        event_listeners=listeners(),
    )
    try:
        store = Store(client[settings.mongodb_database])
        if wait:
            await store.prepare()
        yield store
    finally:
        await client.close()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Gives the operations of the block so many seconds together, in place of the settings' time for each."""
    with pymongo.timeout(seconds):
        yield


async def _run(operation: Coroutine[Any, Any, T]) -> T:
    """Runs one operation to its end, also when the caller is cancelled; the cancellation is raised then.

    The driver can swallow a cancellation that reaches it (`asyncio.wait_for` before Python 3.12, gh-86296): a caller that left
    would go on as if it had stayed. Waiting for the end keeps what the caller does next from overtaking the operation.
    """
    task = asyncio.ensure_future(operation)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
    except _UNREACHABLE as error:
        raise UnavailableError("database") from error
    except OperationFailure as error:
        if _says_full(error.code, str(error)):
            raise StorageFullError from error
        raise


def _says_full(code: int | None, message: str) -> bool:
    # MongoDB has a code for it; the embedded database passes on SQLite's words, the second of them for a quota.
    return code == _OUT_OF_DISK_SPACE or "disk is full" in message or "disk I/O error" in message
