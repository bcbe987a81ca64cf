"""A store that cannot be called without a tenant.

Written for MongoDB and for servers that speak its wire protocol: plain inserts, single-document updates with `$set`, `$inc` and
`$max`, unique indexes, no transactions, no `$setOnInsert`, no dates (times are integers).
"""

from __future__ import annotations

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
from common.store._names import held, shown
from common.store._tracing import listeners
from common.tasks import finished

Row = dict[str, Any]
Query = Mapping[str, Any]
Order = Sequence[tuple[str, int]]

T = TypeVar("T")

_DUPLICATE_KEY = 11000
_OUT_OF_DISK_SPACE = 14031
# Many rows are read in trips: the driver's time limit is one for all that is read at once, and others have their turn between.
_ROWS_A_TRIP = 2000
_AS_THEY_ARE = {"_id", "$or", "$and"}
_UNREACHABLE = (AutoReconnect, ConnectionFailure, ExecutionTimeout, NetworkTimeout)

# Each begins with the fields that its queries want equal and ends with the one they range over or sort by: the embedded
# database chooses by that alone, not by how many rows have a value. `test_store_indexes.py` asks it about every query.
_INDEXES: tuple[tuple[str, Order, bool], ...] = (
    ("collections", (("tenant_id", 1), ("collection_id", 1)), True),
    ("documents", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1)), True),
    ("jobs", (("state", 1), ("available_at", 1)), False),
    ("jobs", (("tenant_id", 1), ("created_at", -1)), False),
    ("jobs", (("tenant_id", 1), ("state", 1), ("created_at", -1)), False),
    ("jobs", (("tenant_id", 1), ("collection_uid", 1), ("created_at", -1)), False),
    ("jobs", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1)), False),
    ("jobs", (("tenant_id", 1), ("blob_id", 1)), False),
    ("changes", (("tenant_id", 1), ("collection_uid", 1), ("seq", 1)), True),
    ("changes", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1), ("seq", 1)), False),
    ("chunks", (("tenant_id", 1), ("collection_uid", 1), ("document_id", 1), ("version", 1), ("ordinal", 1)), False),
    ("agents", (("tenant_id", 1), ("request_id", 1)), False),
    ("agents", (("tenant_id", 1), ("id_agente", 1)), False),
    ("conversations", (("tenant_id", 1), ("uid", 1)), False),
    ("conversations", (("tenant_id", 1), ("updated_at", -1)), False),
    ("conversations", (("tenant_id", 1), ("handed_off", 1), ("updated_at", -1)), False),
    ("turns", (("tenant_id", 1), ("conversation_uid", 1), ("number", 1)), False),
    ("blobs", (("tenant_id", 1), ("blob_id", 1), ("n", 1)), False),
    ("uploads", (("begun_at", 1),), False),
    ("usage", (("tenant_id", 1), ("position", 1)), False),
    ("answers", (("until", 1),), False),
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
            await _run(self._collection.insert_one(held({**row, **self._scope})))
        except DuplicateKeyError:
            return False
        return True

    async def insert_missing(self, rows: Sequence[Row]) -> list[int]:
        """Inserts the rows whose key is not taken yet; returns the places in `rows` of those whose key is."""
        if not rows:
            return []
        if len(rows) == 1:
            # The driver's way for many costs twice as much.
            return [] if await self.insert(rows[0]) else [0]
        try:
            await _run(self._collection.insert_many([held({**row, **self._scope}) for row in rows], ordered=False))
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
        row = await _run(self._collection.find_one(self._filter(query), sort=order))
        return None if row is None else shown(row)

    async def find(self, query: Query, *, order: Order, limit: int = 0, omit: Sequence[str] = ()) -> AsyncIterator[Row]:
        """Yields the rows that match, in order, at most `limit` of them (0 for all), without the fields in `omit`."""
        cursor = self._collection.find(self._filter(query), dict.fromkeys(omit, 0) or None).sort(list(order)).limit(limit)
        try:
            while cursor.alive:
                for row in await _run(cursor.to_list(_ROWS_A_TRIP)):
                    yield shown(row)
        finally:
            if cursor.alive:
                await _run(cursor.close())

    async def count(self, query: Query) -> int:
        """Returns how many rows match."""
        # The command: the driver's own way, an aggregation, is one of those that the embedded database does row by row.
        counted = await _run(self._collection.database.command("count", self._collection.name, query=self._filter(query)))
        return int(counted["n"])

    async def sums(self, query: Query, *, by: str, fields: Sequence[str], any_of: Sequence[str] = ()) -> list[Row]:
        """Returns, for each value of the field `by`, the sums of `fields` and whether any row has those of `any_of`.

        The value is in `_id`, the number of rows in `rows`. One field only: the embedded database groups by one.
        """
        group: Row = {"_id": f"${by}", "rows": {"$sum": 1}}
        group |= {name: {"$sum": f"${name}"} for name in fields} | {name: {"$max": f"${name}"} for name in any_of}

        async def read() -> list[Row]:
            cursor = await self._collection.aggregate([{"$match": self._filter(query)}, {"$group": group}])
            return await cursor.to_list()

        return await _run(read())

    async def update(self, query: Query, change: Query) -> bool:
        """Changes the first row that matches; returns whether there was one."""
        return (await _run(self._collection.update_one(self._filter(query), _held_change(change)))).matched_count > 0

    async def update_returning(self, query: Query, change: Query, *, order: Order | None = None) -> Row | None:
        """Changes the first row that matches, atomically, and returns it as changed."""
        changed: Row | None = await _run(
            self._collection.find_one_and_update(
                self._filter(query), _held_change(change), sort=order, return_document=ReturnDocument.AFTER
            )
        )
        return None if changed is None else shown(changed)

    async def delete(self, query: Query) -> int:
        """Deletes the rows that match; returns how many there were."""
        return (await _run(self._collection.delete_many(self._filter(query)))).deleted_count

    def _filter(self, query: Query) -> Row:
        wanted = held({**query, **self._scope})
        return {name: value if name in _AS_THEY_ARE else _equal(value) for name, value in wanted.items()}


class Store:
    """The record of all tenants; every path to a row names the tenant, but for the workers' queue."""

    def __init__(self, database: AsyncDatabase[Row]) -> None:
        self._database = database
        # Making one takes the driver a tenth of what an operation on it takes.
        self._collections: dict[str, AsyncCollection[Row]] = {}

    def rows(self, tenant_id: str, name: str) -> Rows:
        """Returns the rows of collection `name` that belong to a tenant. Raises ValueError for no tenant."""
        if not tenant_id:
            raise ValueError("a store call needs a tenant")
        return Rows(self._collection(name), {"tenant_id": tenant_id})

    def all_tenants(self, name: str) -> Rows:
        """Returns the rows of every tenant: for workers that lease the next piece of work, whoever's it is."""
        return Rows(self._collection(name), {})

    def _collection(self, name: str) -> AsyncCollection[Row]:
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = self._database[name]
        return collection

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
    try:
        return await finished(operation)
    except _UNREACHABLE as error:
        raise UnavailableError("database") from error
    except OperationFailure as error:
        if _says_full(error.code, str(error)):
            raise StorageFullError from error
        raise


def _held_change(change: Query) -> Row:
    return {operator: held(fields) for operator, fields in change.items()}


def _equal(value: Any) -> Any:
    # To the embedded database a bare value may also be one of an array's, for which it reads every row; for `$eq` it uses an
    # index. Of compound indexes it then uses what stands first, as MongoDB does. `$in` and `$or` use none.
    return {"$eq": value} if isinstance(value, str | int | float) else value


def _says_full(code: int | None, message: str) -> bool:
    # MongoDB has a code for it; the embedded database passes on SQLite's words, the second of them for a quota.
    return code == _OUT_OF_DISK_SPACE or "disk is full" in message or "disk I/O error" in message
